//! Requests that are answered when services have come as far as was asked.

use super::views;
use crate::control::ClientId;
use doula_core::engine::Engine;
use doula_core::view::{Doing, Rolling, ServiceView};
use doula_model::control::{Goal, Reply, RequestId, Verdict};
use doula_model::id::ServiceId;
use doula_model::time::Time;
use serde::{Deserialize, Serialize};

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Until {
    /// A start was asked for: ready, or not started.
    Started,
    /// A reload was asked for: done, or failed.
    Reloaded,
    /// This far.
    Goal(Goal),
    /// Nothing: the answer is due at once, as it is now.
    Now,
}

/// A client that waits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Waiter {
    pub(super) client: ClientId,
    pub(super) request: RequestId,
    pub(super) ids: Vec<ServiceId>,
    pub(super) until: Until,
    pub(super) deadline: Option<Time>,
}

impl Waiter {
    /// The answer, if it is due.
    pub(super) fn answer(&self, engine: &Engine, now: Time) -> Option<Reply> {
        let verdicts: Vec<_> = self.ids.iter().map(|id| (*id, self.verdict(engine, *id))).collect();
        let pending = verdicts.iter().any(|(_, verdict)| *verdict == Verdict::Pending);
        let timed_out = pending && self.deadline.is_some_and(|deadline| deadline <= now);
        if pending && !timed_out && self.until != Until::Now {
            return None;
        }
        // A worker that its pool does not need is nothing to tell of, if others are.
        let told = |id: &ServiceId| self.ids.len() == 1 || views::is_worth_a_row(engine, *id, &[]);
        let settled = verdicts
            .iter()
            .filter(|(id, _)| told(id))
            .filter_map(|(id, verdict)| views::settled(engine, *id, *verdict));
        Some(Reply::Settled { services: settled.collect(), timed_out })
    }

    /// A worker that its pool does not need has come as far as it is to; and whoever is to serve has not before all that are
    /// to be replaced are.
    fn verdict_of_worker(&self, engine: &Engine, view: &ServiceView) -> Option<Verdict> {
        let rolling = engine.roll_of(engine.pool_of(view.id)?)?;
        let lost_by_roll = match self.until {
            Until::Started | Until::Reloaded => true,
            Until::Goal(Goal::Ready) => false,
            Until::Goal(Goal::Stopped | Goal::Done) | Until::Now => return None,
        };
        Some(match engine.worker(view.id).map(|worker| worker.doing) {
            _ if rolling == Rolling::Under => Verdict::Pending,
            _ if rolling == Rolling::Failed && lost_by_roll => Verdict::Lost,
            Some(Doing::Serving) | None => Verdict::Reached,
            Some(Doing::Leaving) => Verdict::Pending,
            Some(Doing::Held) => Verdict::Lost,
            Some(Doing::Starting) => return None,
        })
    }

    /// Somebody who was forgotten meanwhile has come to the end of every way.
    fn verdict(&self, engine: &Engine, id: ServiceId) -> Verdict {
        let Some(view) = engine.status(id) else { return Verdict::Reached };
        if let Some(verdict) = self.verdict_of_worker(engine, &view) {
            return verdict;
        }
        match self.until {
            // What it is now is the life before.
            Until::Started | Until::Reloaded if view.again => Verdict::Pending,
            Until::Started => Goal::verdict_of_start(view.state),
            Until::Reloaded if view.reloading => Verdict::Pending,
            Until::Reloaded if view.reload_failure.is_some() => Verdict::Lost,
            Until::Reloaded => Goal::verdict_of_start(view.state),
            Until::Goal(goal) => goal.verdict(view.state),
            Until::Now => Verdict::Reached,
        }
    }
}
