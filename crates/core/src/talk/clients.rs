//! All clients of a supervisor: how many there may be, who has to make room, and what is waited for.

use super::client::{Client, Passed, Talk, Wants};
use super::{Line, Protocol};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// Clients at a time. One more takes the place of a client that waits for nothing.
pub const CLIENT_LIMIT: usize = 64;

/// There are as many clients as there may be, and each waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The clients, by numbers that are never used twice.
#[derive(Debug)]
pub struct Clients<L, P: Protocol> {
    clients: BTreeMap<u64, Client<L, P>>,
    count: u64,
    /// What the loop was last told to wait for.
    told: BTreeMap<u64, Wants>,
    changed: BTreeSet<u64>,
    gone: Vec<u64>,
}

impl<L: Line, P: Protocol> Default for Clients<L, P> {
    fn default() -> Clients<L, P> {
        Clients {
            clients: BTreeMap::new(),
            count: 0,
            told: BTreeMap::new(),
            changed: BTreeSet::new(),
            gone: Vec::new(),
        }
    }
}

impl<L: Line, P: Protocol> Clients<L, P> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// One of them.
    pub fn get(&self, id: u64) -> Option<&Client<L, P>> {
        self.clients.get(&id)
    }

    /// One of them, for its line.
    pub fn get_mut(&mut self, id: u64) -> Option<&mut Client<L, P>> {
        self.clients.get_mut(&id)
    }

    /// Whether one more can be taken in; a client that waits for nothing makes room if it must.
    ///
    /// # Errors
    /// Each waits for an answer.
    pub fn make_room(&mut self) -> Result<(), Full> {
        if self.clients.len() < CLIENT_LIMIT {
            return Ok(());
        }
        let idle = |(id, client): (&u64, &Client<L, P>)| Some((client.idleness()?, client.active, *id));
        let (_, _, id) = self.clients.iter().filter_map(idle).min().ok_or(Full)?;
        self.forget(id);
        Ok(())
    }

    /// Takes in a client, for which there is room.
    pub fn take_in(&mut self, mut client: Client<L, P>) -> u64 {
        self.count += 1;
        client.active = self.count;
        self.clients.insert(self.count, client);
        self.changed.insert(self.count);
        assert!(self.clients.len() <= CLIENT_LIMIT, "clients are limited");
        self.count
    }

    /// Goes on with a client that we had when we were another program. One without a connection is gone.
    pub fn go_on_with(&mut self, id: u64, line: Option<L>, talk: Talk<P::Id>) {
        let Some(line) = line else { return self.gone.push(id) };
        self.count = self.count.max(id).max(talk.active);
        self.clients.insert(id, Client::going_on(line, talk));
        self.changed.insert(id);
    }

    /// How far the talk with each client is.
    pub fn talks(&self) -> impl Iterator<Item = (u64, Talk<P::Id>)> + '_ {
        self.clients.iter().filter_map(|(id, client)| Some((*id, client.talk()?)))
    }

    /// Something happened on the line of this client: sends and reads what is possible now. Gives the requests
    /// that became whole.
    pub fn ready(&mut self, id: u64, hello: &P::Reply) -> Vec<(P::Id, P::Request)> {
        let Some(client) = self.clients.get_mut(&id) else { return Vec::new() };
        let requests = client.ready(hello);
        if !requests.is_empty() {
            self.count += 1;
            client.active = self.count;
        }
        if self.settle(id) { requests } else { Vec::new() }
    }

    /// Answers a request. An answer to a client that is gone, or after the final one, is ignored.
    pub fn answer(&mut self, id: u64, request: P::Id, reply: &P::Reply) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.answer(request, reply);
        client.flush();
        self.settle(id);
    }

    /// Answers a request by records from `next`, at most `most`, as long as the client takes them: none is lost by
    /// a slow client, and none waits in our memory.
    pub fn pass_on(
        &mut self,
        (id, request): (u64, P::Id),
        most: usize,
        next: impl FnMut() -> Option<P::Reply>,
    ) -> Passed {
        let Some(client) = self.clients.get_mut(&id) else { return Passed::All };
        let passed = client.pass_on(request, most, next);
        client.flush();
        self.settle(id);
        passed
    }

    /// Ends the connection of this client, whatever waits.
    pub fn forget(&mut self, id: u64) {
        if self.clients.remove(&id).is_some() {
            self.told.remove(&id);
            self.changed.remove(&id);
            self.gone.push(id);
        }
    }

    /// Notes what changed for this client; `false` if it is gone.
    fn settle(&mut self, id: u64) -> bool {
        let Some(client) = self.clients.get(&id) else { return false };
        if client.is_gone() {
            self.forget(id);
            return false;
        }
        if self.told.get(&id) != Some(&client.wants()) {
            self.changed.insert(id);
        }
        true
    }

    /// What the loop has to wait for from now on, for each client for which that changed since the last call;
    /// also for new ones.
    pub fn take_changes(&mut self) -> Vec<(u64, Wants)> {
        let mut changes = Vec::new();
        for id in core::mem::take(&mut self.changed) {
            let Some(client) = self.clients.get(&id) else { continue };
            let wants = client.wants();
            if self.told.insert(id, wants) != Some(wants) {
                changes.push((id, wants));
            }
        }
        changes
    }

    /// The clients that are gone since the last call: nobody waits for their answers.
    pub fn take_gone(&mut self) -> Vec<u64> {
        core::mem::take(&mut self.gone)
    }

    /// Whether answers wait to be sent.
    pub fn is_busy(&self) -> bool {
        self.clients.values().any(|client| client.wants() != Wants { read: true, write: false })
    }
}
