//! Why zombies stay, and the least harmful cure.
//!
//! A zombie has ended; what is left of it is a line with its status, for its parent to read by wait(2). So the fault is
//! never its own: what is looked at is what its parent does about SIGCHLD, what the parent does just now, and who stands between both.

use super::Party;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use doula_model::exit::ExitStatus;
use doula_model::id::Pid;
use doula_model::process::{Identity, ProcState};

/// What a process does about SIGCHLD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chld {
    /// It ignores it, so that later children leave no zombies.
    pub ignored: bool,
    /// It has a handler for it.
    pub caught: bool,
    /// All of its threads hold it back.
    pub blocked: bool,
    /// It waits to be delivered.
    pub pending: bool,
}

/// The parent of zombies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Who it is.
    pub who: Party,
    /// Whether it is PID 1 of a PID namespace, who gets the orphans of all.
    pub is_init: bool,
    /// What it does about SIGCHLD; `None` when we may not see it.
    pub chld: Option<Chld>,
    /// What those of its threads do that have not ended.
    pub threads: Vec<ProcState>,
    /// Who traces it.
    pub tracer: Option<Party>,
    /// The child for which alone it sleeps in wait4(2) or waitid(2).
    pub awaits: Option<Pid>,
}

/// A process that has ended and is not buried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zombie {
    /// Who it was.
    pub who: Identity,
    /// What it called itself.
    pub name: Vec<u8>,
    /// How it ended, where we may see that. A code of 0 is also what those see who may not.
    pub end: Option<ExitStatus>,
    /// The time since its birth: it has been dead for no longer than that. (`/proc` does not tell when it died.)
    pub age: Duration,
    /// Threads of it that live on.
    pub living: u32,
    /// Who traces it, if that is not its parent: whose wait(2) comes first.
    pub tracer: Option<Party>,
}

/// Why nobody buries a zombie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Only its first thread has ended: the others live on, and wait(2) does not tell of it before they end.
    LeaderDead {
        /// How many live on.
        living: u32,
    },
    /// Somebody traces it and has not taken its end yet; the parent is told afterwards.
    HeldByTracer(Party),
    /// The parent is stopped by a signal.
    ParentStopped,
    /// The parent is stopped by its tracer.
    ParentTraced(Option<Party>),
    /// All threads of the parent are blocked in the kernel.
    ParentBlocked,
    /// The parent sleeps in a wait(2) for one other child.
    WaitsForAnother(Pid),
    /// SIGCHLD is held back and waits: nobody takes it.
    BlockedAndPending,
    /// SIGCHLD is held back, and was taken (by a signalfd, by sigwait) without a wait(2).
    Blocked,
    /// PID 1 of its namespace does not bury what it adopted.
    InitBuriesLate,
    /// A handler runs at SIGCHLD, and does not wait(2) until there is nobody more.
    HandlerDoesNotWait,
    /// SIGCHLD is ignored, but only since after these had ended.
    IgnoredTooLate,
    /// SIGCHLD does nothing, and the program does not wait(2).
    NeverWaits,
    /// We may not see what the parent does.
    Hidden,
}

impl fmt::Display for Cause {
    /// The rest of a sentence that begins with "because".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::LeaderDead { living } => {
                write!(
                    f,
                    "only the first thread has ended and {living} more live on: no parent can bury that"
                )
            }
            Cause::HeldByTracer(tracer) => {
                write!(f, "its tracer {tracer} has not taken its end, and the parent is told only afterwards")
            }
            Cause::ParentStopped => f.write_str("the parent is stopped"),
            Cause::ParentTraced(Some(tracer)) => write!(f, "the parent is stopped by its tracer {tracer}"),
            Cause::ParentTraced(None) => f.write_str("the parent is stopped by its tracer"),
            Cause::ParentBlocked => f.write_str("the parent is blocked in the kernel"),
            Cause::WaitsForAnother(pid) => write!(f, "the parent waits for its child {pid} and no other"),
            Cause::BlockedAndPending => {
                f.write_str("the parent holds SIGCHLD back and does not take it, though it is pending")
            }
            Cause::Blocked => {
                f.write_str("the parent holds SIGCHLD back, took it (signalfd, sigwait), and did not wait")
            }
            Cause::InitBuriesLate => {
                f.write_str("the parent is PID 1 of its namespace and does not bury what it adopts, or late")
            }
            Cause::HandlerDoesNotWait => {
                f.write_str("the parent has a handler for SIGCHLD that does not wait until nobody is left")
            }
            Cause::IgnoredTooLate => {
                f.write_str("the parent ignores SIGCHLD, but only since after these had ended")
            }
            Cause::NeverWaits => {
                f.write_str("SIGCHLD does nothing in the parent, and it never waits for its children")
            }
            Cause::Hidden => f.write_str("what the parent does is only shown to root and to its own user"),
        }
    }
}

