//! Tasks to work at: taken as there is room for them, kept while they are worked at, ended with a result or given back.
//!
//! Tasks are pulled, as many as slots are free, by requests that end after some seconds: so no request is waited for that a
//! server has forgotten. A lease is kept only on doula's word that it works at the task ([`Ask::Alive`]): when doula hangs, so
//! that nobody looks after the job, the server gives the task to another one.

use crate::connect::Link;
use crate::ends::{Ends, acknowledge};
use crate::names::{self, FORGOTTEN, Names};
use crate::open::Queue;
use crate::results;
use crate::serve::{Asked, Tells};
use crate::words::{Ask, History, Login, Tell};
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use async_nats::jetstream::{AckKind, Context};
use async_nats::{Client, HeaderMap, Message, Subject, Subscriber};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// A request for tasks ends after this time, and another one is made.
const REQUEST: Duration = Duration::from_secs(5);
/// An answer may take so long beyond it.
const LATE: Duration = Duration::from_secs(1);
/// How often requests are looked at.
const TICK: Duration = Duration::from_secs(1);
/// What is in flight when all is over may take so long.
const LAST: Duration = Duration::from_secs(30);

/// A task in our hands.
#[derive(Debug)]
struct Lease {
    message: Message,
    /// Where the server hears of its end.
    ack: Subject,
    run: String,
    task: u64,
    delivery: u32,
    /// Of the message in its stream.
    sequence: u64,
    history: History,
    /// When it was kept last.
    kept: Instant,
}

impl Lease {
    /// No other delivery of the task has this name.
    fn name(&self) -> String {
        format!("{}x{}", self.sequence, self.delivery)
    }
}

/// What came of something that was waited for.
enum Happened {
    /// A task was looked up that was delivered before: there is a result of it already, or it is worked at.
    Known(Option<Box<Lease>>),
    /// Something was stored.
    Stored,
}

/// A request for tasks.
#[derive(Clone, Copy, Debug)]
struct Request {
    number: u64,
    left: u32,
    until: Instant,
}

struct Worker<'t> {
    client: Client,
    js: Context,
    names: Names,
    results: Stream,
    ends: Ends,
    name: String,
    /// Where tasks are asked for, and where they come to.
    next: String,
    inbox: String,
    lease: Duration,
    tells: &'t Tells,
    slots: u32,
    drains: bool,
    requests: Vec<Request>,
    requested: u64,
    leases: HashMap<u64, Lease>,
    leased: u64,
    /// Tasks that are looked up.
    looked_up: u32,
    works: FuturesUnordered<BoxFuture<'static, Happened>>,
    shown: Option<Instant>,
}

/// Works until doula asks nothing more.
pub(crate) async fn work(
    login: &Login,
    (name, lease): (String, Option<Duration>),
    mut asks: UnboundedReceiver<Asked>,
    tells: &Tells,
) -> Result<(), Tell> {
    let mut queue = Queue::open(login, None, lease).await?;
    let client = queue.client.clone();
    let (inbox, answered) = (client.new_inbox(), client.new_inbox());
    let mut tasks = subscribed(&client, &inbox).await?;
    let mut answers = subscribed(&client, &answered).await?;
    tells.tell(&Tell::Ready, b"");
    let mut worker = Worker {
        ends: Ends::new(client.clone(), queue.names.clone(), answered),
        client,
        js: queue.js.clone(),
        names: queue.names.clone(),
        results: queue.results.clone(),
        name,
        next: queue.next.clone(),
        inbox,
        lease: queue.lease,
        tells,
        slots: 0,
        drains: false,
        requests: Vec::new(),
        requested: 0,
        leases: HashMap::new(),
        leased: 0,
        looked_up: 0,
        works: FuturesUnordered::new(),
        shown: None,
    };
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            asked = asks.recv() => match asked {
                Some(asked) => worker.asked(asked, &mut tasks).await,
                None => break,
            },
            link = queue.links.changed() => worker.link(link).await,
            Some(message) = tasks.next() => worker.came(message).await,
            Some(answer) = answers.next() => worker.ends.answered(&answer, tells).await,
            Some(happened) = worker.works.next(), if !worker.works.is_empty() => worker.happened(happened),
            _ = ticks.tick() => worker.tick().await,
        }
        // What is said together is done together, and one request made for all slots that are free by it.
        if asks.is_empty() {
            worker.request().await;
        }
    }
    drop(timeout(LAST, worker.leave(tasks, answers)).await);
    Ok(())
}

