//! The outer end: makes the namespace, gives orders, and looks on until all are at rest.

use super::agent::VARIABLE;
use super::look::{Bed, Seen, Watched};
use super::nursery::{DIRECTORY, NO_DIRECTORY};
use super::slots::{Birth, Slot, Slots};
use super::{LIFE, SLOTS};
use crate::child::{Child, OnDrop};
use crate::command::{Command, CommandError};
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_sys::{fd, pidfd};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// An answer mostly comes sooner; after this time it is looked whether its author sleeps in the call.
const SOON: Duration = Duration::from_micros(300);
/// Who waits for others to be gone may be woken by those that are not seen any more: they are at rest when they stay so for so
/// many looks and so long.
const LOOKS_UNSURE: u32 = 200;
const LONG: Duration = Duration::from_millis(100);
/// So often in a row it is looked again at once; then whoever looks lets the CPU go, for longer and longer.
const LOOKS_AT_ONCE: u32 = 20;
/// The first such pause.
const SHORT_PAUSE: Duration = Duration::from_micros(50);
/// The longest.
const LONG_PAUSE: Duration = Duration::from_millis(1);
/// Where the kernel does not tell who is on a CPU, so many equal looks are taken for rest.
const LOOKS_UNTOLD: u32 = 4;
/// How long a namespace may take to come up, and a single call to come to rest.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who is on the stage at a place.
#[derive(Debug)]
struct Actor {
    birth: Birth,
    /// Its number as init sees it.
    number: i32,
    watched: Watched,
}

/// A PID namespace and whom it has.
#[derive(Debug)]
pub struct Stage {
    slots: Slots,
    nursery: Child,
    /// As long as it is open, there is somebody to play for.
    life: Option<OwnedFd>,
    init: OwnedFd,
    actors: BTreeMap<usize, Actor>,
    /// The places whose order is not answered.
    waiting: BTreeSet<usize>,
    /// The places of those who may have been born and were not seen yet.
    unborn: BTreeSet<usize>,
}

/// What was seen of sleepers.
#[derive(Debug, Default)]
struct Proof {
    /// How often each has run.
    runs: Vec<(usize, u64)>,
    /// Somebody was on a CPU.
    at_work: bool,
    /// So many equal looks have to follow.
    looks: u32,
    /// And they have to go on for a while.
    unsure: bool,
}

/// What came of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Who answered, by number: also late answers to earlier orders.
    pub said: BTreeMap<i32, String>,
    /// How everybody is then, by number.
    pub seen: BTreeMap<i32, Seen>,
}

/// Why there is no stage.
#[derive(Debug)]
#[non_exhaustive]
pub enum StageError {
    /// A system call was refused.
    Refused(Errno),
    /// The program that plays could not be started.
    NotStarted(CommandError),
    /// No PID namespace can be made here, not even in a user namespace.
    NoNamespace(String),
    /// The directory cannot be made.
    NoDirectory(String),
    /// Whoever was on it is gone, or gives no answer.
    Silent,
}

impl fmt::Display for StageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StageError::Refused(errno) => write!(f, "the system refused: {errno}"),
            StageError::NotStarted(error) => write!(f, "the program that plays does not start: {error}"),
            StageError::NoNamespace(why) => {
                write!(f, "no PID namespace can be made here, nor a user namespace for it ({why})")
            }
            StageError::NoDirectory(why) => {
                write!(f, "no directory can be made for the files of programs: {why}")
            }
            StageError::Silent => f.write_str("the processes on the stage give no answer"),
        }
    }
}

impl std::error::Error for StageError {}

impl From<Errno> for StageError {
    fn from(errno: Errno) -> StageError {
        StageError::Refused(errno)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // As when we are killed: the nursery ends when it has seen that nobody is left.
        self.life = None;
        if self.nursery.wait_timeout(PATIENCE).is_none() {
            let _gone = self.nursery.kill();
        }
    }
}