/// Why this zombie of this parent stays.
///
/// ```
/// use core::time::Duration;
/// use doula_core::diagnosis::Party;
/// use doula_core::diagnosis::zombie::{Cause, Chld, Parent, Zombie, cause};
/// use doula_model::id::Pid;
/// use doula_model::process::{Identity, ProcState};
///
/// let pid = |number| Pid::new(number).expect("a number");
/// let who = Party { pid: pid(7), name: b"server".to_vec(), state: ProcState::Sleeping };
/// let chld = Chld { caught: true, ..Chld::default() };
/// let parent =
///     Parent { who, is_init: false, chld: Some(chld), threads: vec![ProcState::Sleeping], tracer: None, awaits: None };
/// let who = Identity { pid: pid(8), start_ticks: 1 };
/// let zombie = Zombie { who, name: b"cgi".to_vec(), end: None, age: Duration::from_secs(60), living: 0, tracer: None };
/// assert_eq!(cause(&parent, &zombie), Cause::HandlerDoesNotWait);
/// ```
pub fn cause(parent: &Parent, zombie: &Zombie) -> Cause {
    if zombie.living > 0 {
        return Cause::LeaderDead { living: zombie.living };
    }
    if let Some(tracer) = &zombie.tracer {
        return Cause::HeldByTracer(tracer.clone());
    }
    let all = |state: ProcState| !parent.threads.is_empty() && parent.threads.iter().all(|one| *one == state);
    if all(ProcState::Stopped) {
        return Cause::ParentStopped;
    }
    if all(ProcState::Traced) {
        return Cause::ParentTraced(parent.tracer.clone());
    }
    if all(ProcState::Blocked) {
        return Cause::ParentBlocked;
    }
    if let Some(other) = parent.awaits.filter(|other| *other != zombie.who.pid) {
        return Cause::WaitsForAnother(other);
    }
    by_disposition(parent)
}

fn by_disposition(parent: &Parent) -> Cause {
    let Some(chld) = parent.chld else { return Cause::Hidden };
    match chld {
        Chld { blocked: true, pending: true, .. } => Cause::BlockedAndPending,
        _ if parent.is_init => Cause::InitBuriesLate,
        Chld { blocked: true, .. } => Cause::Blocked,
        Chld { caught: true, .. } => Cause::HandlerDoesNotWait,
        Chld { ignored: true, .. } => Cause::IgnoredTooLate,
        Chld { .. } => Cause::NeverWaits,
    }
}

/// What can be done, from the harmless to what costs most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cure {
    /// SIGCHLD to the parent: who has a loop that waits, and missed one, runs it.
    Tell(Pid),
    /// SIGCONT: somebody stopped it, perhaps for a reason.
    Continue(Party),
    /// The tracer has to go on, or to end.
    LetTracerGoOn(Party),
    /// The end is taken inside of the tracer, by ptrace(2), which never learns of it; the parent (of this number) is told then.
    TakeFrom(Party, Pid),
    /// The parent is blocked: see what it waits for.
    Look(Pid),
    /// wait4(2) inside of the parent, by ptrace(2): it never learns how that child ended.
    Inject(Pid),
    /// The whole process has to end, with the threads that live on.
    End(Pid),
    /// Another PID 1 that buries.
    UseInit,
    /// The parent starts anew: its zombies go to its adopter, who buries them.
    Restart(Pid),
}

impl fmt::Display for Cure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cure::Tell(parent) => write!(f, "send SIGCHLD to {parent}: `doula reap {parent} --yes`"),
            Cure::Continue(who) => write!(f, "let {who} go on: `doula cont {}`", who.pid),
            Cure::LetTracerGoOn(tracer) => write!(f, "let the tracer {tracer} go on, or end it"),
            Cure::TakeFrom(tracer, parent) => {
                let what = "which never learns of it, and have the parent told";
                write!(f, "take its end inside of {tracer}, {what}: `doula reap {parent} --yes --inject`")
            }
            Cure::Look(pid) => write!(f, "see what {pid} waits for: `doula doctor {pid}`"),
            Cure::Inject(parent) => {
                let what = "wait inside of the parent, which never learns how it ended";
                write!(f, "{what}: `doula reap {parent} --yes --inject`")
            }
            Cure::End(pid) => write!(f, "end its other threads too: `doula kill {pid}`"),
            Cure::UseInit => {
                f.write_str("run the program under a PID 1 that buries: `doula init -- PROGRAM`")
            }
            Cure::Restart(parent) => write!(f, "restart {parent}: whoever adopts its zombies buries them"),
        }
    }
}

