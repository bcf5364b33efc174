//! How things of a queue are named in NATS, and how they are set up. Whoever comes first makes them.
//!
//! | name | is |
//! |---|---|
//! | stream `DOULA-Q` | tasks that are not done: `doula.Q.task.RUN.NUMBER`. A work queue; full, it refuses new ones |
//! | consumer `workers` | who has which task, and for how long yet |
//! | stream `DOULA-Q-results` | `doula.Q.result.RUN.NUMBER`, the first of which wins; `try`, what is written down between deliveries; `part` of results that are too long for one message. For a week |
//! | stream `DOULA-Q-dead` | `doula.Q.dead.RUN.NUMBER`: tasks that are not tried again, as they were handed in, until people remove them |
//! | bucket `DOULA-Q-workers` | who works, each renewed all the time, else forgotten |

use crate::words::Login;
use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream};
use std::fmt::Display;
use std::time::Duration;

/// Results are kept so long.
const RESULTS: Duration = Duration::from_secs(7 * 24 * 3600);
/// A worker that says nothing for so long is forgotten.
pub(crate) const FORGOTTEN: Duration = Duration::from_secs(30);
/// So long a task may be without a sign of life, where nobody said otherwise.
const LEASE: Duration = Duration::from_secs(30);
/// A task that is handed in again within this time is known, also when it was done meanwhile.
const KNOWN: Duration = Duration::from_secs(120);
/// So many tasks a queue takes, where nobody said otherwise.
const MOST: i64 = 100_000;
/// The consumer of all workers.
const WORKERS: &str = "workers";

/// The names of one queue.
#[derive(Clone, Debug)]
pub(crate) struct Names(String);

/// Why a queue could not be set up.
pub(crate) type Trouble = String;

impl Names {
    /// Those of the queue of this login.
    pub(crate) fn of(login: &Login) -> Names {
        Names(login.queue.clone())
    }

    pub(crate) fn tasks(&self) -> String {
        format!("DOULA-{}", self.0)
    }

    pub(crate) fn results(&self) -> String {
        format!("DOULA-{}-results", self.0)
    }

    fn dead(&self) -> String {
        format!("DOULA-{}-dead", self.0)
    }

    /// A subject of this kind.
    pub(crate) fn subject(&self, kind: &str, run: &str, task: impl Display) -> String {
        format!("doula.{}.{kind}.{run}.{task}", self.0)
    }

    /// The run and the number of a task of this subject.
    pub(crate) fn parse(&self, subject: &str) -> Option<(String, u64)> {
        let mut words = subject.rsplit('.');
        let number = words.next()?.parse().ok()?;
        words.next().map(|run| (run.to_owned(), number))
    }

    /// Makes the streams, unless they are there. `most`: how many tasks at once.
    pub(crate) async fn streams(&self, js: &Context, most: Option<u64>) -> Result<(), Trouble> {
        let most = most.map_or(MOST, |most| i64::try_from(most).unwrap_or(i64::MAX));
        let subjects = |kinds: &[&str]| kinds.iter().map(|kind| self.subject(kind, "*", "*")).collect();
        let tasks = Config {
            name: self.tasks(),
            subjects: subjects(&["task"]),
            retention: RetentionPolicy::WorkQueue,
            discard: DiscardPolicy::New,
            max_messages: most,
            duplicate_window: KNOWN,
            storage: StorageType::File,
            ..Config::default()
        };
        let results = Config {
            name: self.results(),
            subjects: subjects(&["result", "try", "part"]),
            max_age: RESULTS,
            max_messages_per_subject: 1,
            storage: StorageType::File,
            ..Config::default()
        };
        let dead = Config {
            name: self.dead(),
            subjects: subjects(&["dead"]),
            max_messages_per_subject: 1,
            storage: StorageType::File,
            ..Config::default()
        };
        // As the specification of key-value stores has it; the client's own call does not understand servers of 2.9.
        let members = Config {
            name: format!("KV_{}", self.bucket()),
            subjects: vec![self.member(">")],
            discard: DiscardPolicy::New,
            max_age: FORGOTTEN,
            max_messages_per_subject: 1,
            storage: StorageType::File,
            allow_rollup: true,
            allow_direct: true,
            deny_delete: true,
            ..Config::default()
        };
        for config in [tasks, results, dead, members] {
            let name = config.name.clone();
            js.get_or_create_stream(config).await.map_err(|error| trouble(&name, &error))?;
        }
        Ok(())
    }

    /// The consumer that all workers share, and its lease.
    pub(crate) async fn consumer(
        &self,
        js: &Context,
        lease: Option<Duration>,
    ) -> Result<(String, Duration), Trouble> {
        let stream: Stream = js.get_stream(self.tasks()).await.map_err(|error| error.to_string())?;
        let config = pull::Config {
            durable_name: Some(WORKERS.to_owned()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: lease.unwrap_or(LEASE),
            // Each lease is a free slot of somebody, and what comes of a delivery is decided by whoever gets it.
            max_ack_pending: -1,
            max_deliver: -1,
            ..pull::Config::default()
        };
        let consumer: PullConsumer = match lease {
            Some(_) => stream.create_consumer(config).await.map_err(|error| error.to_string())?,
            None => {
                let found = stream.get_or_create_consumer(WORKERS, config).await;
                found.map_err(|error| error.to_string())?
            }
        };
        let lease = consumer.cached_info().config.ack_wait;
        Ok((format!("$JS.API.CONSUMER.MSG.NEXT.{}.{WORKERS}", self.tasks()), lease))
    }

    /// The bucket of those who work: `nats kv` shows it.
    fn bucket(&self) -> String {
        format!("DOULA-{}-workers", self.0)
    }

    /// The subject of a worker in its bucket.
    pub(crate) fn member(&self, name: &str) -> String {
        format!("$KV.{}.{name}", self.bucket())
    }
}

/// Which delivery a message is, from 1, and its number in the stream: they are in the subject by which it is acknowledged,
/// `$JS.ACK.STREAM.CONSUMER.DELIVERY.NUMBER.…`, with a domain and an account before the stream where servers have those.
pub(crate) fn delivery(ack: &str) -> Option<(u32, u64)> {
    let words: Vec<&str> = ack.strip_prefix("$JS.ACK.")?.split('.').collect();
    let behind = if words.len() >= 9 { 4 } else { 2 };
    Some((words.get(behind)?.parse().ok()?, words.get(behind + 1)?.parse().ok()?))
}

fn trouble(name: &str, error: &dyn Display) -> Trouble {
    let error = error.to_string();
    let off = ["no responders", "unavailable", "not enabled", "503", "10076", "10039"]
        .iter()
        .any(|word| error.contains(word));
    if off {
        return "the server has no JetStream: start it with -js, or turn that on for this account".to_owned();
    }
    format!("the stream {name} cannot be made: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_read_from_both_kinds_of_subjects_and_from_nothing_else() {
        assert_eq!(delivery("$JS.ACK.DOULA-q.workers.3.17.40.1700000000000000000.5"), Some((3, 17)));
        let of_a_domain = "$JS.ACK.hub.AB12.DOULA-q.workers.2.18.41.1700000000000000000.5.random";
        assert_eq!(delivery(of_a_domain), Some((2, 18)));
        for other in ["", "_INBOX.x", "$JS.ACK.DOULA-q.workers", "$JS.ACK.DOULA-q.workers.x.17.4.1.5"] {
            assert_eq!(delivery(other), None, "{other}");
        }
    }
}