impl Stage {
    /// A new namespace for so many places, played by a program that calls [`part`](super::part), in a new directory, given with its
    /// whole path, which is removed with the stage, also when we are killed.
    ///
    /// # Errors
    /// When no namespace or no directory can be made, or the program does not start.
    pub fn new(program: &OsStr, directory: &Path, places: usize) -> Result<Stage, StageError> {
        let file = fd::memory(c"doula-sim")?;
        let slots = Slots::map(&file, places)?;
        let (reader, life) = fd::pipe()?;
        let mut command = Command::exact(program);
        command
            .env(VARIABLE, format!("{places}:nursery:{}", users()))
            .env(DIRECTORY, directory)
            .fd(SLOTS, file);
        // No death signal: whoever looks on may be killed, and the nursery has work to do then.
        command.fd(LIFE, reader).new_session().on_drop(OnDrop::Kill);
        let mut nursery = command.spawn().map_err(StageError::NotStarted)?;
        let slot = slots.get(0).ok_or(StageError::Silent)?;
        let birth = await_init(slot, &mut nursery)?;
        let init = pidfd::open(Pid::new(birth.process).ok_or(StageError::Silent)?)?;
        let mut stage = Stage {
            slots,
            nursery,
            life: Some(life),
            init,
            actors: BTreeMap::new(),
            waiting: BTreeSet::new(),
            unborn: BTreeSet::new(),
        };
        stage.meet(0);
        Ok(stage)
    }

    /// The number of who is at a place, as init sees it.
    pub fn number(&self, place: usize) -> Option<i32> {
        self.actors.get(&place).map(|actor| actor.number)
    }

    /// Everybody but init is gone, and init is as it was at first: the number that comes next. `None` when init
    /// sleeps in a call, is stopped or is gone: then another stage has to be made.
    pub fn clear(&mut self) -> Option<i32> {
        let init = self.actors.get(&0).and_then(|init| init.watched.look())?;
        if self.waiting.contains(&0) || matches!(init.state, 'T' | 't') {
            return None;
        }
        self.actors.retain(|place, _| *place == 0);
        self.waiting.clear();
        self.unborn.clear();
        for place in 1..self.slots.count() {
            self.slots.get(place)?.clear();
        }
        let slot = self.slots.get(0)?;
        slot.order(b"0 clear");
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end && pidfd::exists(&self.init) {
            slot.await_answer(SOON);
            if let Some(text) = slot.answered() {
                return text.parse().ok();
            }
        }
        None
    }

    /// Gives the actor of a place an order, and looks when all are at rest again. Who is born by it, if anybody is,
    /// gets the place `place`.
    ///
    /// # Errors
    /// When nobody comes to rest.
    pub fn order(&mut self, by: usize, place: usize, order: &str, bears: bool) -> Result<Heard, StageError> {
        let slot = self.slots.get(by).ok_or(StageError::Silent)?;
        if !slot.order(format!("{place} {order}").as_bytes()) {
            return Err(StageError::Refused(Errno::E2BIG));
        }
        self.waiting.insert(by);
        let mut said = BTreeMap::new();
        slot.await_answer(SOON);
        let end = Instant::now() + PATIENCE;
        // A child is known when it is at its place: its parent's word is not enough.
        while bears && !self.actors.contains_key(&place) && Instant::now() < end {
            self.listen(&mut said);
            self.meet(place);
            if self.number(by).and_then(|by| said.get(&by)).is_some_and(|text| text.starts_with('E')) {
                break;
            }
            slot.await_answer(SOON);
        }
        self.rest(said, end)
    }

    /// Gives many an order at once: who, the place of who may be born by it, and what. Looks when all are at rest again.
    ///
    /// # Errors
    /// When nobody comes to rest.
    pub fn order_all(&mut self, orders: &[(usize, usize, String)]) -> Result<Heard, StageError> {
        for (by, place, order) in orders {
            let slot = self.slots.get(*by).ok_or(StageError::Silent)?;
            if !slot.order(format!("{place} {order}").as_bytes()) {
                return Err(StageError::Refused(Errno::E2BIG));
            }
            self.waiting.insert(*by);
        }
        let bearing = |order: &str| order.starts_with("fork") || order.starts_with("clone");
        self.unborn.extend(orders.iter().filter(|(_, _, order)| bearing(order)).map(|(_, place, _)| *place));
        let (end, mut said) = (Instant::now() + PATIENCE, BTreeMap::new());
        let mut since = Instant::now();
        loop {
            let heard = self.rest(said, end)?;
            // Who was born meanwhile has been looked at by nobody.
            let known = self.actors.len();
            for place in self.unborn.clone() {
                self.meet(place);
            }
            let failed = |by: usize| {
                self.number(by)
                    .and_then(|number| heard.said.get(&number))
                    .is_some_and(|text| text.starts_with('E'))
            };
            let failed: BTreeSet<usize> =
                orders.iter().filter(|(by, ..)| failed(*by)).map(|(_, place, _)| *place).collect();
            let actors = &self.actors;
            self.unborn.retain(|place| !actors.contains_key(place) && !failed.contains(place));
            if self.actors.len() != known {
                since = Instant::now();
            } else if since.elapsed() >= LONG
                || !orders.iter().any(|(_, place, _)| self.unborn.contains(place))
            {
                // Whose birth failed, who died before it could say a word, and who was stopped before.
                return Ok(heard);
            }
            said = heard.said;
        }
    }

