//! The policies of Apache and of php-fpm: a number of idle workers is kept, by a look each second.
//!
//! Both start 1, then 2, 4 … up to 32 while too few are idle, and drain one each second while too many are. They differ in
//! two points: Apache counts who starts as idle, and starts the whole row though fewer are missing; php-fpm never starts
//! more than are missing.

use super::{Bounds, Move, Reason, SECOND, Seen, Spare, Victim};

/// The most that are started by one look (`MAX_SPAWN_RATE`, `FPM_MAX_SPAWN_RATE`).
const MOST: u32 = 32;

/// `perform_idle_server_maintenance` of Apache's prefork MPM.
#[derive(Clone, Debug)]
pub(super) struct Apache {
    spare: Spare,
    rate: u32,
}

impl Apache {
    /// As Apache does, at least one more may be idle than must be.
    pub(super) fn new(spare: Spare) -> Apache {
        let max = spare.max.max(spare.min.saturating_add(1));
        Apache { spare: Spare { max, ..spare }, rate: 1 }
    }

    pub(super) fn look(&mut self, bounds: Bounds, seen: &Seen) -> Move {
        let idle = seen.idle() + seen.starting;
        if idle > self.spare.max {
            self.rate = 1;
            return Move::drain(1, Victim::AnyIdle, Some(SECOND));
        }
        if idle >= self.spare.min {
            self.rate = 1;
            return Move::none(Reason::Steady, Some(SECOND));
        }
        let count = self.rate.min(seen.room(bounds));
        grow(&mut self.rate, count)
    }
}

/// `fpm_pctl_perform_idle_server_maintenance` for `pm = dynamic`.
#[derive(Clone, Debug)]
pub(super) struct Dynamic {
    spare: Spare,
    rate: u32,
}

impl Dynamic {
    pub(super) fn new(spare: Spare) -> Dynamic {
        Dynamic { spare, rate: 1 }
    }

    pub(super) fn look(&mut self, bounds: Bounds, seen: &Seen) -> Move {
        let idle = seen.idle();
        if idle > self.spare.max {
            self.rate = 1;
            return Move::drain(1, Victim::OldestIdle, Some(SECOND));
        }
        if idle >= self.spare.min {
            self.rate = 1;
            return Move::none(Reason::Steady, Some(SECOND));
        }
        let count = self.rate.min(self.spare.min - idle).min(seen.room(bounds));
        grow(&mut self.rate, count)
    }
}

/// Starts so many, and twice as many the next time; at the maximum the row begins anew.
fn grow(rate: &mut u32, count: u32) -> Move {
    if count == 0 {
        *rate = 1;
        return Move::none(Reason::AtMaximum, Some(SECOND));
    }
    *rate = (*rate * 2).min(MOST);
    Move::start(count, Reason::FewIdle, Some(SECOND))
}