/// What helps against this cause, the least harmful first.
pub fn cures(cause: &Cause, parent: &Parent) -> Vec<Cure> {
    let pid = parent.who.pid;
    let last = if parent.is_init { Cure::UseInit } else { Cure::Restart(pid) };
    match cause {
        Cause::LeaderDead { .. } => Vec::new(),
        Cause::HeldByTracer(tracer) => {
            let mut cures = release(tracer);
            cures.push(Cure::TakeFrom(tracer.clone(), pid));
            cures
        }
        Cause::ParentStopped => vec![Cure::Continue(parent.who.clone())],
        Cause::ParentTraced(tracer) => tracer.as_ref().map(release).unwrap_or_default(),
        Cause::ParentBlocked => vec![Cure::Look(pid), last],
        Cause::IgnoredTooLate | Cause::NeverWaits | Cause::WaitsForAnother(_) | Cause::Blocked => {
            vec![Cure::Inject(pid), last]
        }
        Cause::BlockedAndPending => vec![Cure::Inject(pid), last],
        Cause::HandlerDoesNotWait | Cause::InitBuriesLate | Cause::Hidden => {
            vec![Cure::Tell(pid), Cure::Inject(pid), last]
        }
    }
}

fn release(tracer: &Party) -> Vec<Cure> {
    let stopped = tracer.state == ProcState::Stopped;
    vec![if stopped { Cure::Continue(tracer.clone()) } else { Cure::LetTracerGoOn(tracer.clone()) }]
}

/// How a number was come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Looked at twice.
    Measured,
    /// From the births of the zombies that are there: none of them can have come before its birth.
    Births,
}

/// How fast they become more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// So many an hour.
    pub per_hour: f64,
    /// Over this time.
    pub over: Duration,
    /// How we know.
    pub how: How,
}

/// Births tell how fast zombies become more only over a time such as this: a few that were made at once are thousands an hour otherwise.
const SENSIBLE: Duration = Duration::from_secs(60);

/// How fast those became more that are there: of the births of two and more. `None` for fewer, and within the first minute.
///
/// ```
/// use core::time::Duration;
/// use doula_core::diagnosis::zombie::growth;
/// let ages = [3600, 1800, 900].map(Duration::from_secs);
/// assert_eq!(growth(&ages).map(|growth| growth.per_hour), Some(3.0));
/// assert_eq!(growth(&[Duration::from_secs(1); 3]), None, "it is too early to tell");
/// ```
pub fn growth(ages: &[Duration]) -> Option<Growth> {
    let over = *ages.iter().max()?;
    rate(ages.len(), over).filter(|_| ages.len() > 1 && over >= SENSIBLE).map(|per_hour| Growth {
        per_hour,
        over,
        how: How::Births,
    })
}

/// How fast they became more between two looks.
pub fn measured(before: usize, after: usize, over: Duration) -> Option<Growth> {
    let per_hour = rate(after.saturating_sub(before), over)?;
    Some(Growth { per_hour, over, how: How::Measured })
}

fn rate(count: usize, over: Duration) -> Option<f64> {
    const HOUR: f64 = 3600.0;
    let hours = over.as_secs_f64() / HOUR;
    (hours > 0.0).then(|| count as f64 / hours)
}

/// Something that numbers of processes are taken from, and that can be used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// `pid_max`, `pids.max of /a/b`.
    pub name: String,
    /// So many are used.
    pub used: u64,
    /// So many there are.
    pub most: u64,
}

