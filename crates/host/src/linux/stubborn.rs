//! Who was sent SIGKILL and does not end: a process that sleeps in the kernel (state D) takes no signal before it
//! wakes up, and nobody can do anything but wait, and say so.
//!
//! They are looked at some seconds after SIGKILL, then at growing pauses, so that a disk that never comes back does
//! not cost a wake-up a second for ever.

use super::trees::Life;
use crate::sweep;
use doula_model::action::Unkillable;
use doula_model::id::Pid;
use doula_model::time::Time;
use std::collections::BTreeMap;
use std::time::Duration;

/// Whoever can end has ended by then.
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// The longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);
/// So many processes of a service are looked at: who of them sleeps is told, not the whole list.
const LOOKED_AT: usize = 256;

/// See the head of this file.
#[derive(Default)]
pub(super) struct Stubborn {
    lives: BTreeMap<Life, (Time, Duration)>,
    next: Option<Time>,
}

impl Stubborn {
    /// A life was sent SIGKILL.
    pub(super) fn killed(&mut self, life: Life, now: Time) {
        let at = now.after(FIRST_LOOK);
        self.lives.entry(life).or_insert((at, FIRST_LOOK));
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// Nothing is left of it.
    pub(super) fn gone(&mut self, life: Life) {
        self.lives.remove(&life);
        if self.lives.is_empty() {
            self.next = None;
        }
    }

    /// Whether a life was sent SIGKILL and is not gone.
    pub(super) fn has(&self, life: Life) -> bool {
        self.lives.contains_key(&life)
    }

    /// When [`Stubborn::due`] has something to say.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.next
    }

    /// Whom to look at now.
    pub(super) fn due(&mut self, now: Time) -> Vec<Life> {
        if self.next.is_none_or(|next| now < next) {
            return Vec::new();
        }
        let mut due = Vec::new();
        for (life, (at, pause)) in &mut self.lives {
            if *at <= now {
                due.push(*life);
                *pause = (*pause * 2).min(LONGEST_PAUSE);
                *at = now.after(*pause);
            }
        }
        self.next = self.lives.values().map(|(at, _)| *at).min();
        due
    }
}

/// Those of these processes that sleep in the kernel; `None` if none does.
pub(super) fn asleep(members: &[Pid]) -> Option<Unkillable> {
    let mut asleep = members
        .iter()
        .take(LOOKED_AT)
        .filter(|pid| sweep::stat(**pid).is_some_and(|stat| stat.state == b'D'));
    let pid = *asleep.next()?;
    let count = u32::try_from(1 + asleep.count()).unwrap_or(u32::MAX);
    Some(Unkillable { pid, count, function: function(pid) })
}

/// Where it sleeps (proc_pid_wchan(5)); hidden from some users and by some kernels.
fn function(pid: Pid) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/wchan")).ok()?;
    (!text.is_empty() && text != "0").then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use doula_model::id::{Generation, ServiceId};

    #[test]
    fn who_does_not_end_is_looked_at_with_growing_pauses_until_it_is_gone() {
        let mut stubborn = Stubborn::default();
        let life = (ServiceId(1), Generation(1));
        let at = |seconds| Time::ZERO.after(Duration::from_secs(seconds));
        stubborn.killed(life, at(0));
        stubborn.killed(life, at(3));
        assert_eq!(stubborn.deadline(), Some(at(5)));
        assert_eq!(stubborn.due(at(4)), []);
        assert_eq!(stubborn.due(at(5)), [life]);
        assert_eq!((stubborn.due(at(14)), stubborn.deadline()), (vec![], Some(at(15))));
        let mut now = at(15);
        for _ in 0..20 {
            assert_eq!(stubborn.due(now), [life]);
            now = stubborn.deadline().expect("it is still there");
        }
        assert_eq!(stubborn.due(now), [life]);
        assert_eq!(stubborn.deadline(), Some(now.after(LONGEST_PAUSE)));
        stubborn.gone(life);
        assert_eq!((stubborn.deadline(), stubborn.has(life)), (None, false));
    }

    #[test]
    fn who_is_awake_is_not_told_to_sleep() {
        assert_eq!(asleep(&[doula_sys::group::pid()]), None);
        assert_eq!(asleep(&[]), None);
    }
}
