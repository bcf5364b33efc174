//! Results on their way to the server, and the ends of leases behind them.
//!
//! One subscription hears all answers, each at the number of its result: a result costs a message, not a future, an inbox and a
//! timer of its own. A result that has no answer is sent again, also when the connection is back: the server takes the first
//! one alone, so that two of them are as good as one.

use crate::names::Names;
use crate::results;
use crate::serve::Tells;
use async_nats::jetstream::{AckKind, ErrorCode};
use async_nats::{Client, HeaderMap, Message, Subject, Subscriber};
use futures_util::StreamExt as _;
use serde::Deserialize;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::time::interval;

/// An answer that takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at the last results, when all is over.
const LOOK: Duration = Duration::from_millis(200);

/// A result that the server has not confirmed yet.
#[derive(Debug)]
struct End {
    subject: String,
    result: Vec<u8>,
    /// Where the server hears of the end of the lease.
    ack: Subject,
    /// When it was sent; without, it is sent again soon.
    sent: Option<Instant>,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Ends {
    client: Client,
    names: Names,
    inbox: String,
    headers: HeaderMap,
    open: HashMap<u64, End>,
    begun: u64,
    lost: bool,
    /// People know that results are refused.
    told: bool,
}

/// What the server says of a result.
#[derive(Deserialize)]
struct Answer {
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl Ends {
    /// None yet. Answers come to numbers behind `inbox`.
    pub(crate) fn new(client: Client, names: Names, inbox: String) -> Ends {
        let (headers, open) = (results::alone(), HashMap::new());
        Ends { client, names, inbox, headers, open, begun: 0, lost: false, told: false }
    }

    /// A result; when the server has it, `ack` ends its lease.
    pub(crate) async fn begin(&mut self, (run, task): (&str, u64), ack: Subject, result: Vec<u8>) {
        self.begun += 1;
        let end = End { subject: self.names.subject("result", run, task), result, ack, sent: None };
        self.open.insert(self.begun, end);
        self.send(self.begun).await;
    }

    /// Nothing is sent while there is no connection: it would wait in the client, and we with it.
    async fn send(&mut self, number: u64) {
        let Some(end) = self.open.get_mut(&number).filter(|_| !self.lost) else { return };
        let (subject, reply) = (end.subject.clone(), format!("{}.{number}", self.inbox));
        let (headers, result) = (self.headers.clone(), end.result.clone().into());
        let sent = self.client.publish_with_reply_and_headers(subject, reply, headers, result).await;
        end.sent = sent.ok().map(|()| Instant::now());
    }

    /// What the server says of a result.
    pub(crate) async fn answered(&mut self, answer: &Message, tells: &Tells) {
        let number = answer.subject.rsplit('.').next().and_then(|number| number.parse::<u64>().ok());
        let Some(number) = number else { return };
        match verdict(answer) {
            Ok(()) => {
                if let Some(end) = self.open.remove(&number) {
                    acknowledge(&self.client, end.ack, AckKind::Ack).await;
                }
            }
            Err(why) => {
                if let Some(end) = self.open.get_mut(&number) {
                    end.sent = None;
                    if !std::mem::replace(&mut self.told, true) {
                        tells.note(format!("results are not stored, and tried again and again: {why}"));
                    }
                }
            }
        }
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    pub(crate) fn lost(&mut self) {
        self.lost = true;
    }

    /// Nobody knows which of the answers were lost with the connection.
    pub(crate) async fn back(&mut self) {
        self.lost = false;
        self.again(|_| true).await;
    }

    /// Sends again what was refused, or is not answered.
    pub(crate) async fn tick(&mut self) {
        self.again(|end| end.sent.is_none_or(|sent| sent.elapsed() > PATIENCE)).await;
    }

    async fn again(&mut self, is_due: impl Fn(&End) -> bool) {
        let due = self.open.iter().filter(|(_, end)| is_due(end));
        for number in due.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.send(number).await;
        }
    }

    /// Until all are there.
    pub(crate) async fn finish(&mut self, answers: &mut Subscriber, tells: &Tells) {
        // Whether the connection is back is not heard of any more, only found out.
        self.lost = false;
        let mut looks = interval(LOOK);
        while !self.open.is_empty() {
            tokio::select! {
                Some(answer) = answers.next() => self.answered(&answer, tells).await,
                _ = looks.tick() => self.tick().await,
            }
        }
    }
}

/// Tells the server what became of a lease. Where that is lost, the lease comes again, and its result is found.
pub(crate) async fn acknowledge(client: &Client, ack: Subject, kind: AckKind) {
    drop(client.publish(ack, kind.into()).await);
}

/// Whether a result is stored, this one or an earlier one.
fn verdict(answer: &Message) -> Result<(), String> {
    match serde_json::from_slice::<Answer>(&answer.payload) {
        Ok(Answer { error: None }) => Ok(()),
        Ok(Answer { error: Some(refusal) }) if refusal.err_code == WRONG.0 => Ok(()),
        Ok(Answer { error: Some(refusal) }) => Err(refusal.description),
        // No stream hears us, as while a server starts.
        Err(_) => Err("the server has no stream for them".to_owned()),
    }
}

/// There is one already.
const WRONG: ErrorCode = ErrorCode::STREAM_WRONG_LAST_SEQUENCE;

#[cfg(test)]
mod tests {
    use super::*;
    use async_nats::ConnectOptions;
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::{TcpListener, TcpStream};

    /// As much of a server as a connection takes; it hangs up when it is told to.
    fn greet(listener: &TcpListener) -> TcpStream {
        let (mut client, _) = listener.accept().expect("a client");
        let info = r#"{"server_id":"x","version":"2.9.0","proto":1,"host":"","port":0,"headers":true,"max_payload":1048576}"#;
        write!(client, "INFO {info}\r\n").expect("it hears");
        let mut lines = BufReader::new(client.try_clone().expect("a copy")).lines();
        while lines.next().expect("more").expect("a line") != "PING" {}
        client.write_all(b"PONG\r\n").expect("it hears");
        client
    }

    /// What the client takes before whoever says more waits.
    const ROOM: usize = 4;

    #[test]
    fn who_has_more_results_than_fit_into_the_client_while_the_servers_are_gone_waits_for_nobody() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let server = std::thread::spawn(move || greet(&listener));
        runtime.block_on(async {
            let (gone, mut is_gone) = tokio::sync::mpsc::unbounded_channel();
            let options = ConnectOptions::new().client_capacity(ROOM).event_callback(move |event| {
                let _told = matches!(event, async_nats::Event::Disconnected).then(|| gone.send(()));
                async {}
            });
            let client = options.connect(address).await.expect("a connection");
            drop(server.join().expect("no panic"));
            is_gone.recv().await.expect("it is heard of");
            let mut ends = Ends::new(client, Names::of(&crate::words::Login::default()), "inbox".to_owned());
            ends.lost();
            let all = async {
                for task in 0..100 * ROOM as u64 {
                    ends.begin(("run", task), "ack".into(), b"result".to_vec()).await;
                }
                ends.tick().await;
            };
            tokio::time::timeout(PATIENCE, all).await.expect("nobody waits for the servers");
            assert_eq!(ends.open.len(), 100 * ROOM, "all are kept");
        });
    }
}