impl Worker<'_> {
    async fn asked(&mut self, (ask, body): Asked, tasks: &mut Subscriber) {
        match ask {
            Ask::Slots(slots) => {
                let others = std::mem::replace(&mut self.slots, slots) != slots;
                self.show_if(others).await;
            }
            Ask::Alive(leases) => self.keep(&leases).await,
            Ask::Done(lease) => self.done(lease, body).await,
            Ask::Again { lease, pause, history } => self.again(lease, pause, history),
            Ask::Bury { lease, why } => self.bury(lease, why, body),
            Ask::Drain => {
                self.drains = true;
                self.show_if(true).await;
                // What is on its way still comes, and is given back.
                drop(tasks.drain().await);
            }
            Ask::Work { .. } | Ask::Submit { .. } | Ask::Task(_) | Ask::Withdraw | Ask::Forget => {}
        }
    }

    async fn link(&mut self, link: Link) {
        match link {
            Link::Lost => {
                self.ends.lost();
                self.tells.note(
                    "the connection to the queue is lost: what runs goes on, and the servers are looked for",
                );
            }
            Link::Back => {
                self.tells.note("the connection to the queue is back");
                // A server that was started anew knows nothing of them.
                self.requests.clear();
                self.ends.back().await;
            }
        }
    }

    async fn tick(&mut self) {
        self.ends.tick().await;
        self.show().await;
    }

    /// Asks for as many tasks as there are free slots. Not for few of them while others are asked for.
    async fn request(&mut self) {
        let now = Instant::now();
        self.requests.retain(|request| request.left > 0 && request.until > now);
        let asked: u32 = self.requests.iter().map(|request| request.left).sum();
        let held = u32::try_from(self.leases.len()).unwrap_or(u32::MAX).saturating_add(self.looked_up);
        let free = self.slots.saturating_sub(held).saturating_sub(asked);
        if self.ends.is_lost() || self.drains || free == 0 || (asked > 0 && free < self.slots / 4) {
            return;
        }
        self.requested += 1;
        let number = self.requested;
        let body = format!("{{\"batch\":{free},\"expires\":{}}}", REQUEST.as_nanos());
        let reply = format!("{}.{number}", self.inbox);
        if self.client.publish_with_reply(self.next.clone(), reply, body.into()).await.is_ok() {
            self.requests.push(Request { number, left: free, until: now + REQUEST + LATE });
        }
    }

    /// A task, or the end of a request.
    async fn came(&mut self, message: Message) {
        if message.status.is_some() {
            let number = message.subject.rsplit('.').next().and_then(|number| number.parse::<u64>().ok());
            // 100 is no end.
            if message.status.map(|status| status.as_u16()) != Some(100) {
                self.requests.retain(|request| Some(request.number) != number);
            }
            return;
        }
        if let Some(request) = self.requests.iter_mut().find(|request| request.left > 0) {
            request.left -= 1;
        }
        let Some(ack) = message.reply.clone() else { return };
        let (named, delivered) = (self.names.parse(&message.subject), names::delivery(&ack));
        let (Some((run, task)), Some((delivery, sequence))) = (named, delivered) else {
            let text = format!("{} is no name of a task: it is taken out of the queue", message.subject);
            self.tells.note(text);
            return acknowledge(&self.client, ack, AckKind::Term).await;
        };
        let (history, kept) = (History::default(), Instant::now());
        let lease = Lease { message, ack, run, task, delivery, sequence, history, kept };
        if delivery > 1 { self.look_up(lease) } else { self.give(lease) }
    }

    fn give(&mut self, lease: Lease) {
        if self.drains {
            return self.return_unbegun(lease);
        }
        self.leased += 1;
        let Lease { run, task, delivery, history, .. } = &lease;
        let (run, task, delivery, history) = (run.clone(), *task, *delivery, *history);
        let given = Tell::Given { lease: self.leased, run, task, delivery, history };
        self.tells.tell(&given, &lease.message.payload);
        self.leases.insert(self.leased, lease);
    }

    /// A task that was delivered before: perhaps it has a result, and only the end of its lease was lost.
    fn look_up(&mut self, mut lease: Lease) {
        self.looked_up += 1;
        let (client, names, results) = (self.client.clone(), self.names.clone(), self.results.clone());
        self.works.push(Box::pin(async move {
            let result = names.subject("result", &lease.run, lease.task);
            if last(&results, &result).await.is_some() {
                acknowledge(&client, lease.ack, AckKind::Ack).await;
                return Happened::Known(None);
            }
            let written = last(&results, &names.subject("try", &lease.run, lease.task)).await;
            lease.history = written.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
            Happened::Known(Some(Box::new(lease)))
        }));
    }

    fn happened(&mut self, happened: Happened) {
        match happened {
            Happened::Stored => {}
            Happened::Known(lease) => {
                self.looked_up -= 1;
                if let Some(lease) = lease {
                    self.give(*lease);
                }
            }
        }
    }

    /// Tells the server that these are worked at.
    async fn keep(&mut self, leases: &[u64]) {
        if self.ends.is_lost() {
            return;
        }
        for number in leases {
            let Some(lease) = self.leases.get_mut(number) else { continue };
            if lease.kept.elapsed() >= self.lease / 3 {
                lease.kept = Instant::now();
                acknowledge(&self.client, lease.ack.clone(), AckKind::Progress).await;
            }
        }
    }

    /// The result first, then the end of the lease: whoever comes between them finds the result.
    async fn done(&mut self, lease: u64, result: Vec<u8>) {
        let Some(lease) = self.leases.remove(&lease) else { return };
        if result.len() <= results::most(&self.client) {
            return self.ends.begin((&lease.run, lease.task), lease.ack, result).await;
        }
        let (client, js, names) = (self.client.clone(), self.js.clone(), self.names.clone());
        self.works.push(Box::pin(async move {
            results::store(&js, &names, (&lease.run, lease.task), &lease.name(), &result).await;
            acknowledge(&client, lease.ack, AckKind::Ack).await;
            Happened::Stored
        }));
    }

    fn again(&mut self, lease: u64, pause: Duration, history: History) {
        if let Some(lease) = self.leases.remove(&lease) {
            self.give_back(lease, pause, history);
        }
    }

    fn give_back(&mut self, lease: Lease, pause: Duration, history: History) {
        let (client, js, names) = (self.client.clone(), self.js.clone(), self.names.clone());
        self.works.push(Box::pin(async move {
            let subject = names.subject("try", &lease.run, lease.task);
            let written = serde_json::to_vec(&history).unwrap_or_default();
            results::insist(&js, &subject, &HeaderMap::new(), &written).await;
            let pause = Some(pause).filter(|pause| !pause.is_zero());
            acknowledge(&client, lease.ack, AckKind::Nak(pause)).await;
            Happened::Stored
        }));
    }

    /// Nobody worked at it: that is neither a failure nor a loss.
    fn return_unbegun(&mut self, lease: Lease) {
        let history = History { returned: lease.history.returned + 1, ..lease.history };
        self.give_back(lease, Duration::ZERO, history);
    }

    /// A copy for people first, then the result, then the end of the lease: the server would keep the task otherwise.
    fn bury(&mut self, lease: u64, why: String, result: Vec<u8>) {
        let Some(lease) = self.leases.remove(&lease) else { return };
        let (client, js, names) = (self.client.clone(), self.js.clone(), self.names.clone());
        self.works.push(Box::pin(async move {
            let subject = names.subject("dead", &lease.run, lease.task);
            let mut headers = HeaderMap::new();
            headers.insert("Doula-Why", why.replace(['\r', '\n'], " ").as_str());
            results::insist(&js, &subject, &headers, &lease.message.payload).await;
            results::store(&js, &names, (&lease.run, lease.task), &lease.name(), &result).await;
            acknowledge(&client, lease.ack, AckKind::Ack).await;
            Happened::Stored
        }));
    }

    /// Shows at once what is otherwise than it was shown.
    async fn show_if(&mut self, changed: bool) {
        if changed {
            self.shown = None;
            self.show().await;
        }
    }

    /// Shows that we are here, now and then.
    async fn show(&mut self) {
        if self.ends.is_lost() || self.shown.is_some_and(|shown| shown.elapsed() < FORGOTTEN / 3) {
            return;
        }
        self.shown = Some(Instant::now());
        let state =
            serde_json::json!({ "slots": self.slots, "in_work": self.leases.len(), "drains": self.drains });
        drop(self.client.publish(self.names.member(&self.name), state.to_string().into()).await);
    }

    /// doula asks nothing more: what it did not end is for others, at once. Of a doula that died nothing is written down, so
    /// that each of its tasks counts as lost.
    async fn leave(&mut self, mut tasks: Subscriber, mut answers: Subscriber) {
        if !self.drains {
            drop(tasks.drain().await);
        }
        let died = !std::mem::replace(&mut self.drains, true);
        while let Some(message) = tasks.next().await {
            self.came(message).await;
        }
        for (_, lease) in std::mem::take(&mut self.leases) {
            match died {
                true => acknowledge(&self.client, lease.ack, AckKind::Nak(None)).await,
                false => self.return_unbegun(lease),
            }
        }
        while let Some(happened) = self.works.next().await {
            self.happened(happened);
        }
        self.ends.finish(&mut answers, self.tells).await;
        let mut headers = HeaderMap::new();
        headers.insert("KV-Operation", "PURGE");
        headers.insert("Nats-Rollup", "sub");
        drop(self.client.publish_with_headers(self.names.member(&self.name), headers, "".into()).await);
        drop(self.client.flush().await);
    }
}

async fn subscribed(client: &Client, inbox: &str) -> Result<Subscriber, Tell> {
    let subscribed = client.subscribe(format!("{inbox}.*")).await;
    subscribed.map_err(|error| Tell::Refused { usage: false, why: error.to_string() })
}

/// The last message of a subject. While the servers are gone it is asked for again.
async fn last(stream: &Stream, subject: &str) -> Option<Vec<u8>> {
    loop {
        match stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => return Some(message.payload.to_vec()),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => return None,
            Err(_) => tokio::time::sleep(LATE).await,
        }
    }
}
