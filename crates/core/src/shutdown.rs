//! The end of the family.
//!
//! - It ends when somebody asks; when an essential service has come to its final end by itself; or when no
//!   service is left that could do anything (unless it is kept alive for later commands).
//! - A shutdown can become more hasty, never less.
//! - Exit code: 0 when it was asked for. That of the essential service which ended first. When nothing is left:
//!   1 if a service has failed, else 0. What happens after the shutdown began does not change it.

use crate::context::is_live;
use crate::crew::Crew;
use crate::engine::{Engine, seat};
use crate::service::{Input, Wish};
use doula_model::action::{Action, Cause, News, State};
use doula_model::event::Haste;
use doula_model::id::{PoolId, ServiceId};

impl Engine {
    /// Begins the shutdown, or makes it more hasty. `code` counts only for the beginning.
    pub(crate) fn shut_down(&mut self, haste: Haste, because: Cause, code: Option<u8>) {
        if self.cx.haste.is_some_and(|now| now >= haste) {
            return;
        }
        if self.cx.haste.is_none() {
            self.code = code.unwrap_or(0);
        }
        self.cx.haste = Some(haste);
        self.cx.announce(News::ShuttingDown { haste, because });
        for number in 0..self.crews.len() {
            self.with_crew(PoolId(number as u32), Crew::rest);
        }
        for number in 0..self.services.len() {
            self.end_service(ServiceId(number as u32), haste);
        }
    }

    fn end_service(&mut self, id: ServiceId, haste: Haste) {
        let Some(service) = seat(&mut self.services, id) else { return };
        if !is_live(service.state) {
            return;
        }
        if service.wish == Wish::Up {
            (service.wish, service.reason) = (Wish::Down, Cause::Shutdown);
        }
        (service.again, service.queued) = (None, false);
        match haste {
            Haste::Orderly => {}
            Haste::Hurried => service.take_extension_back(&mut self.cx),
            Haste::Kill => service.input(&mut self.cx, Input::Kill),
        }
        self.cx.changed.push_back(id);
    }

    /// Looks at those who came to their final end: does one of them end the family?
    pub(crate) fn mourn(&mut self) {
        for id in core::mem::take(&mut self.cx.ended) {
            let Some(service) = self.service(id).filter(|service| service.spec.essential) else { continue };
            if self.cx.haste.is_none() && !service.leaving {
                let cause = Cause::EssentialEnded { service: service.spec.name.clone() };
                let code = service.family_code();
                self.shut_down(Haste::Orderly, cause, Some(code));
            }
        }
    }

    /// Quits when all is over.
    pub(crate) fn quit_if_over(&mut self) {
        if !self.is_over() {
            return;
        }
        assert!(self.services.iter().flatten().all(|it| it.children.is_empty()), "nobody is left behind");
        assert!(self.cx.timers.next().is_none(), "nobody waits for anything");
        if self.cx.haste.is_none() {
            let failed = self.services.iter().flatten().any(|service| service.state == State::Failed);
            self.shut_down(Haste::Orderly, Cause::NothingLeft, Some(u8::from(failed)));
        }
        self.cx.announce(News::FamilyEmpty);
        self.cx.act(Action::Quit { code: self.code });
        self.quit = true;
    }

    /// Nothing is live, and nothing is expected to be.
    pub(crate) fn is_over(&self) -> bool {
        let awake = || self.crews.iter().flatten().any(|crew| crew.is_awake(self));
        !self.quit && self.cx.live == 0 && (self.cx.haste.is_some() || !(self.keep_alive || awake()))
    }
}