    /// The places of those who wait for an order.
    pub fn idle(&self) -> Vec<usize> {
        let places = self.actors.iter().filter(|(place, actor)| {
            !self.waiting.contains(*place) && actor.watched.look().is_some_and(|seen| seen.state == 'S')
        });
        places.map(|(place, _)| *place).collect()
    }

    /// Waits until nobody has anything to do.
    fn rest(&mut self, mut said: BTreeMap<i32, String>, end: Instant) -> Result<Heard, StageError> {
        let (mut last, mut same, mut looks, mut since) = (None, 0, 0, Instant::now());
        while Instant::now() < end {
            let (seen, proof) = self.look();
            let told = self.listen(&mut said);
            let at_work = told || proof.at_work || seen.values().any(|seen| matches!(seen.state, 'R' | 'X'));
            let busy = at_work || !self.look_again(&proof);
            same = if !busy && last.as_ref() == Some(&seen) { same + 1 } else { 0 };
            if same == 0 {
                since = Instant::now();
            }
            if !busy && same >= proof.looks && (!proof.unsure || since.elapsed() >= LONG) {
                return Ok(Heard { said, seen: self.in_their_numbers(seen) });
            }
            last = Some(seen);
            looks += 1;
            self.let_others(looks);
        }
        Err(StageError::Silent)
    }

    /// Lets those run who are looked at, before the next look.
    fn let_others(&self, looks: u32) {
        let Some(pause) = pause_after(looks) else { return std::thread::yield_now() };
        match self.waiting.last().and_then(|place| self.slots.get(*place)) {
            // The youngest is the likeliest to answer.
            Some(slot) => slot.await_answer(pause),
            None => std::thread::park_timeout(pause),
        }
    }

    /// How everybody is, and what has to be the same at the next look.
    fn look(&self) -> (BTreeMap<usize, Seen>, Proof) {
        let (mut seen, mut proof) = (BTreeMap::new(), Proof::default());
        for (place, actor) in &self.actors {
            let runs = actor.watched.runs();
            let Some(look) = actor.watched.look() else { continue };
            seen.insert(*place, look);
            if look.state == 'Z' {
                match actor.watched.is_off_for_good() {
                    // The last of its threads may bury it, and is not seen while it does.
                    Some(gone) => (proof.at_work, proof.looks) = (proof.at_work | !gone, proof.looks.max(1)),
                    None => proof.looks = proof.looks.max(LOOKS_UNTOLD),
                }
            }
            if !matches!(look.state, 'S' | 'T' | 't' | 'D') {
                continue;
            }
            match (runs, actor.watched.sleeps_in()) {
                (_, Some(bed)) if bed.goes_on_by_itself(look.state) => proof.at_work = true,
                (Some(runs), Some(bed)) => {
                    proof.runs.push((*place, runs));
                    let unsure = bed == Bed::Alone;
                    proof.looks = proof.looks.max(if unsure { LOOKS_UNSURE } else { 0 });
                    proof.unsure |= unsure;
                }
                (None, _) | (_, None) => proof.looks = proof.looks.max(LOOKS_UNTOLD),
            }
        }
        (seen, proof)
    }

    /// Whether all still sleep who did, and none ran meanwhile.
    fn look_again(&self, proof: &Proof) -> bool {
        proof.runs.iter().all(|(place, runs)| {
            self.actors.get(place).is_some_and(|actor| {
                actor.watched.sleeps_in() != Some(Bed::None) && actor.watched.runs() == Some(*runs)
            })
        })
    }

