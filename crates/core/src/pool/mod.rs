//! How many workers a pool has: what is seen goes in, how many to start or to drain comes out.
//!
//! Each policy is a small machine with its own rhythm, so that those of known servers can be compared with ours on the same
//! load ([`Policy`] names them). Nothing here knows processes or sockets, and nobody is chosen by name: a [`Move`] says how
//! many, and of which kind ([`Victim`]). Drained means: takes no new connection, finishes what it has, and exits.

mod backlog;
mod spare;
mod uwsgi;

#[cfg(test)]
mod tests;

pub use backlog::Brakes;
pub use doula_model::pool::{Bounds, Policy, Reason, Spare};

use backlog::Backlog;
use core::time::Duration;
use doula_model::time::Time;
use spare::{Apache, Dynamic};
use uwsgi::Cheaper;

/// What is seen of a pool at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// When.
    pub now: Time,
    /// Workers that were started and are not ready yet.
    pub starting: u32,
    /// Workers that are ready.
    pub ready: u32,
    /// How many of the ready ones have work; one that cannot be proved idle has.
    pub busy: u32,
    /// Workers that are being drained and still live.
    pub draining: u32,
    /// Connections that nobody has accepted yet.
    pub queue: u32,
    /// For how long the one that is idle for longest has been idle.
    pub idle_for: Duration,
    /// What speaks against more workers.
    pub brakes: Brakes,
}

impl Seen {
    /// How many are ready and have nothing to do.
    pub fn idle(&self) -> u32 {
        self.ready.saturating_sub(self.busy)
    }

    /// How many there are, without those that leave.
    pub fn staying(&self) -> u32 {
        self.ready.saturating_add(self.starting)
    }

    /// How many may still be started.
    fn room(&self, bounds: Bounds) -> u32 {
        bounds.max.saturating_sub(self.staying().saturating_add(self.draining))
    }
}

/// Who leaves, when somebody has to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// Whoever is idle.
    AnyIdle,
    /// Of those that are idle, the one that was started first.
    OldestIdle,
    /// The one that was started first, idle or not.
    Oldest,
    /// The one that is idle for longest.
    LongestIdle,
}

/// What to do about a pool's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// So many more.
    pub start: u32,
    /// So many are drained, as far as there are any of that kind.
    pub drain: u32,
    /// Who they are.
    pub victim: Victim,
    /// Why.
    pub reason: Reason,
    /// When to look again by the clock; `None`: not before something happens.
    pub again: Option<Duration>,
}

impl Move {
    /// Nothing is changed.
    fn none(reason: Reason, again: Option<Duration>) -> Move {
        Move { start: 0, drain: 0, victim: Victim::AnyIdle, reason, again }
    }

    /// Some are started.
    fn start(count: u32, reason: Reason, again: Option<Duration>) -> Move {
        Move { start: count, ..Move::none(reason, again) }
    }

    /// Some are drained.
    fn drain(count: u32, victim: Victim, again: Option<Duration>) -> Move {
        Move { drain: count, victim, ..Move::none(Reason::ManyIdle, again) }
    }
}

/// The rhythm of the servers that look once a second.
const SECOND: Duration = Duration::from_secs(1);

/// A policy at work.
///
/// ```
/// use core::time::Duration;
/// use doula_core::pool::{Bounds, Policy, Seen, Sizer, Spare};
/// use doula_model::time::Time;
/// let mut sizer = Sizer::new(Policy::Apache(Spare { min: 5, max: 10 }), Bounds { start: 5, max: 100 });
/// let busy = Seen { ready: 5, busy: 5, ..Seen::default() };
/// assert_eq!(sizer.look(&busy).start, 1);
/// let later = Seen { ready: 6, busy: 6, now: Time::ZERO.after(Duration::from_secs(1)), ..Seen::default() };
/// assert_eq!(sizer.look(&later).start, 2);
/// ```
#[derive(Clone, Debug)]
pub struct Sizer {
    bounds: Bounds,
    rule: Rule,
    /// Before that, a policy that works by the clock changes nothing.
    due: Time,
}

