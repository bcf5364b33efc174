//! What doula and its gateway say to each other.

use doula_core::queue::far;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Where the queue is, and who asks.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Login {
    /// URLs of servers: `nats://host:4222`, `tls://…`, perhaps with a user and a password.
    pub servers: Vec<String>,
    /// The name of the queue: letters, digits, `-` and `_`.
    pub queue: String,
    /// A user.
    pub user: Option<String>,
    /// The password of the user.
    pub password: Option<String>,
    /// A token.
    pub token: Option<String>,
    /// A file of credentials: a JWT and a seed.
    pub creds: Option<PathBuf>,
    /// A file with the seed of an nkey.
    pub nkey: Option<PathBuf>,
    /// The certificate authority of the server, if it is none of the system's.
    pub ca: Option<PathBuf>,
    /// Our own certificate, and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// What was written down about a task between its deliveries: `far::History`, for others too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// So many attempts failed.
    pub failed: u32,
    /// Of them, those that were deaths.
    pub deaths: u32,
    /// So many deliveries were given back.
    pub returned: u32,
}

impl From<far::History> for History {
    fn from(history: far::History) -> History {
        let far::History { failed, deaths, returned } = history;
        History { failed, deaths, returned }
    }
}

impl From<History> for far::History {
    fn from(history: History) -> far::History {
        let History { failed, deaths, returned } = history;
        far::History { failed, deaths, returned }
    }
}

/// What doula asks for. The first one says which of the two it is.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// Tasks to work at.
    Work {
        /// Where.
        login: Login,
        /// Our name among the workers.
        name: String,
        /// How long a task may be without a sign of life of its worker; without, as the queue has it.
        lease: Option<Duration>,
    },
    /// Tasks are handed in, and their results waited for.
    Submit {
        /// Where.
        login: Login,
        /// The name of all tasks of this run together.
        run: String,
        /// The queue takes no more tasks than this at once; decided when the queue is made.
        most: u64,
    },
    /// So many tasks may be here at once from now on.
    Slots(u32),
    /// These leases are being worked at: they are kept.
    Alive(Vec<u64>),
    /// The end of a lease, with its result.
    Done(u64),
    /// The end of a lease without a result: it is given out again after a pause.
    Again {
        /// Which.
        lease: u64,
        /// How long.
        pause: Duration,
        /// What is written down.
        history: History,
    },
    /// The end of a lease: the task is kept for people, and this result given for it.
    Bury {
        /// Which.
        lease: u64,
        /// Why.
        why: String,
    },
    /// No more tasks are begun.
    Drain,
    /// A task, with what is to be done.
    Task(u64),
    /// Tasks of this run that nobody has begun are taken back.
    Withdraw,
    /// All results are here, and nobody else will ask for them.
    Forget,
}

/// What the gateway tells.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tell {
    /// All is well, and the results that were there before are told.
    Ready,
    /// It cannot be done.
    Refused {
        /// The cure is on the command line.
        usage: bool,
        /// A sentence.
        why: String,
    },
    /// A task, with what is to be done.
    Given {
        /// A number for it.
        lease: u64,
        /// Whose task it is.
        run: String,
        /// Its number there.
        task: u64,
        /// The n-th delivery of it.
        delivery: u32,
        /// What was written down before.
        history: History,
    },
    /// A task is in the queue, and survives us.
    Stored(u64),
    /// The result of a task.
    Result(u64),
    /// So many tasks were taken back.
    Withdrawn(u64),
    /// For people.
    Note(String),
}
