//! A pool of workers behind an iterator: what comes out is what was answered to what went in.
//!
//! ```
//! use doula_host::{Command, pool::Pool};
//!
//! // Two workers; each line that goes in is answered by a line.
//! let mut pool = Pool::new(2, || {
//!     let mut worker = Command::new("sh");
//!     worker.args(["-c", "while read n; do echo $((n * n)); done"]);
//!     worker
//! });
//! let numbers = (1..=1000_u32).map(|number| number.to_string().into_bytes());
//! let squares = pool.map(numbers)?.collect::<Result<Vec<_>, _>>()?;
//! assert_eq!((squares.len(), squares[11].as_slice()), (1000, b"144".as_slice()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A task that ends its worker, two times, is an error in its place; all others have their answers:
//!
//! ```
//! # use doula_host::{Command, pool::Pool};
//! let mut pool = Pool::new(2, || {
//!     let mut worker = Command::new("sh");
//!     worker.args(["-c", "while read n; do [ $n = 3 ] && kill -KILL $$; echo $n; done"]);
//!     worker
//! });
//! let results: Vec<_> = pool.map("12345".chars().map(|digit| digit.to_string().into_bytes()))?.collect();
//! let failed: Vec<String> = results.iter().filter_map(|result| Some(result.as_ref().err()?.to_string())).collect();
//! assert_eq!((results.len(), failed.len()), (5, 1));
//! assert_eq!(failed[0], "task 2 ended 2 workers: the last one was killed by SIGKILL");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Rust functions are tasks too ([`functions`]): their workers are this program once more. They are asked by
//! frames, where a worker may have several tasks at once:
//!
//! ```no_run
//! # use doula_host::pool::{Pool, Protocol};
//! let mut pool = Pool::function(2, "square");
//! pool.at_once(512, 64);                              // tasks that take next to no time
//! pool.rules().protocol = Protocol::Ring;             // through memory, if that is worth it
//! ```
//!
//! When a worker dies that has several tasks, those are tried again one by one: the one that does it fails, and the others are
//! done, perhaps for the second time.
//!
//! Inputs are taken one by one, as they can be worked at: they may be without end. No more answers than [`AHEAD`] wait for
//! their turn or for whoever takes them. All happens while somebody asks for the next answer; there is no thread. Whoever
//! drops the iterator in the middle ends all that was begun, with all descendants.
//!
//! Not here: closures, which cannot be handed to another program; and a process for each call, which is a child of a
//! [`Zygote`](crate::Zygote).

pub use super::functions::{Function, functions};
pub use super::serve::serve;
pub use super::{Answer, Death, Protocol, Rules};

use super::drive::Shop;
use super::functions::command;
use super::{NoAnswer, Tasks};
use crate::child::os_error;
use crate::jobs::{Failure, Flow, Next, Policy, Settings, SlotId, TaskId, Verdict};
use crate::{Command, CommandError};
use doula_core::queue::Event;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;

/// No more answers wait, but for those of tasks that workers have already.
///
/// ```
/// assert_eq!(doula_host::pool::AHEAD, 1024);
/// ```
pub const AHEAD: usize = 1024;
/// So many that were taken may stay behind one that takes long, before that one is put elsewhere.
const BEHIND: usize = 4096;

/// Workers that are started when there is something to do. See the [module](self).
///
/// ```
/// use doula_host::{Command, pool::Pool};
/// let mut pool = Pool::new(4, || Command::new("cat"));
/// let answers: Result<Vec<_>, _> = pool.map([b"one".to_vec(), b"two".to_vec()])?.collect();
/// assert_eq!(answers?, [b"one", b"two"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Pool<C> {
    rules: Rules,
    command: C,
}