/// What each policy remembers.
#[derive(Clone, Debug)]
enum Rule {
    Fixed,
    Backlog(Backlog),
    Apache(Apache),
    Dynamic(Dynamic),
    Ondemand(Duration),
    Cheaper(Cheaper),
}

impl Sizer {
    /// A pool that has nobody yet.
    pub fn new(policy: Policy, bounds: Bounds) -> Sizer {
        let rule = match policy {
            Policy::Fixed => Rule::Fixed,
            Policy::Backlog => Rule::Backlog(Backlog::default()),
            Policy::Apache(spare) => Rule::Apache(Apache::new(spare)),
            Policy::FpmDynamic(spare) => Rule::Dynamic(Dynamic::new(spare)),
            Policy::FpmOndemand { idle } => Rule::Ondemand(idle),
            Policy::UwsgiSpare { step, overload } => Rule::Cheaper(Cheaper::new(step, overload)),
        };
        Sizer { bounds, rule, due: Time::ZERO }
    }

    /// With how many a pool begins.
    pub fn start(&self) -> u32 {
        match self.rule {
            Rule::Fixed => self.bounds.max,
            Rule::Ondemand(_) => 0,
            Rule::Backlog(_) | Rule::Apache(_) | Rule::Dynamic(_) | Rule::Cheaper(_) => {
                self.bounds.start.min(self.bounds.max)
            }
        }
    }

    /// Whether a connection that arrives is a reason to look, besides the clock.
    pub fn hears_connections(&self) -> bool {
        matches!(self.rule, Rule::Backlog(_) | Rule::Ondemand(_))
    }

    /// Decides. To be asked when [`Move::again`] is over, when a worker ended, and, if it
    /// [hears them](Sizer::hears_connections), when connections arrive.
    ///
    /// Servers that look once a second do nothing for it in between: an end that brought the next look forward would drain a
    /// whole surplus in one second, and shift the second.
    pub fn look(&mut self, seen: &Seen) -> Move {
        let is_due = seen.now >= self.due;
        let left = self.due.since(seen.now);
        let next = match &mut self.rule {
            Rule::Fixed => return fixed(self.bounds, seen),
            Rule::Backlog(backlog) => return backlog.look(self.bounds, seen),
            Rule::Ondemand(idle) => {
                ondemand(self.bounds, *idle, seen, if is_due { Ok(SECOND) } else { Err(left) })
            }
            Rule::Apache(_) | Rule::Dynamic(_) | Rule::Cheaper(_) if !is_due => {
                return Move::none(Reason::Steady, Some(left));
            }
            Rule::Apache(apache) => apache.look(self.bounds, seen),
            Rule::Dynamic(dynamic) => dynamic.look(self.bounds, seen),
            Rule::Cheaper(cheaper) => cheaper.look(self.bounds, seen),
        };
        if is_due {
            self.due = seen.now.after(SECOND);
        }
        next
    }
}

fn fixed(bounds: Bounds, seen: &Seen) -> Move {
    match seen.room(bounds) {
        0 => Move::none(Reason::Steady, None),
        missing => Move::start(missing, Reason::BelowStart, None),
    }
}

/// One more when a connection meets nobody idle, at once. A worker that starts is not idle yet, so each further connection
/// starts another one. One that was idle for too long leaves when a second is over; `Err`: so much of it is left.
fn ondemand(bounds: Bounds, idle: Duration, seen: &Seen, second: Result<Duration, Duration>) -> Move {
    let next = second.unwrap_or_else(|left| left);
    let again = (seen.staying() > 0).then_some(next);
    if seen.queue > 0 && seen.idle() == 0 {
        return if seen.room(bounds) == 0 {
            Move::none(Reason::AtMaximum, again)
        } else {
            Move::start(1, Reason::Queue, again)
        };
    }
    if second.is_ok() && seen.idle() > 0 && seen.idle_for > idle {
        return Move::drain(1, Victim::LongestIdle, again);
    }
    Move::none(Reason::Steady, again)
}
