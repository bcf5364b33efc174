//! The very end of a family: whoever still descends from us belongs to nobody.

use super::{Stat, handle, numbers, stat};
use crate::child::pause;
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sys::fd::OwnedFd;
use doula_sys::wait::{self, For, Who};
use doula_sys::{pidfd, poll};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What became of those who belonged to nobody.
///
/// ```
/// use doula_host::sweep::Strangers;
/// let strangers = Strangers { ended: 2, left: Vec::new() };
/// assert!(strangers.left.is_empty(), "all {} of them are gone", strangers.ended);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strangers {
    /// So many were killed and buried.
    pub ended: usize,
    /// These do not end: they sleep in the kernel, or we may not signal them.
    pub left: Vec<Pid>,
}

/// Whom we hold: number, start time, handle.
type Held = BTreeMap<Pid, (u64, OwnedFd)>;

/// The pause before another look when nobody lives whom a signal would reach.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Ends, at the very end of a family, whoever still descends from us: processes that belong to nobody because
/// they forked twice, made a session of their own and emptied their environment between two looks. All are
/// stopped first, so that none can fork any more, then killed; each as soon as he is seen, so that also those are met
/// who live for no longer than it takes to bear the next. Waits for them, for `patience` at the most.
/// Nobody else may wait for our children.
///
/// ```no_run
/// use doula_host::sweep::end_strangers;
/// use std::time::Duration;
/// // The last thing that a subreaper does: it has no child that it wants to keep.
/// let strangers = end_strangers(Duration::from_secs(5));
/// for pid in strangers.left {
///     eprintln!("{pid} does not end");
/// }
/// ```
pub fn end_strangers(patience: Duration) -> Strangers {
    let deadline = Instant::now() + patience;
    let (mut held, mut ended) = (Held::new(), 0);
    loop {
        let buried = bury_children();
        if has_no_child() {
            return Strangers { ended: ended + held.len(), left: Vec::new() };
        }
        let look = stop_new(&mut held);
        ended += look.gone;
        let rest = deadline.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return Strangers { ended, left: look.living };
        }
        if look.living.is_empty() {
            // Somebody is born and ends behind our back; or is dead and held by a tracer, and no event tells of the release.
            if !buried {
                pause(LOOK_AGAIN.min(rest));
            }
        } else if !look.news && !kill_and_wait(&held, rest) {
            return Strangers { ended, left: look.living };
        }
    }
}

/// Whether the kernel says that we have no child, dead or alive. Then nobody descends from us either, for every orphan
/// among our descendants becomes our child at once; and a look through `/proc` can be spared.
fn has_no_child() -> bool {
    matches!(wait::waitid(Who::Any, For::END.of_any_kind().peeking()), Err(Errno::ECHILD))
}

/// What one look through `/proc` saw of our descendants.
#[derive(Default)]
struct Look {
    living: Vec<Pid>,
    /// Some of them were not held before, and are stopped now.
    news: bool,
    /// So many of those who were held are gone.
    gone: usize,
}

/// Stops those who are not held yet, each as soon as he is seen: numbers are read as we go, so that who is born meanwhile is met.
fn stop_new(held: &mut Held) -> Look {
    let (mut look, mut line) = (Look::default(), Line::new());
    for pid in numbers().into_iter().flatten() {
        let Some(stat) = stat(pid).filter(|stat| !stat.dead() && line.descends(pid, stat)) else { continue };
        look.living.push(pid);
        if held.get(&pid).is_some_and(|(start, _)| *start == stat.start) {
            continue;
        }
        if let Ok(Some(stranger)) = handle(pid, stat.start) {
            look.news |= pidfd::send(&stranger, Signal::STOP).is_ok();
            look.gone += usize::from(held.insert(pid, (stat.start, stranger)).is_some());
        }
    }
    let before = held.len();
    held.retain(|pid, _| look.living.binary_search(pid).is_ok());
    look.gone += before - held.len();
    look
}

/// Whose descendant a process is, with what was found in one look.
struct Line {
    us: Pid,
    known: BTreeMap<Pid, bool>,
}

impl Line {
    fn new() -> Line {
        Line { us: doula_sys::group::pid(), known: BTreeMap::new() }
    }

    /// PID 1 has no parent, for which [`Stat`] says PID 1.
    fn descends(&mut self, pid: Pid, of: &Stat) -> bool {
        let (mut climbed, mut parent) = (vec![pid], of.parent);
        let ours = loop {
            if parent == self.us {
                break pid != self.us;
            }
            if let Some(known) = self.known.get(&parent) {
                break *known;
            }
            // Parents may change while we climb, so that we might go round in a circle.
            match stat(parent).filter(|_| parent != Pid::INIT && !climbed.contains(&parent)) {
                Some(above) => climbed.push(std::mem::replace(&mut parent, above.parent)),
                None => break false,
            }
        };
        self.known.extend(climbed.into_iter().map(|climbed| (climbed, ours)));
        ours
    }
}

/// Kills all of them and waits until one has ended; `false` if none can be killed, or none ends in time.
fn kill_and_wait(held: &Held, patience: Duration) -> bool {
    let killed: Vec<_> =
        held.values().filter(|(_, stranger)| pidfd::send(stranger, Signal::KILL).is_ok()).collect();
    // Interrupted: looked at again.
    killed.first().is_some_and(|(_, first)| poll::readable(first, Some(patience)) != Ok(false))
}

/// Whether there was any.
fn bury_children() -> bool {
    let mut buried = false;
    while let Ok(Some(_)) = wait::waitid(Who::Any, For::END) {
        buried = true;
    }
    buried
}
