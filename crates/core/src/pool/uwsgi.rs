//! The policy `spare` of uWSGI (`uwsgi_cheaper_algo_spare`): one idle worker is enough, and a few more are started after some
//! seconds in which there was none.

use super::{Bounds, Move, Reason, SECOND, Seen, Victim};

/// What it counts: looks, one each second.
#[derive(Clone, Debug)]
pub(super) struct Cheaper {
    step: u32,
    overload: u32,
    all_busy: u32,
    calm: u32,
}

impl Cheaper {
    /// As uWSGI's, a step or an overload of 0 means 1.
    pub(super) fn new(step: u32, overload: u32) -> Cheaper {
        Cheaper { step: step.max(1), overload: overload.max(1), all_busy: 0, calm: 0 }
    }

    /// A worker that starts has no request, so it is not busy. Those that should always be there are started at once.
    pub(super) fn look(&mut self, bounds: Bounds, seen: &Seen) -> Move {
        let missing = bounds.start.min(bounds.max).saturating_sub(seen.staying()).min(seen.room(bounds));
        if missing > 0 {
            return Move::start(missing, Reason::BelowStart, Some(SECOND));
        }
        let idle = seen.idle() + seen.starting;
        if idle > 0 {
            self.all_busy = self.all_busy.saturating_sub(1);
        } else {
            self.all_busy += 1;
            self.calm = 0;
        }
        if self.all_busy > self.overload {
            self.all_busy = 0;
            return match self.step.min(seen.room(bounds)) {
                0 => Move::none(Reason::AtMaximum, Some(SECOND)),
                count => Move::start(count, Reason::AllBusy, Some(SECOND)),
            };
        }
        if self.all_busy == 0 && idle != 1 {
            self.calm = self.calm.wrapping_add(1);
            if seen.staying() > bounds.start && self.calm.is_multiple_of(self.overload) {
                return Move::drain(1, Victim::Oldest, Some(SECOND));
            }
        }
        Move::none(Reason::Steady, Some(SECOND))
    }
}