/// The room that is full first at this growth, and the hours until then.
///
/// ```
/// use doula_core::diagnosis::zombie::{Growth, How, Room, full_in};
/// let growth = Growth { per_hour: 100.0, over: core::time::Duration::from_secs(60), how: How::Measured };
/// let room = |name: &str, most| Room { name: name.to_owned(), used: 100, most };
/// let rooms = [room("pid_max", 32768), room("pids.max of /web", 500)];
/// assert_eq!(full_in(&growth, &rooms).map(|(hours, room)| (hours, room.most)), Some((4.0, 500)));
/// ```
pub fn full_in<'a>(growth: &Growth, rooms: &'a [Room]) -> Option<(f64, &'a Room)> {
    if growth.per_hour <= 0.0 {
        return None;
    }
    let hours = |room: &Room| room.most.saturating_sub(room.used) as f64 / growth.per_hour;
    let all = rooms.iter().map(|room| (hours(room), room));
    all.min_by(|(one, _), (other, _)| one.total_cmp(other))
}

/// Zombies of one parent that stay for one cause.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Whose children they were.
    pub parent: Parent,
    /// Why they stay.
    pub cause: Cause,
    /// Who they were, in the order of their births.
    pub zombies: Vec<Zombie>,
    /// How fast they become more, if that can be told.
    pub growth: Option<Growth>,
    /// What is full first at that growth, and in how many hours.
    pub full: Option<(f64, Room)>,
    /// What helps, the least harmful first.
    pub cures: Vec<Cure>,
}

impl Finding {
    /// Nothing is told of their growth, because the first of them was born only so long ago.
    pub fn too_early(&self) -> Option<Duration> {
        let first = self.zombies.first()?.age;
        (self.growth.is_none() && self.zombies.len() > 1).then_some(first)
    }
}

