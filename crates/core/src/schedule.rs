//! Scheduled services: what happens when the time comes.

use crate::engine::{Engine, seat};
use crate::service::{Input, Wish};
use doula_model::action::{Cause, News, State};
use doula_model::id::ServiceId;
use doula_model::service::{Kind, Overlap};

impl Engine {
    /// The schedule of this service came due. The next time is asked for at once, so that a run that takes
    /// longer than its interval is noticed.
    pub(crate) fn due(&mut self, id: ServiceId) {
        let shuts_down = self.cx.haste.is_some();
        let Some(service) = seat(&mut self.services, id) else { return };
        service.armed = false;
        if service.wish == Wish::Down || service.leaving || shuts_down {
            return;
        }
        let Kind::Scheduled { overlap } = service.spec.kind else { return };
        match service.state {
            State::Scheduled => {
                service.reason = Cause::Schedule;
                service.input(&mut self.cx, Input::Start { run: true });
            }
            State::Stopped | State::Done | State::Failed => return,
            State::Waiting
            | State::Preparing
            | State::Starting
            | State::Up
            | State::Stopping
            | State::Clearing
            | State::Cleaning
            | State::BackingOff => match overlap {
                Overlap::Queue => service.queued = true,
                Overlap::Skip => service.report(&mut self.cx, News::RunSkipped),
            },
        }
        self.arm(id);
    }
}