impl Pool<Box<dyn FnMut() -> Command>> {
    /// At most so many workers for a Rust function that [`functions`] knows by this name. Each is this program, executed again,
    /// and is asked by frames.
    ///
    /// ```no_run
    /// # use doula_host::pool::Pool;
    /// // `main` begins by asking `functions`, which has the whole example.
    /// let mut pool = Pool::function(2, "square");
    /// assert_eq!(pool.map([b"3".to_vec()])?.next().expect("an answer").expect("9"), b"9");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn function(workers: u32, name: &str) -> Pool<Box<dyn FnMut() -> Command>> {
        let name = name.to_owned();
        let mut pool = Pool::new(workers, Box::new(move || command(&name)) as Box<dyn FnMut() -> Command>);
        pool.rules.protocol = Protocol::Frames;
        pool
    }
}

impl<C: FnMut() -> Command> Pool<C> {
    /// At most so many workers of this command. A task that ended two of them has failed; there is no limit of time.
    ///
    /// ```
    /// use doula_host::{Command, pool::Pool};
    /// let mut pool = Pool::new(1, || Command::new("cat"));
    /// assert_eq!(pool.map([b"a".to_vec()])?.count(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(workers: u32, command: C) -> Pool<C> {
        let policy = Policy { deaths: 2, ..Policy::PLAIN };
        let slots = workers.max(1);
        Pool { rules: Rules::new(Settings { slots, policy, ..Settings::default() }), command }
    }

    /// By other rules: limits of time, attempts, pauses, and when workers are replaced.
    ///
    /// ```
    /// use doula_host::{Command, jobs::Timeout, pool::Pool};
    /// use std::time::Duration;
    /// let mut pool = Pool::new(1, || Command::new("cat"));
    /// pool.rules().settings.policy.timeout = Some(Timeout::After(Duration::from_secs(60)));
    /// # assert_eq!(pool.map([])?.count(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn rules(&mut self) -> &mut Rules {
        &mut self.rules
    }

    /// A worker may have so many tasks at once, and gets up to `batch` of them together. By lines it has one.
    ///
    /// ```
    /// use doula_host::{Command, pool::{Pool, Protocol}};
    /// let mut pool = Pool::new(1, || Command::new("my-worker"));
    /// pool.rules().protocol = Protocol::Frames;
    /// pool.at_once(64, 1);
    /// ```
    pub fn at_once(&mut self, window: u32, batch: u32) -> &mut Pool<C> {
        let policy = &mut self.rules.settings.policy;
        (policy.window, policy.batch) = (window, batch);
        self
    }

    /// The answers in the order of the inputs. By lines, each is one without its end, and an input must not have an end of a
    /// line in it.
    ///
    /// # Errors
    /// EMFILE.
    ///
    /// See the [module](self) for examples.
    ///
    /// ```
    /// use doula_host::{Command, pool::Pool};
    /// let mut pool = Pool::new(2, || Command::new("cat"));
    /// for answer in pool.map((0..10).map(|number: u32| number.to_string().into_bytes()))? {
    ///     println!("{}", String::from_utf8_lossy(&answer?));
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn map<I>(&mut self, inputs: I) -> io::Result<Map<'_, C, I::IntoIter>>
    where
        I: IntoIterator<Item = Vec<u8>>,
    {
        self.begin(inputs.into_iter(), true).map(|work| Map { work })
    }

    /// The answers as they come, each with the number of its input, from 0 (that of [`PoolError::Broken`] says nothing).
    ///
    /// # Errors
    /// EMFILE.
    ///
    /// ```
    /// use doula_host::{Command, pool::Pool};
    /// let mut pool = Pool::new(2, || Command::new("cat"));
    /// let inputs = (0..100_u32).map(|number| number.to_string().into_bytes());
    /// for (number, answer) in pool.map_unordered(inputs)? {
    ///     assert_eq!(answer?, number.to_string().into_bytes());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn map_unordered<I>(&mut self, inputs: I) -> io::Result<MapUnordered<'_, C, I::IntoIter>>
    where
        I: IntoIterator<Item = Vec<u8>>,
    {
        self.begin(inputs.into_iter(), false).map(|work| MapUnordered { work })
    }

    fn begin<I: Iterator<Item = Vec<u8>>>(&mut self, inputs: I, ordered: bool) -> io::Result<Work<'_, C, I>> {
        let feed = Feed {
            command: &mut self.command,
            inputs,
            ordered,
            lines: self.rules.protocol == Protocol::Lines,
            items: VecDeque::new(),
            first: 0,
            old: BTreeMap::new(),
            settled: VecDeque::new(),
            waiting: 0,
            trouble: None,
        };
        let shop = Shop::new(self.rules.clone(), Box::new(feed))?;
        Ok(Work { shop, phase: Phase::Running })
    }
}

