//! Whose is a dead child? What can be known, as a function of what was seen.

use super::{Evidence, Parent, Unknown};
use crate::sweep::Stat;
use doula_model::id::Pid;
use doula_model::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// A number and a start time: what a process is.
type Identity = (Pid, u64);

/// What was seen of our descendants until now.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The sessions that we were in: our own births began in one of them.
    pub(super) sessions: BTreeSet<i32>,
    /// Those who had another parent when they were first seen.
    elsewhere: BTreeMap<Identity, Parent>,
    /// Dead children of whom nothing is known, and since when.
    unknown: BTreeMap<Identity, Time>,
}

/// What is to be done with a dead child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was adopted.
    Bury(Evidence, Option<Parent>),
    /// Somebody may wait for it.
    Leave,
    /// Perhaps, from then on.
    Later(Time),
}

impl Seen {
    /// Remembers who has another parent than us now, and forgets who is gone. `name` is asked for parents that are new.
    pub(super) fn look(&mut self, us: Pid, all: &BTreeMap<Pid, Stat>, name: impl Fn(Pid) -> String) {
        let is = |(pid, start): &Identity| all.get(pid).is_some_and(|stat| stat.start == *start);
        self.elsewhere.retain(|identity, _| is(identity));
        self.unknown.retain(|identity, _| is(identity));
        for (&pid, stat) in all {
            let theirs = stat.parent != us && descends(stat.parent, us, all);
            if theirs && !self.elsewhere.contains_key(&(pid, stat.start)) {
                let parent = Parent { pid: stat.parent, name: name(stat.parent) };
                self.elsewhere.insert((pid, stat.start), parent);
            }
        }
    }

    /// What is to be done with a dead child of ours that nobody is known to wait for.
    pub(super) fn judge(&mut self, pid: Pid, stat: &Stat, policy: Unknown, now: Time) -> Verdict {
        if let Some(parent) = self.elsewhere.get(&(pid, stat.start)) {
            return Verdict::Bury(Evidence::Elsewhere, Some(parent.clone()));
        }
        // Nobody can join a session: a child is in that of its parent at its birth, or in one that it made itself.
        if stat.session != pid.get() && !self.sessions.contains(&stat.session) {
            return Verdict::Bury(Evidence::Session, None);
        }
        let since = *self.unknown.entry((pid, stat.start)).or_insert(now);
        match policy {
            Unknown::Leave => Verdict::Leave,
            Unknown::Bury => Verdict::Bury(Evidence::Unclaimed, None),
            Unknown::After(grace) if now >= since.after(grace) => Verdict::Bury(Evidence::Unclaimed, None),
            Unknown::After(grace) => Verdict::Later(since.after(grace)),
        }
    }
}

/// Whether this process is an ancestor, in one look at all processes.
fn descends(mut pid: Pid, ancestor: Pid, all: &BTreeMap<Pid, Stat>) -> bool {
    // A look is not one moment: parents may seem to go round in a circle.
    for _ in 0..=all.len() {
        match all.get(&pid) {
            _ if pid == ancestor => return true,
            Some(stat) if stat.parent != pid => pid = stat.parent,
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn pid(number: i32) -> Pid {
        Pid::new(number).expect("a number")
    }

    fn stat(parent: i32, session: i32, start: u64) -> Stat {
        Stat {
            state: b'Z',
            parent: pid(parent),
            session,
            threads: 1,
            start,
            ticks: 0,
            flags: 0,
            environment: (0, 0),
        }
    }

    /// We are 10, in session 5.
    fn seen(all: &[(i32, Stat)]) -> Seen {
        let all = all.iter().map(|(number, stat)| (pid(*number), *stat)).collect();
        let mut seen = Seen { sessions: [5].into(), ..Seen::default() };
        seen.look(pid(10), &all, |pid| format!("name of {pid}"));
        seen
    }

    const AT: Time = Time::ZERO;

    #[test]
    fn who_had_another_parent_is_adopted_and_one_with_its_number_later_is_not() {
        let mut seen = seen(&[(10, stat(1, 5, 1)), (20, stat(10, 5, 2)), (30, stat(20, 5, 3))]);
        let parent = Parent { pid: pid(20), name: "name of 20".into() };
        let adopted = seen.judge(pid(30), &stat(10, 5, 3), Unknown::Leave, AT);
        assert_eq!(adopted, Verdict::Bury(Evidence::Elsewhere, Some(parent)));
        assert_eq!(
            seen.judge(pid(30), &stat(10, 5, 4), Unknown::Leave, AT),
            Verdict::Leave,
            "its number again"
        );
        assert_eq!(
            seen.judge(pid(20), &stat(10, 5, 2), Unknown::Leave, AT),
            Verdict::Leave,
            "ours from birth"
        );
    }

    #[test]
    fn who_is_in_a_session_of_others_was_not_born_by_us() {
        let mut seen = seen(&[]);
        let mut judge = |session| seen.judge(pid(30), &stat(10, session, 3), Unknown::Leave, AT);
        assert_eq!(judge(20), Verdict::Bury(Evidence::Session, None));
        assert_eq!(judge(5), Verdict::Leave, "ours");
        assert_eq!(judge(30), Verdict::Leave, "its own: a child of ours may have made it");
        assert_eq!(judge(0), Verdict::Bury(Evidence::Session, None), "from outside of our namespace");
    }

    #[test]
    fn strangers_are_no_descendants_whatever_circle_their_parents_make() {
        let seen =
            seen(&[(10, stat(1, 5, 1)), (40, stat(41, 4, 2)), (41, stat(40, 4, 3)), (42, stat(40, 4, 3))]);
        assert!(seen.elsewhere.is_empty());
    }

    #[test]
    fn of_whom_nothing_is_known_the_policy_says_what_becomes() {
        let mut seen = seen(&[]);
        let grace = Unknown::After(Duration::from_secs(2));
        let (dead, second) = (stat(10, 5, 3), Duration::from_secs(1));
        assert_eq!(seen.judge(pid(30), &dead, Unknown::Leave, AT), Verdict::Leave);
        assert_eq!(seen.judge(pid(30), &dead, grace, AT.after(second)), Verdict::Later(AT.after(2 * second)));
        let unclaimed = Verdict::Bury(Evidence::Unclaimed, None);
        assert_eq!(seen.judge(pid(30), &dead, grace, AT.after(2 * second)), unclaimed);
        assert_eq!(seen.judge(pid(31), &dead, Unknown::Bury, AT), unclaimed);
    }
}
