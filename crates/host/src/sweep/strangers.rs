//! The very end of a family: whoever still descends from us belongs to nobody.

use super::{all, handle};
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sys::fd::OwnedFd;
use doula_sys::wait::{self, For, Who};
use doula_sys::{pidfd, poll};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What became of those who belonged to nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strangers {
    /// So many were killed and buried.
    pub ended: usize,
    /// These do not end: they sleep in the kernel, or we may not signal them.
    pub left: Vec<Pid>,
}

/// Whom we hold: number, start time, handle.
type Held = BTreeMap<Pid, (u64, OwnedFd)>;

/// Ends, at the very end of a family, whoever still descends from us: processes that belong to nobody because
/// they forked twice, made a session of their own and emptied their environment between two looks. All are
/// stopped first, so that none can fork any more, then killed. Waits for them, for `patience` at the most.
/// Nobody else may wait for our children.
pub fn end_strangers(patience: Duration) -> Strangers {
    let deadline = Instant::now() + patience;
    let (mut held, mut ended) = (Held::new(), 0);
    loop {
        bury_children();
        if has_no_child() {
            return Strangers { ended: ended + held.len(), left: Vec::new() };
        }
        let living = living();
        let before = held.len();
        held.retain(|pid, (start, _)| living.get(pid) == Some(start));
        ended += before - held.len();
        let rest = deadline.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return Strangers { ended, left: living.into_keys().collect() };
        }
        if living.is_empty() {
            // Somebody was born and ended behind our back, or is dead and held by a tracer.
            std::thread::yield_now();
        } else if !stop_new(&living, &mut held) && !kill_and_wait(&held, rest) {
            return Strangers { ended, left: living.into_keys().collect() };
        }
    }
}

/// Whether the kernel says that we have no child, dead or alive. Then nobody descends from us either, for every orphan
/// among our descendants becomes our child at once; and a look through `/proc` can be spared.
fn has_no_child() -> bool {
    matches!(wait::waitid(Who::Any, For::END.of_any_kind().peeking()), Err(Errno::ECHILD))
}

/// Our descendants that are not dead, with their start times.
fn living() -> BTreeMap<Pid, u64> {
    let all = all();
    let us = doula_sys::group::pid();
    let ours = |pid: Pid| {
        let mut parent = all.get(&pid).map(|stat| stat.parent);
        // As many steps as there are processes: parents may change while we climb.
        for _ in 0..all.len() {
            match parent {
                Some(found) if found == us => return true,
                Some(found) => parent = all.get(&found).map(|stat| stat.parent),
                None => return false,
            }
        }
        false
    };
    // PID 1 has no parent, for which [`super::Stat`] says PID 1.
    let found = all.iter().filter(|(pid, stat)| **pid != us && !stat.dead() && ours(**pid));
    found.map(|(pid, stat)| (*pid, stat.start)).collect()
}

/// Stops those who are not held yet; whether there were any.
fn stop_new(living: &BTreeMap<Pid, u64>, held: &mut Held) -> bool {
    let mut news = false;
    for (pid, start) in living {
        if held.contains_key(pid) {
            continue;
        }
        if let Ok(Some(stranger)) = handle(*pid, *start) {
            news |= pidfd::send(&stranger, Signal::STOP).is_ok();
            held.insert(*pid, (*start, stranger));
        }
    }
    news
}

/// Kills all of them and waits until one has ended; `false` if none can be killed, or none ends in time.
fn kill_and_wait(held: &Held, patience: Duration) -> bool {
    let killed: Vec<_> =
        held.values().filter(|(_, stranger)| pidfd::send(stranger, Signal::KILL).is_ok()).collect();
    killed.first().is_some_and(|(_, first)| poll::readable(first, Some(patience)).unwrap_or(false))
}

fn bury_children() {
    while let Ok(Some(_)) = wait::waitid(Who::Any, For::END) {}
}
