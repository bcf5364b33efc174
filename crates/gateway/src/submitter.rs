//! Tasks that are handed in, and their results.
//!
//! A task is stored on the condition that it is not in the queue yet, under a name that the server knows for a while. So one
//! that is handed in again, by this process or by the next one of the same run, is there once. When the queue is full it is
//! tried again until there is room, and the submitter is asked for no more than is on its way.

use crate::connect::Link;
use crate::names::Names;
use crate::open::Queue;
use crate::results::{self, Stored};
use crate::serve::{Asked, Tells};
use crate::words::{Ask, Login, Tell};
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{self, Context};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};

/// Between two tries to hand in a task while the queue is full.
const FULL: Duration = Duration::from_millis(200);
/// Before results are asked for again, after that failed.
const AGAIN: Duration = Duration::from_millis(200);

/// Serves a submitter until it asks nothing more.
pub(crate) async fn submit(
    login: &Login,
    (run, most): (String, u64),
    mut asks: UnboundedReceiver<Asked>,
    tells: &Tells,
) -> Result<(), Tell> {
    let Queue { js, names, results, mut links, .. } = Queue::open(login, Some(most), None).await?;
    let (caught_up, backlog) = oneshot::channel();
    let (again, reconnected) = watch::channel(0_u32);
    let reader = Reader { stream: results, names: names.clone(), run: run.clone(), tells: tells.clone() };
    let reader = tokio::spawn(reader.read(caught_up, reconnected));
    drop(backlog.await);
    tells.tell(&Tell::Ready, b"");
    let mut stores = FuturesUnordered::new();
    let (full, mut was_full) = unbounded_channel();
    let mut told_full = false;
    loop {
        tokio::select! {
            asked = asks.recv() => match asked {
                Some((Ask::Task(task), body)) => {
                    stores.push(store(js.clone(), names.clone(), (run.clone(), task), body, full.clone()));
                }
                Some((ask, _)) => once(&js, &names, &run, &ask, tells).await,
                None => break,
            },
            Some(task) = stores.next(), if !stores.is_empty() => tells.tell(&Tell::Stored(task), b""),
            Some(()) = was_full.recv() => if !std::mem::replace(&mut told_full, true) {
                tells.note("the queue is full: tasks are handed in as workers make room");
            },
            link = links.changed() => match link {
                Link::Lost => tells.note("the connection to the queue is lost: the servers are looked for"),
                Link::Back => {
                    tells.note("the connection to the queue is back");
                    again.send_modify(|times| *times += 1);
                }
            },
        }
    }
    reader.abort();
    Ok(())
}

/// What is asked for once.
async fn once(js: &Context, names: &Names, run: &str, ask: &Ask, tells: &Tells) {
    match ask {
        Ask::Withdraw => {
            let purged = match js.get_stream(names.tasks()).await {
                Ok(stream) => stream.purge().filter(names.subject("task", run, "*")).await.ok(),
                Err(_) => None,
            };
            tells.tell(&Tell::Withdrawn(purged.map_or(0, |purged| purged.purged)), b"");
        }
        Ask::Forget => {
            if let Ok(stream) = js.get_stream(names.results()).await {
                for kind in ["result", "try", "part"] {
                    drop(stream.purge().filter(names.subject(kind, run, "*")).await);
                }
            }
        }
        Ask::Work { .. }
        | Ask::Submit { .. }
        | Ask::Slots(_)
        | Ask::Alive(_)
        | Ask::Done(_)
        | Ask::Again { .. }
        | Ask::Bury { .. }
        | Ask::Drain
        | Ask::Task(_) => {}
    }
}

/// Hands in a task; returns its number when it is there.
async fn store(
    js: Context,
    names: Names,
    (run, task): (String, u64),
    body: Vec<u8>,
    full: UnboundedSender<()>,
) -> u64 {
    let subject = names.subject("task", &run, task);
    let headers = results::first_of(&subject);
    while results::publish(&js, &subject, &headers, &body).await == Stored::Full {
        let _told = full.send(());
        tokio::time::sleep(FULL).await;
    }
    task
}

/// Who reads the results of a run.
struct Reader {
    stream: Stream,
    names: Names,
    run: String,
    tells: Tells,
}

impl Reader {
    /// Tells each result once, in the order in which they came; says when those are told that were there before. A consumer that
    /// a server forgot is made anew, behind what was told.
    async fn read(self, caught_up: oneshot::Sender<()>, mut reconnected: watch::Receiver<u32>) {
        let subject = self.names.subject("result", &self.run, "*");
        let mut backlog = self.backlog(&subject).await;
        let mut caught_up = Some(caught_up);
        let mut next = 1;
        loop {
            if backlog == 0
                && let Some(caught_up) = caught_up.take()
            {
                let _told = caught_up.send(());
            }
            let config = pull::OrderedConfig {
                filter_subject: subject.clone(),
                deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: next },
                ..pull::OrderedConfig::default()
            };
            if let Ok(consumer) = self.stream.create_consumer(config).await
                && let Ok(mut messages) = consumer.messages().await
            {
                loop {
                    let message = tokio::select! {
                        message = messages.next() => message,
                        Ok(()) = reconnected.changed() => break,
                    };
                    let Some(Ok(message)) = message else { break };
                    let Ok(info) = message.info() else { continue };
                    next = info.stream_sequence + 1;
                    self.tell(&message).await;
                    backlog = backlog.saturating_sub(1);
                    if backlog == 0
                        && let Some(caught_up) = caught_up.take()
                    {
                        let _told = caught_up.send(());
                    }
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// How many results there are.
    async fn backlog(&self, subject: &str) -> usize {
        let Ok(mut subjects) = self.stream.info_with_subjects(subject).await else { return 0 };
        let mut count = 0;
        while let Some(Ok(_)) = subjects.next().await {
            count += 1;
        }
        count
    }

    async fn tell(&self, message: &jetstream::Message) {
        let Some((run, task)) = self.names.parse(&message.subject) else { return };
        match results::whole(&self.stream, &self.names, (&run, task), message).await {
            Some(result) => self.tells.tell(&Tell::Result(task), &result),
            None => self.tells.note(format!("parts of the result of task {task} are gone")),
        }
    }
}