    /// Takes the answers that have arrived; whether there were any.
    fn listen(&mut self, said: &mut BTreeMap<i32, String>) -> bool {
        let answered: Vec<(usize, String)> = self
            .waiting
            .iter()
            .filter_map(|place| Some((*place, self.slots.get(*place)?.answered()?)))
            .collect();
        for (place, text) in &answered {
            self.waiting.remove(place);
            // A thread that executed a program has the number of its leader now.
            self.meet(*place);
            if let Some(number) = self.number(*place) {
                said.insert(number, text.clone());
            }
        }
        !answered.is_empty()
    }

    /// Learns who is at a place.
    fn meet(&mut self, place: usize) {
        let Some(birth) = self.slots.get(place).and_then(|slot| slot.birth()) else { return };
        if self.actors.get(&place).is_some_and(|actor| actor.birth == birth) {
            return;
        }
        let number = seen_from_init(birth).unwrap_or(birth.number);
        self.actors.retain(|_, actor| actor.number != number);
        if let Ok(watched) = Watched::new(birth.process, birth.thread) {
            self.actors.insert(place, Actor { birth, number, watched });
        }
    }

    fn in_their_numbers(&self, seen: BTreeMap<usize, Seen>) -> BTreeMap<i32, Seen> {
        let inside = |thread: i32| {
            self.actors.values().find(|actor| actor.birth.thread == thread).map_or(0, |actor| actor.number)
        };
        let seen = seen.into_iter().filter_map(|(place, seen)| {
            let Seen { state, parent, group, session, foreground } = seen;
            let (parent, group, session) = (inside(parent), inside(group), inside(session));
            let foreground = if foreground < 0 { -1 } else { inside(foreground) };
            let seen = Seen { state, parent, group, session, foreground };
            Some((self.number(place)?, seen))
        });
        seen.collect()
    }
}

/// How long whoever looks sleeps after so many looks at an order. To give the CPU up is not enough for long: each session on the stage has
/// a share of its own (autogroup of sched(7)), and a thread that gave it up again and again kept all others from it for up to half a minute.
fn pause_after(looks: u32) -> Option<Duration> {
    let beyond = looks.checked_sub(LOOKS_AT_ONCE)?;
    Some((SHORT_PAUSE * (1 << (beyond / 4).min(5))).min(LONG_PAUSE))
}

/// The number two namespaces below ours, for the warden's is in between: the last but those of namespaces that are deeper still.
fn seen_from_init(birth: Birth) -> Option<i32> {
    let text = fs::read_to_string(format!("/proc/{}/task/{}/status", birth.process, birth.thread)).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().nth(2)?.parse().ok()
}

/// The first of a few users whom no other stage has: RLIMIT_NPROC counts the processes of a user.
fn users() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    1_000_000 + std::process::id() % 100_000 * 1000 + NEXT.fetch_add(8, Ordering::Relaxed) % 1000
}

/// Waits for init; the nursery or the warden may say that there will be none.
fn await_init(slot: Slot, nursery: &mut Child) -> Result<Birth, StageError> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if let Some(birth) = slot.birth() {
            return Ok(birth);
        }
        let ended = nursery.try_wait().map(|_| "it ended at once".into());
        if let Some(why) = slot.refusal().or(ended) {
            return Err(match why.strip_prefix(NO_DIRECTORY) {
                Some(why) => StageError::NoDirectory(why.into()),
                None => StageError::NoNamespace(why),
            });
        }
        slot.await_birth(SOON);
    }
    Err(StageError::Silent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_looks_for_long_sleeps_between_looks_and_never_for_long() {
        assert_eq!((pause_after(1), pause_after(LOOKS_AT_ONCE - 1)), (None, None));
        assert_eq!(pause_after(LOOKS_AT_ONCE), Some(SHORT_PAUSE));
        let pauses: Vec<_> = (LOOKS_AT_ONCE..1000).filter_map(pause_after).collect();
        assert!(pauses.is_sorted() && pauses.last() == Some(&LONG_PAUSE), "{pauses:?}");
        assert_eq!(pause_after(u32::MAX), Some(LONG_PAUSE));
    }
}
