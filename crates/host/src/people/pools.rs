//! A pool as the control protocol shows it. What its workers do just now is looked at when somebody asks.

use super::{Clocks, Desk};
use doula_core::view::{Doing, WorkerView};
use doula_model::control::{PoolStatus, WorkerDoing, WorkerStatus};
use doula_model::id::{PoolId, ServiceId};
use doula_model::pool::{Board, Measure};
use doula_model::time::Time;

/// So many seconds of the past are shown.
const PAST: u64 = 60;

/// One pool as people see it.
pub(super) fn status(clocks: &Clocks, desk: &mut Desk<'_>, pool: PoolId) -> Option<PoolStatus> {
    let view = desk.engine.pool(pool)?;
    let workers: Vec<ServiceId> = view.workers.iter().map(|worker| worker.service).collect();
    let measure = desk.home.measure(&workers, true);
    let worker = |worker: &WorkerView| WorkerStatus {
        service: desk.name(worker.service),
        slot: worker.slot,
        doing: doing(worker, &measure),
        doing_for: doing_since(worker, doing(worker, &measure)).map(|since| clocks.now.since(since)),
        requests: board(worker, &measure)
            .map(|board| board.requests)
            .or((worker.speaks || worker.tasks > 0).then_some(worker.tasks)),
        pss: None,
    };
    Some(PoolStatus {
        name: view.spec.name.clone(),
        wanted: view.wanted,
        rolling: view.rolling,
        queue: measure.queue,
        past: past(&view.past, clocks.now),
        workers: view.workers.iter().map(worker).collect(),
        spec: view.spec,
    })
}

/// What a worker says of itself counts more than what is seen.
fn doing(worker: &WorkerView, measure: &Measure) -> WorkerDoing {
    let seen =
        measure.busy.iter().find(|(service, life, _)| (*service, *life) == (worker.service, worker.life));
    let idle = match board(worker, measure).and_then(|board| board.busy) {
        Some(busy) => !busy,
        None if worker.speaks => worker.idle_since.is_some(),
        None => seen.is_some_and(|(.., busy)| !busy),
    };
    match worker.doing {
        Doing::Starting => WorkerDoing::Starting,
        Doing::Serving if idle => WorkerDoing::Idle,
        Doing::Serving => WorkerDoing::Busy,
        Doing::Leaving => WorkerDoing::Leaving,
        Doing::Held => WorkerDoing::Held,
    }
}

/// Since when it serves as it does; what it does else is told with its state.
const fn doing_since(worker: &WorkerView, doing: WorkerDoing) -> Option<Time> {
    match doing {
        WorkerDoing::Idle => worker.idle_since,
        WorkerDoing::Busy => worker.busy_since,
        WorkerDoing::Starting | WorkerDoing::Leaving | WorkerDoing::Held => None,
    }
}

/// What it has written on its scoreboard.
fn board(worker: &WorkerView, measure: &Measure) -> Option<Board> {
    let mut boards = measure.boards.iter();
    boards.find(|(service, life, _)| (*service, *life) == (worker.service, worker.life)).map(|it| it.2)
}

/// One number for each second up to now.
fn past(looks: &[(Time, u32)], now: Time) -> Vec<u32> {
    let seconds = |at: Time| at.since(Time::ZERO).as_secs();
    let begin = (seconds(now) + 1).saturating_sub(PAST);
    let of = |second| looks.iter().find(|(at, _)| seconds(*at) == second).map_or(0, |(_, queue)| *queue);
    (begin..=seconds(now)).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_past_has_a_number_for_each_second_and_the_last_one_is_now() {
        let at = |seconds| Time::ZERO.after(Duration::from_secs(seconds));
        let shown = past(&[(at(1), 9), (at(99), 3), (at(100), 7)], at(100));
        assert_eq!((shown.len(), &shown[57..], shown[..57].iter().sum::<u32>()), (60, &[0, 3, 7][..], 0));
    }
}
