//! What goes over to the program that the supervisor becomes: who is connected, what they have asked and how far they were told,
//! and what is remembered of the past.
//!
//! Services keep their numbers, clients and followers too, so that all this is handed over as it is.

use super::answers::Asker;
use super::history::History;
use super::streams::Flow;
use super::waiters::Waiter;
use super::{Desk, People};
use crate::control::{ClientId, Talk};
use doula_sys::fd::{self, AsRawFd as _, OwnedFd, RawFd};
use serde::{Deserialize, Serialize};

/// See the head of this file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Handover {
    clients: Vec<(ClientId, RawFd, Talk)>,
    flows: Vec<(Asker, Flow)>,
    waiters: Vec<Waiter>,
    history: History,
}

impl People {
    /// All of it, and the connections, but for that of the one who is told by [`People::answer_over`].
    pub(crate) fn hand_over(&self, but: ClientId) -> (Handover, Vec<OwnedFd>) {
        let (mut clients, mut fds) = (Vec::new(), Vec::new());
        for (id, talk) in self.server.talks().filter(|(id, _)| *id != but) {
            // One without another fd is hung up on.
            let Some(Ok(fd)) = self.server.fd(id).map(|fd| fd::duplicate(fd, 3)) else { continue };
            clients.push((id, fd.as_raw_fd(), talk));
            fds.push(fd);
        }
        let handover = Handover {
            clients,
            flows: self.streams.all(),
            waiters: self.waiters.clone(),
            history: self.history.clone(),
        };
        (handover, fds)
    }

    /// Goes on with what was handed over. Nobody has been served yet.
    pub(crate) fn take_up(&mut self, handover: Handover) {
        for (id, number, talk) in handover.clients {
            let stream = fd::inherited(number).ok().map(Into::into);
            self.server.take_in(id, stream, talk);
        }
        self.streams.go_on(handover.flows);
        (self.waiters, self.history) = (handover.waiters, handover.history);
        (self.news, self.more) = (true, true);
    }

    /// The services are there again: those who are attached to them read on.
    pub(crate) fn attach_again(&mut self, desk: &mut Desk<'_>) {
        self.streams.attach_again(&mut self.server, desk);
    }
}