/// Why there is no answer.
///
/// ```
/// use doula_host::{Command, pool::{Pool, PoolError}};
/// let killer = || { let mut sh = Command::new("sh"); sh.args(["-c", "read line; kill -KILL $$"]); sh };
/// let error = Pool::new(1, killer).map([b"task".to_vec()])?.next().expect("an answer").unwrap_err();
/// assert!(matches!(error, PoolError::Failed { task: 0, .. }), "{error}");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub enum PoolError {
    /// The task failed.
    Failed {
        /// The number of its input, from 0.
        task: u64,
        /// How its last attempt failed.
        failure: Failure,
        /// The reason that its worker gave (by frames).
        why: Option<String>,
        /// How the workers ended that it ended.
        deaths: Vec<Death>,
    },
    /// It was not begun, or not finished, because all was given up ([`Map::cancel`], or by a rule).
    Cancelled {
        /// The number of its input, from 0.
        task: u64,
    },
    /// Nothing more can be done, and nothing more comes: no worker can be started, or they end before they take a task, or an
    /// input has an end of a line in it.
    Broken(io::Error),
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PoolError::Failed { task, why: Some(why), .. } => write!(f, "task {task} failed: {why}"),
            PoolError::Failed { task, failure, deaths, why: None } => match deaths.as_slice() {
                [] => write!(f, "task {task} {failure}"),
                [death] => write!(f, "task {task} {failure}: its worker {death}"),
                [.., last] => write!(f, "task {task} ended {} workers: the last one {last}", deaths.len()),
            },
            PoolError::Cancelled { task } => write!(f, "task {task} was given up"),
            PoolError::Broken(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PoolError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            PoolError::Broken(error) => Some(error),
            PoolError::Failed { .. } | PoolError::Cancelled { .. } => None,
        }
    }
}

/// What [`Pool::map`] gives.
///
/// ```
/// use doula_host::{Command, pool::Pool};
/// let mut pool = Pool::new(1, || Command::new("cat"));
/// let mut answers = pool.map(std::iter::repeat_with(|| b"on and on".to_vec()))?;
/// assert!(answers.next().is_some_and(|answer| answer.is_ok()));
/// drop(answers);                          // ends what was begun
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Map<'p, C, I> {
    work: Work<'p, C, I>,
}

impl<C: FnMut() -> Command, I: Iterator<Item = Vec<u8>>> Map<'_, C, I> {
    /// Ends all that was begun, and begins nothing more. What was taken of the inputs still has its place in the answers.
    ///
    /// ```
    /// use doula_host::{Command, pool::{Pool, PoolError}};
    /// let mut pool = Pool::new(2, || Command::new("cat"));
    /// let mut answers = pool.map(std::iter::repeat_with(|| b"on and on".to_vec()))?;
    /// assert!(answers.next().is_some_and(|answer| answer.is_ok()));
    /// answers.cancel();
    /// assert!(answers.all(|answer| matches!(answer, Ok(_) | Err(PoolError::Cancelled { .. }))));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn cancel(&mut self) {
        self.work.shop.tell(Event::Stop { now: true });
    }
}

impl<C: FnMut() -> Command, I: Iterator<Item = Vec<u8>>> Iterator for Map<'_, C, I> {
    type Item = Result<Vec<u8>, PoolError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.work.next().map(|(_, answer)| answer)
    }
}

/// What [`Pool::map_unordered`] gives.
///
/// ```
/// use doula_host::{Command, pool::Pool};
/// let mut pool = Pool::new(2, || Command::new("cat"));
/// let mut numbers: Vec<u64> = pool.map_unordered(vec![b"x".to_vec(); 5])?.map(|(number, _)| number).collect();
/// numbers.sort_unstable();
/// assert_eq!(numbers, [0, 1, 2, 3, 4]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct MapUnordered<'p, C, I> {
    work: Work<'p, C, I>,
}

