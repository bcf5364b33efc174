//! A load: who asks when, and for how long a handler works on it.

use alloc::vec::Vec;
use core::time::Duration;
use doula_core::random::Random;
use doula_model::time::Time;

/// What arrives at a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Load {
    /// One phase after the other.
    Described(Vec<Phase>, Handler),
    /// As it was: when each connection arrived, and how long its handler took. Sorted by time.
    Recorded(Vec<(Time, Duration)>),
}

/// A stretch of time with one kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    /// What comes.
    pub source: Source,
    /// For how long.
    pub lasts: Duration,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody.
    Quiet,
    /// So many clients, each of which asks again as soon as it has its answer (a closed loop, as `wrk` and `ab`).
    Clients(u32),
    /// So many connections a second on average, each independent of the others (an open loop, Poisson's).
    Rate(u32),
}

/// How long a handler works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handler {
    /// At least.
    pub least: Duration,
    /// At most; every time between the two is as likely.
    pub most: Duration,
}

impl Handler {
    /// The time of one connection.
    pub(super) fn draw(self, random: &mut Random) -> Duration {
        let span = self.most.saturating_sub(self.least).as_nanos();
        let span = u64::try_from(span).unwrap_or(u64::MAX);
        self.least + Duration::from_nanos(random.below(span.saturating_add(1)))
    }
}

/// A phase with its place in time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub(super) source: Source,
    pub(super) begins: Time,
    pub(super) ends: Time,
}

impl Load {
    /// The end of the last phase, or the last recorded arrival.
    pub fn ends(&self) -> Time {
        match self {
            Load::Described(phases, _) => {
                phases.iter().fold(Time::ZERO, |time, phase| time.after(phase.lasts))
            }
            Load::Recorded(rows) => rows.last().map_or(Time::ZERO, |(time, _)| *time),
        }
    }

    /// No more connections than this are ever open at once, if each is answered at once.
    pub fn at_once(&self) -> u32 {
        let most = |phase: &Phase, handler: &Handler| match phase.source {
            Source::Quiet => 0,
            Source::Clients(count) => u128::from(count),
            Source::Rate(rate) => {
                u128::from(rate) * phase.lasts.min(handler.most).as_millis().div_ceil(1_000) * 2 + 64
            }
        };
        let most = match self {
            Load::Described(phases, handler) => phases.iter().map(|phase| most(phase, handler)).sum(),
            Load::Recorded(rows) => rows.len() as u128,
        };
        u32::try_from(most).unwrap_or(u32::MAX)
    }

    pub(super) fn placed(&self) -> Vec<Placed> {
        let Load::Described(phases, _) = self else { return Vec::new() };
        let mut begins = Time::ZERO;
        let place = |phase: &Phase| {
            let placed = Placed { source: phase.source, begins, ends: begins.after(phase.lasts) };
            begins = placed.ends;
            placed
        };
        phases.iter().map(place).collect()
    }

    /// Every arrival that does not depend on answers, and the first ones of clients.
    pub(super) fn arrivals(&self, random: &mut Random) -> Vec<Arrival> {
        let Load::Described(_, handler) = self else { return self.recorded() };
        let mut all = Vec::new();
        for placed in self.placed() {
            match placed.source {
                Source::Quiet => {}
                Source::Clients(count) => {
                    let first = |_| Arrival {
                        time: placed.begins,
                        work: handler.draw(random),
                        until: Some(placed.ends),
                    };
                    all.extend((0..count).map(first));
                }
                Source::Rate(rate) => poisson(placed, rate, *handler, random, &mut all),
            }
        }
        all
    }

    fn recorded(&self) -> Vec<Arrival> {
        let Load::Recorded(rows) = self else { return Vec::new() };
        rows.iter().map(|(time, work)| Arrival { time: *time, work: *work, until: None }).collect()
    }
}

/// A connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// When it was made.
    pub(super) time: Time,
    /// How long its handler works.
    pub(super) work: Duration,
    /// It is a client's, which asks again after its answer, until then.
    pub(super) until: Option<Time>,
}

/// Independent arrivals: in each of many short slices one comes with the same small chance, so that no logarithm is needed.
fn poisson(placed: Placed, rate: u32, handler: Handler, random: &mut Random, all: &mut Vec<Arrival>) {
    const SLICES_BETWEEN_TWO: u64 = 64;
    if rate == 0 {
        return;
    }
    let slice = Duration::from_nanos((1_000_000_000 / (u64::from(rate) * SLICES_BETWEEN_TWO)).max(1));
    let mut time = placed.begins;
    while time < placed.ends {
        if random.below(SLICES_BETWEEN_TWO) == 0 {
            all.push(Arrival { time, work: handler.draw(random), until: None });
        }
        time = time.after(slice);
    }
}