/// What is to be said about the zombies of one parent: one finding for each cause. `before` is how many there were at an
/// earlier look, and how long ago that was.
pub fn findings(
    parent: &Parent,
    mut zombies: Vec<Zombie>,
    rooms: &[Room],
    before: Option<(usize, Duration)>,
) -> Vec<Finding> {
    zombies.sort_by_key(|zombie| zombie.who.start_ticks);
    let count = zombies.len();
    let mut by_cause: Vec<(Cause, Vec<Zombie>)> = Vec::new();
    for zombie in zombies {
        let cause = cause(parent, &zombie);
        match by_cause.iter_mut().find(|(known, _)| *known == cause) {
            Some((_, alike)) => alike.push(zombie),
            None => by_cause.push((cause, vec![zombie])),
        }
    }
    let tell = |(cause, zombies): (Cause, Vec<Zombie>)| {
        let ages: Vec<Duration> = zombies.iter().map(|zombie| zombie.age).collect();
        let growth = match before {
            Some((before, over)) => measured(before, count, over),
            None => growth(&ages),
        };
        let full =
            growth.and_then(|growth| full_in(&growth, rooms).map(|(hours, room)| (hours, room.clone())));
        let mut cures = cures(&cause, parent);
        if let (Cause::LeaderDead { .. }, Some(zombie)) = (&cause, zombies.first()) {
            cures.push(Cure::End(zombie.who.pid));
        }
        Finding { parent: parent.clone(), cause, zombies, growth, full, cures }
    };
    by_cause.into_iter().map(tell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;

    fn pid(number: i32) -> Pid {
        Pid::new(number).expect("a number")
    }

    fn party(number: i32, state: ProcState) -> Party {
        Party { pid: pid(number), name: b"name".to_vec(), state }
    }

    fn parent(chld: Chld) -> Parent {
        Parent {
            who: party(7, ProcState::Sleeping),
            is_init: false,
            chld: Some(chld),
            threads: vec![ProcState::Sleeping],
            tracer: None,
            awaits: None,
        }
    }

    fn zombie(number: i32, seconds: u64) -> Zombie {
        Zombie {
            who: Identity { pid: pid(number), start_ticks: number as u64 },
            name: b"dead".to_vec(),
            end: None,
            age: Duration::from_secs(seconds),
            living: 0,
            tracer: None,
        }
    }

    #[test]
    fn the_cause_of_a_zombie_is_what_its_parent_does_about_sigchld() {
        let chld = |ignored, caught, blocked, pending| Chld { ignored, caught, blocked, pending };
        for (chld, is_init, expected) in [
            (chld(false, false, false, false), false, Cause::NeverWaits),
            (chld(false, true, false, false), false, Cause::HandlerDoesNotWait),
            (chld(false, false, true, false), false, Cause::Blocked),
            (chld(false, true, true, false), false, Cause::Blocked),
            (chld(false, false, true, true), false, Cause::BlockedAndPending),
            (chld(false, true, true, true), false, Cause::BlockedAndPending),
            (chld(true, false, false, false), false, Cause::IgnoredTooLate),
            (chld(false, true, false, false), true, Cause::InitBuriesLate),
            (chld(false, false, true, true), true, Cause::BlockedAndPending),
        ] {
            let parent = Parent { is_init, ..parent(chld) };
            assert_eq!(cause(&parent, &zombie(8, 1)), expected, "{chld:?}");
            assert!(!cures(&expected, &parent).is_empty(), "{expected:?}");
        }
    }

    #[test]
    fn who_stands_between_or_cannot_run_is_named_before_what_it_would_do() {
        let held = Zombie { tracer: Some(party(9, ProcState::Stopped)), ..zombie(8, 1) };
        let usual = parent(Chld::default());
        assert_eq!(cause(&usual, &held), Cause::HeldByTracer(party(9, ProcState::Stopped)));
        let stopped = party(9, ProcState::Stopped);
        let expected = [Cure::Continue(stopped.clone()), Cure::TakeFrom(stopped, pid(7))];
        assert_eq!(cures(&cause(&usual, &held), &usual), expected);
        let headless = Zombie { living: 2, ..held };
        assert_eq!(cause(&usual, &headless), Cause::LeaderDead { living: 2 });
        for (threads, expected) in [
            (vec![ProcState::Stopped, ProcState::Stopped], Cause::ParentStopped),
            (vec![ProcState::Traced], Cause::ParentTraced(None)),
            (vec![ProcState::Blocked], Cause::ParentBlocked),
            // One thread that can run could wait for all.
            (vec![ProcState::Blocked, ProcState::Sleeping], Cause::NeverWaits),
            (Vec::new(), Cause::NeverWaits),
        ] {
            let parent = Parent { threads, ..parent(Chld::default()) };
            assert_eq!(cause(&parent, &zombie(8, 1)), expected);
        }
        let waits = Parent { awaits: Some(pid(5)), ..parent(Chld::default()) };
        assert_eq!(cause(&waits, &zombie(8, 1)), Cause::WaitsForAnother(pid(5)));
        assert_eq!(cause(&waits, &zombie(5, 1)), Cause::NeverWaits);
        let hidden = Parent { chld: None, ..parent(Chld::default()) };
        assert_eq!(cause(&hidden, &zombie(8, 1)), Cause::Hidden);
    }

    #[test]
    fn zombies_are_told_by_cause_with_their_growth_and_what_is_full_first() {
        let rooms = [Room { name: "pid_max".to_string(), used: 100, most: 200 }];
        let zombies = vec![zombie(9, 1800), zombie(8, 3600), Zombie { living: 1, ..zombie(10, 60) }];
        let found = findings(&parent(Chld::default()), zombies, &rooms, None);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].zombies.iter().map(|zombie| zombie.who.pid.get()).collect::<Vec<_>>(), [8, 9]);
        assert_eq!(found[0].growth.map(|growth| (growth.per_hour, growth.how)), Some((2.0, How::Births)));
        assert_eq!(found[0].full.as_ref().map(|(hours, _)| *hours), Some(50.0));
        assert_eq!((found[1].growth, &found[1].full), (None, &None), "of one zombie nothing follows");
        assert_eq!((found[0].too_early(), found[1].too_early()), (None, None));
        assert_eq!(found[1].cures, [Cure::End(pid(10))]);
    }

    #[test]
    fn within_a_minute_nothing_is_said_of_growth_but_that_it_is_too_early() {
        let rooms = [Room { name: "pid_max".to_string(), used: 100, most: 200 }];
        let found =
            |first| findings(&parent(Chld::default()), vec![zombie(8, first), zombie(9, 1)], &rooms, None);
        let early = &found(59)[0];
        assert_eq!(
            (early.growth, &early.full, early.too_early()),
            (None, &None, Some(Duration::from_secs(59)))
        );
        let later = &found(60)[0];
        assert_eq!((later.growth.map(|growth| growth.per_hour), later.too_early()), (Some(120.0), None));
    }

    #[test]
    fn between_two_looks_growth_is_what_was_seen() {
        let over = Duration::from_secs(36);
        let found =
            findings(&parent(Chld::default()), vec![zombie(8, 1), zombie(9, 1)], &[], Some((1, over)));
        let growth = found[0].growth.expect("two looks");
        assert_eq!((growth.how, growth.over), (How::Measured, over));
        assert!((growth.per_hour - 100.0).abs() < 1e-9);
        assert_eq!(measured(3, 3, over).map(|growth| growth.per_hour), Some(0.0));
        assert_eq!(measured(3, 4, Duration::ZERO), None);
    }
}