impl<C: FnMut() -> Command, I: Iterator<Item = Vec<u8>>> MapUnordered<'_, C, I> {
    /// As [`Map::cancel`].
    ///
    /// ```
    /// use doula_host::{Command, pool::Pool};
    /// let mut pool = Pool::new(2, || Command::new("cat"));
    /// let mut answers = pool.map_unordered(std::iter::repeat_with(|| b"on and on".to_vec()))?;
    /// answers.next();
    /// answers.cancel();
    /// assert!(answers.count() < 10_000, "there is an end");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn cancel(&mut self) {
        self.work.shop.tell(Event::Stop { now: true });
    }
}

impl<C: FnMut() -> Command, I: Iterator<Item = Vec<u8>>> Iterator for MapUnordered<'_, C, I> {
    type Item = (u64, Result<Vec<u8>, PoolError>);

    fn next(&mut self) -> Option<Self::Item> {
        self.work.next()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// All is done, and workers are waited for.
    Leaving,
    Over,
}

struct Work<'p, C, I> {
    shop: Shop<Box<Feed<'p, C, I>>>,
    phase: Phase,
}

impl<C, I> fmt::Debug for Work<'_, C, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl<C: FnMut() -> Command, I: Iterator<Item = Vec<u8>>> Work<'_, C, I> {
    fn next(&mut self) -> Option<(u64, Result<Vec<u8>, PoolError>)> {
        loop {
            if let Some(answer) = self.shop.work.take() {
                return Some(answer);
            }
            let stepped = match self.phase {
                Phase::Running => self.step(),
                Phase::Leaving if self.shop.has_workers() => self.shop.wait(None),
                Phase::Leaving | Phase::Over => {
                    self.phase = Phase::Over;
                    let trouble = self.shop.trouble.take().or_else(|| self.shop.work.trouble.take())?;
                    Err(trouble)
                }
            };
            if let Err(error) = stepped {
                self.phase = Phase::Over;
                return Some((self.shop.work.first, Err(PoolError::Broken(error))));
            }
        }
    }

    fn step(&mut self) -> io::Result<()> {
        if self.shop.over()? {
            self.shop.dismiss();
            self.phase = Phase::Leaving;
        } else if !self.shop.work.has_one() {
            self.shop.wait(None)?;
        }
        Ok(())
    }
}

/// A task whose answer was not taken yet.
#[derive(Debug, Default)]
struct Item {
    input: Vec<u8>,
    answer: Vec<u8>,
    why: Option<String>,
    deaths: Vec<Death>,
    /// It came to its end.
    verdict: Option<Verdict>,
    taken: bool,
}

impl Item {
    /// What comes out for this input.
    fn result(self, task: u64) -> Option<Result<Vec<u8>, PoolError>> {
        let Item { answer, why, deaths, verdict, .. } = self;
        Some(match verdict? {
            Verdict::Done => Ok(answer),
            Verdict::Failed(failure) | Verdict::Quarantined(failure) => {
                let why = why.filter(|_| failure == Failure::Answered);
                Err(PoolError::Failed { task, failure, why, deaths })
            }
            Verdict::Cancelled | Verdict::Skipped => Err(PoolError::Cancelled { task }),
        })
    }
}

/// What goes in, and what comes out.
struct Feed<'p, C, I> {
    command: &'p mut C,
    inputs: I,
    ordered: bool,
    /// An input is a line.
    lines: bool,
    /// One behind the other, with the numbers from `first` on.
    items: VecDeque<Item>,
    first: u64,
    /// Those before that came to no end yet.
    old: BTreeMap<u64, Item>,
    /// Those that came to their end, if their order is what counts.
    settled: VecDeque<u64>,
    /// So many came to their end and were not taken.
    waiting: usize,
    trouble: Option<io::Error>,
}

