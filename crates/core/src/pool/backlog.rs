//! Our own policy: the accept queue says how many are missing, and no worker has to help.
//!
//! - It grows by what is missing, within milliseconds: connections that wait, less those workers that are about to take one
//!   (idle or starting). Two looks, five milliseconds apart, must both see them missing, for a queue is never quite empty
//!   while connections arrive.
//! - It does not grow against the machine: without memory, under pressure, or when those that start end at once.
//! - It shrinks slowly: a quarter more than the most that were busy at once in the last ten seconds stays, and of the
//!   others a tenth leaves each second, the one that is idle for longest first.
//! - It sleeps when nothing happens: with the number that it starts with, and an empty queue, there is no next look.

use super::{Bounds, Move, Reason, SECOND, Seen, Victim};
use core::time::Duration;
use doula_model::time::Time;

/// Between the two looks that must agree.
const PAUSE: Duration = Duration::from_millis(5);

/// So many seconds of the past count.
const WINDOW: usize = 10;

/// What speaks against more workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Brakes {
    /// For how many more there is memory, by what those that are there take; `None`: not known, or no limit.
    pub memory_for: Option<u32>,
    /// Whether work stands still for want of CPU or memory (pressure stall information) more than is allowed.
    pub pressure: bool,
    /// Whether those that start end at once.
    pub failing: bool,
}

/// What it remembers.
#[derive(Clone, Debug, Default)]
pub(super) struct Backlog {
    /// The last look at which some were missing, and how many.
    missing: Option<(Time, u32)>,
    /// The most that were busy at once, second by second; the first is the present one.
    busiest: [u32; WINDOW],
    /// When the present second began.
    second: Time,
}

impl Backlog {
    pub(super) fn look(&mut self, bounds: Bounds, seen: &Seen) -> Move {
        let turned = self.remember(seen);
        let floor = bounds.start.min(bounds.max);
        // Without room somebody has to end first, and an end is a reason to look.
        let count = floor.saturating_sub(seen.staying()).min(seen.room(bounds));
        if count > 0 && !seen.brakes.failing {
            return Move::start(count, Reason::BelowStart, Some(PAUSE));
        }
        let missing = seen.queue.saturating_sub(seen.starting.saturating_add(seen.idle()));
        if missing > 0 {
            return self.grow(bounds, seen, missing);
        }
        self.missing = None;
        self.shrink(floor, seen, turned)
    }

    /// Keeps the busiest moment of each second; whether a second is over.
    fn remember(&mut self, seen: &Seen) -> bool {
        let mut over = seen.now.since(self.second).as_secs();
        let turned = over > 0;
        if turned {
            self.second = self.second.after(Duration::from_secs(over));
        }
        while over > 0 {
            self.busiest.rotate_right(1);
            self.busiest[0] = 0;
            over = (over - 1).min(WINDOW as u64);
        }
        self.busiest[0] = self.busiest[0].max(seen.busy);
        turned
    }

    fn grow(&mut self, bounds: Bounds, seen: &Seen, missing: u32) -> Move {
        let Some((since, before)) = self.missing.filter(|(since, _)| seen.now.since(*since) < SECOND) else {
            self.missing = Some((seen.now, missing));
            return Move::none(Reason::Steady, Some(PAUSE));
        };
        let waited = seen.now.since(since);
        if waited < PAUSE {
            return Move::none(Reason::Steady, Some(PAUSE - waited));
        }
        self.missing = Some((seen.now, missing));
        match allowed(bounds, seen) {
            Ok(room) => Move::start(missing.min(before).min(room), Reason::Queue, Some(PAUSE)),
            Err(reason) => Move::none(reason, Some(SECOND / 10)),
        }
    }

    /// A look at the end of each second, while there are more than there should be or the past still counts.
    fn shrink(&self, floor: u32, seen: &Seen, turned: bool) -> Move {
        let busiest = self.busiest.iter().copied().max().unwrap_or(0);
        let keep = busiest.saturating_add(busiest.div_ceil(4)).max(floor);
        let surplus = seen.staying().saturating_sub(keep);
        let left = SECOND.saturating_sub(seen.now.since(self.second));
        let again = (seen.staying() > floor).then_some(left);
        if surplus == 0 || !turned {
            return Move::none(Reason::Steady, again);
        }
        let count = (seen.staying() / 10).max(1).min(surplus).min(seen.idle());
        if count == 0 {
            Move::none(Reason::Steady, again)
        } else {
            Move::drain(count, Victim::LongestIdle, again)
        }
    }
}

/// How many more there may be, or what forbids them.
fn allowed(bounds: Bounds, seen: &Seen) -> Result<u32, Reason> {
    let room = seen.room(bounds);
    let memory = seen.brakes.memory_for.unwrap_or(room);
    match () {
        () if seen.brakes.failing => Err(Reason::Failing),
        () if room == 0 => Err(Reason::AtMaximum),
        () if memory == 0 => Err(Reason::Memory),
        () if seen.brakes.pressure => Err(Reason::Pressure),
        () => Ok(room.min(memory)),
    }
}