impl<C, I> Feed<'_, C, I> {
    fn item(&mut self, task: TaskId) -> Option<&mut Item> {
        let number = task.0 - 1;
        match number.checked_sub(self.first) {
            Some(at) => self.items.get_mut(usize::try_from(at).ok()?),
            None => self.old.get_mut(&number),
        }
    }

    /// Whether an answer can be taken.
    fn has_one(&self) -> bool {
        match self.ordered {
            true => self.items.front().is_some_and(|item| item.verdict.is_some()),
            false => !self.settled.is_empty(),
        }
    }

    fn take(&mut self) -> Option<(u64, Result<Vec<u8>, PoolError>)> {
        if !self.has_one() {
            return None;
        }
        self.waiting -= 1;
        let taken = match self.ordered {
            true => (self.first, self.pop()?),
            false => {
                let number = self.settled.pop_front()?;
                (number, self.take_out(number)?)
            }
        };
        taken.1.result(taken.0).map(|result| (taken.0, result))
    }

    fn pop(&mut self) -> Option<Item> {
        self.first += 1;
        self.items.pop_front()
    }

    /// Takes one from wherever it is.
    fn take_out(&mut self, number: u64) -> Option<Item> {
        let item = match number < self.first {
            true => self.old.remove(&number)?,
            false => {
                let item = std::mem::take(self.item(TaskId(number + 1))?);
                self.item(TaskId(number + 1))?.taken = true;
                item
            }
        };
        while self.items.front().is_some_and(|item| item.taken) {
            self.pop();
        }
        while self.items.len() > BEHIND + AHEAD {
            let (number, item) = (self.first, self.pop()?);
            if !item.taken {
                self.old.insert(number, item);
            }
        }
        Some(item)
    }
}

impl<C: FnMut() -> Command, I: Iterator<Item = Vec<u8>>> Flow for Feed<'_, C, I> {
    fn next(&mut self) -> io::Result<Next> {
        if self.waiting >= AHEAD {
            return Ok(Next::Wait);
        }
        let Some(input) = self.inputs.next() else { return Ok(Next::End) };
        if self.lines && input.contains(&b'\n') {
            let number = self.first + self.items.len() as u64;
            let text = format!("input {number} has an end of a line in it");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.items.push_back(Item { input, ..Item::default() });
        Ok(Next::Task)
    }

    fn settled(&mut self, task: TaskId, verdict: Verdict, _attempts: u32) -> io::Result<()> {
        let ordered = self.ordered;
        let Some(item) = self.item(task) else { return Ok(()) };
        item.verdict = Some(verdict);
        item.input = Vec::new();
        self.waiting += 1;
        if !ordered {
            self.settled.push_back(task.0 - 1);
        }
        Ok(())
    }
}

impl<C: FnMut() -> Command, I: Iterator<Item = Vec<u8>>> Tasks for Feed<'_, C, I> {
    fn worker(&mut self, _slot: SlotId) -> Command {
        (self.command)()
    }

    fn ask(&mut self, task: TaskId, line: &mut Vec<u8>) {
        if let Some(item) = self.item(task) {
            line.extend_from_slice(&item.input);
        }
        if self.lines {
            line.push(b'\n');
        }
    }

    fn answer(&mut self, task: TaskId, line: &[u8]) -> Result<Answer, NoAnswer> {
        if let Some(item) = self.item(task) {
            item.answer = line.to_vec();
        }
        Ok(Answer::Done)
    }

    fn failed(&mut self, task: TaskId, why: &[u8]) {
        if let Some(item) = self.item(task) {
            item.why = Some(String::from_utf8_lossy(why).into_owned());
        }
    }

    fn died(&mut self, death: &Death) {
        if let Some(item) = death.task.and_then(|(task, _)| self.item(task)) {
            item.deaths.push(death.clone());
        }
    }

    fn hopeless(&mut self, death: &Death) {
        let text = format!("workers end before they take a task, again and again: the last one {death}");
        self.trouble = Some(io::Error::other(text));
    }

    fn not_born(&mut self, _slot: SlotId, error: &CommandError) {
        self.trouble = Some(io::Error::new(os_error(error.errno()).kind(), error.to_string()));
    }
}
