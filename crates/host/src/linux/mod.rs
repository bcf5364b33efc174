//! The real world: the calls of [`doula_core::kernel::Kernel`] carried out by Linux.
//!
//! One thread around one epoll set ([`token`]): pidfds, a signalfd, the output of the services, their notify
//! sockets, timers, and whatever the supervisor itself waits for. Nothing here decides; what was decided
//! comes in as calls, what happened goes out as events.
//!
//! - [`home`]: everything that is kept for the family
//! - [`services`]: what belongs to one service as long as it is known (recipe, output, sockets)
//! - [`births`]: from a recipe to a running child
//! - [`pools`]: what waits at the sockets of a pool, and what its workers do
//! - `handles`: signals to children, and to nobody else
//! - [`bounds`]: the limits in force, and by which means they hold
//! - `takeover`: what a supervisor before us has left
//! - [`stubborn`]: who was sent SIGKILL and does not end
//! - [`trees`]: which processes belong to a service, and the proof that none is left

mod births;
mod bounds;
mod differences;
mod handles;
pub(crate) mod home;
mod pools;
pub(crate) mod services;
mod stubborn;
pub(crate) mod takeover;
mod token;
mod trees;
mod upgrade;
mod veiled;

use crate::keeper::{Held, Tag};
use crate::logs::{self, Stamp};
use crate::notify::{Above, ReadyPipe};
use crate::people::{Desk, People};
use crate::steps;
use crate::upgrade::Upgrade;
use doula_core::engine::Engine;
use doula_core::kernel::{Change, Kernel, Tree, Wake};
use doula_core::view::Census;
use doula_model::action::{News, Report};
use doula_model::event::{Event, Notice};
use doula_model::exit::ExitStatus;
use doula_model::id::{ChildKey, Generation, Pid, PoolId, ServiceId};
use doula_model::plan::{Errno, SpawnError};
use doula_model::pool::{Checkup, Measure};
use doula_model::signal::Signal;
use doula_model::time::Time;
use doula_sys::fd::{AsFd, OwnedFd};
use doula_sys::poll::{Happening, Interest};
use doula_sys::wait::{For, Who};
use doula_sys::{pidfd, poll, signal, time, wait};
use home::Home;
use std::collections::VecDeque;
use std::time::Duration;
use token::Token;

/// How many events one look at the epoll set takes.
const EVENTS_AT_ONCE: usize = 1024;

/// So long the children that we have handles of may put off the look for other changes.
const CHANGES_PUT_OFF_MOST: Duration = Duration::from_millis(50);

/// The real world.
pub(crate) struct Linux {
    signals: OwnedFd,
    home: Home,
    people: People,
    /// What happened outside of a call and waits to be told.
    pending: VecDeque<Event>,
    happenings: Vec<Happening>,
    /// Since when a SIGCHLD waits.
    changes: Option<Time>,
    /// It waits no longer.
    changes_are_next: bool,
    /// No child was stopped or continued since the last SIGCHLD, or that is told already.
    stops_told: bool,
    /// The family ends.
    ending: bool,
    /// Handles of the buried, closed when their ends are written down: until then only these tell of them, should we be killed.
    /// When everybody ends they are closed at the very end: that takes a while, and nobody is to wait for it who waits for
    /// the end of the family.
    parted: Vec<Held>,
    /// Pipes that have shown readiness, closed when that is written down.
    shown: Vec<ReadyPipe>,
    /// There was news since who is above us was told of the family.
    changed: bool,
}

impl Linux {
    /// Joins the parts and watches them.
    pub(crate) fn new(home: Home, people: People, signals: OwnedFd) -> Result<Linux, Errno> {
        home.epoll.add(&signals, Interest::READ, Token::Signals.pack())?;
        home.epoll.add(&home.logs, Interest::READ, Token::Logs.pack())?;
        home.epoll.add(&home.schedules, Interest::READ, Token::Schedule.pack())?;
        home.epoll.add(&people, Interest::READ, Token::Control.pack())?;
        let happenings = vec![Happening::EMPTY; EVENTS_AT_ONCE];
        let pending = VecDeque::new();
        Ok(Linux {
            signals,
            home,
            people,
            pending,
            happenings,
            changes: None,
            changes_are_next: false,
            stops_told: false,
            ending: false,
            parted: Vec::new(),
            shown: Vec::new(),
            changed: true,
        })
    }

    /// What is kept for the family.
    pub(crate) fn home(&mut self) -> &mut Home {
        &mut self.home
    }

    /// Takes everything apart; the last lines of the log are written.
    pub(crate) fn close(mut self, engine: &Engine) -> logs::Lost {
        self.pending.clear();
        // Followers may take a while; whoever looks at the screen sees the end before.
        self.home.logs.write_out(Stamp::read());
        let mut desk = Desk { engine, home: &mut self.home, events: &mut self.pending };
        self.people.say_goodbye(&mut desk);
        if let Some(above) = &mut self.home.above {
            above.stopping();
        }
        self.home.close()
    }

    fn wake(&self, token: Token) -> Option<Wake> {
        match token {
            Token::Child(pid) => Some(Wake::Child(pid)),
            Token::Signals => Some(Wake::Signals),
            Token::Tree(id) => Some(Wake::Tree(id, self.home.generation(id))),
            Token::Logs
            | Token::Notify(_)
            | Token::ReadyFd(_)
            | Token::Schedule
            | Token::Control
            | Token::Pool(_)
            | Token::Memory(_) => None,
        }
    }

    /// Something of the world's own can be read.
    fn own_business(&mut self, token: Token) {
        match token {
            Token::Notify(id) => self.pending.extend(self.home.hear(id)),
            Token::ReadyFd(id) => {
                if let Some((ready, pipe)) = self.home.services.look_at_ready_pipe(id) {
                    steps::reached("ready-seen");
                    self.pending.push_back(ready);
                    self.shown.push(pipe);
                }
            }
            Token::Pool(pool) => self.pending.push_back(Event::Knocked { pool }),
            Token::Schedule => self.pending.extend(self.home.due()),
            Token::Memory(id) => self.home.trees.bounds.alarmed(id, time::monotonic()),
            // These two have epoll sets of their own and are looked at in every turn.
            Token::Logs | Token::Control => {}
            Token::Child(_) | Token::Signals | Token::Tree(_) => {}
        }
    }

    /// Reads what the services wrote.
    fn turn_logs(&mut self) {
        self.home.logs.turn(Stamp::read());
        self.take_log_news();
    }

    fn take_log_news(&mut self) {
        while let Some(news) = self.home.logs.next_news() {
            match news {
                logs::News::Ready { service, generation } => {
                    steps::reached("ready-seen");
                    self.pending.push_back(Event::Noticed { service, generation, notice: Notice::Ready });
                }
                logs::News::Ended { source } => self.people.ended(source),
                logs::News::Raw { source, bytes } => self.people.raw(source, &bytes),
                logs::News::Compress { path } => self.home.compress(&path),
            }
        }
    }

    /// Puts the looks for changes behind the ended children that were seen, mostly to a later turn. Children that
    /// we have a handle of are buried by it, in the time of one; SIGCHLD is for the others, and finding those
    /// takes a walk over all children for each.
    fn put_off_changes(&mut self, wakes: &mut Vec<Wake>) {
        let ended = wakes.iter().any(|wake| matches!(wake, Wake::Child(_)));
        let recently = |since: &Time| time::monotonic().since(*since) < CHANGES_PUT_OFF_MOST;
        self.changes_are_next = self.changes.is_some_and(|since| !(ended && recently(&since)));
        let signals = wakes.iter().any(|wake| matches!(wake, Wake::Signals)) || self.changes_are_next;
        wakes.retain(|wake| !matches!(wake, Wake::Signals));
        wakes.extend(signals.then_some(Wake::Signals));
    }

    /// Tells who is above us how the family is.
    fn tell_above(&mut self, engine: &Engine) {
        let Some(above) = self.home.above.as_mut().filter(|_| std::mem::take(&mut self.changed)) else {
            return;
        };
        let Census { all, up, starting } = engine.census();
        let held_up = engine.held_up();
        let reason = held_up.map(|(who, on)| format!("; {who} waits for {on}, which fails again and again"));
        above.status(&format!("{up} of {all} services are up{}", reason.unwrap_or_default()));
        if starting == 0 {
            above.ready();
        }
    }

    /// All that happened is written down.
    fn close_parted(&mut self) {
        if !self.ending {
            self.parted.clear();
        }
    }

    /// When we have to look again though nothing happens.
    fn own_deadline(&self) -> Option<Time> {
        let above = self.home.above.as_ref().and_then(Above::deadline);
        let stubborn = self.home.stubborn.deadline();
        let Home { trees, logs, .. } = &self.home;
        let own = [trees.deadline(), trees.bounds.deadline(), logs.deadline(), self.people.deadline()];
        let upgrade = self.home.upgrade.as_ref().map(Upgrade::deadline);
        own.into_iter().chain([above, stubborn, upgrade]).flatten().min()
    }
}

impl Kernel for Linux {
    type Handle = Held;

    fn now(&mut self) -> Time {
        time::monotonic()
    }

    fn spawn(&mut self, key: ChildKey) -> Result<(Pid, Held), SpawnError> {
        let (pid, handle) = self.home.give_birth(key)?;
        Ok((pid, self.home.ledger.hold(handle, Tag::Child(key, pid))))
    }

    fn inherit(&mut self, key: ChildKey, pid: Pid) -> Option<Held> {
        let handle = self.home.inherited.remove(&key)?;
        self.home.services.lives(key, pid);
        Some(handle)
    }

    fn end_the_rest(&mut self) {
        self.home.end_the_rest();
    }

    fn write_down(&mut self, engine: &Engine, touched: Vec<ServiceId>) {
        self.home.write_down(engine, &touched);
        self.close_parted();
    }

    fn watch(&mut self, pid: Pid, handle: &Held) -> Result<(), Errno> {
        self.home.epoll.add(handle, Interest::READ, Token::Child(pid).pack())
    }

    fn wait(&mut self, handle: &Held) -> Result<Option<ExitStatus>, Errno> {
        match wait::waitid(Who::Pidfd(handle.as_fd()), For::END) {
            // A child of a supervisor before us. It is not ours to bury, so that nobody but the handle tells of it.
            Err(Errno::ECHILD) if poll::readable(handle, Some(Duration::ZERO)) == Ok(false) => Ok(None),
            news => {
                let end = news?.and_then(|news| ended(news.change));
                if end.is_some() {
                    steps::reached("buried");
                }
                Ok(end)
            }
        }
    }

    fn part(&mut self, handle: Held) {
        self.parted.push(handle);
    }

    fn obituary(&mut self, handle: &Held) -> ExitStatus {
        Home::obituary(handle)
    }

    fn next_change(&mut self) -> Option<(Pid, Change)> {
        // A stop is taken; an end is only looked at, and would hide the stops of others if it came first. All
        // stops are told before the first end: whoever stops later sends another SIGCHLD.
        let stop = if self.stops_told { None } else { wait::waitid(Who::Any, For::STOPS).ok().flatten() };
        self.stops_told = stop.is_none();
        let news = stop.or_else(|| wait::waitid(Who::Any, For::END.peeking()).ok().flatten())?;
        let change = match news.change {
            wait::Change::Exited(status) => Change::Exited(status),
            wait::Change::Stopped(_) => Change::Stopped,
            wait::Change::Continued => Change::Continued,
        };
        Some((news.pid, change))
    }

    fn bury(&mut self, pid: Pid) -> Option<ExitStatus> {
        ended(wait::waitid(Who::Pid(pid), For::END).ok()??.change)
    }

    fn signal(&mut self, handle: &Held, signal: Signal) -> Result<(), Errno> {
        gone_is_fine(pidfd::send(handle, signal))
    }

    fn signal_group(&mut self, pid: Pid, handle: &Held, signal: Signal) -> Result<(), Errno> {
        gone_is_fine(handles::signal_group(pid, handle, signal))
    }

    fn next_signal(&mut self) -> Option<Signal> {
        while let Some(news) = signal::next(&self.signals).ok().flatten() {
            if news.signal != Signal::CHLD {
                return Some(news.signal);
            }
            self.changes.get_or_insert_with(time::monotonic);
        }
        if !std::mem::take(&mut self.changes_are_next) {
            return None;
        }
        (self.changes, self.stops_told) = (None, false);
        Some(Signal::CHLD)
    }

    fn signalled(&mut self, signal: Signal) {
        if signal == Signal::HUP {
            self.people.reload_at_next_turn();
        }
    }

    fn poll(&mut self, deadline: Option<Time>, wakes: &mut Vec<Wake>) {
        self.home.inherited_sockets.clear();
        self.close_parted();
        self.shown.clear();
        self.home.logs.write_out(Stamp::read());
        if let Some(above) = &mut self.home.above {
            above.turn(time::monotonic());
        }
        let deadline = self.own_deadline().into_iter().chain(deadline).min();
        let timeout = deadline.map(|at| at.since(time::monotonic()));
        let untold = self.changed && self.home.above.is_some();
        let busy = !self.pending.is_empty() || self.changes.is_some() || untold;
        let timeout = if busy { Some(Duration::ZERO) } else { timeout };
        let mut buffer = std::mem::take(&mut self.happenings);
        // EINTR (a debugger, a freezer) is a wake-up like any other: nothing happened.
        let happened = self.home.epoll.wait(&mut buffer, timeout).unwrap_or_default();
        for token in happened.iter().filter_map(|happening| Token::unpack(happening.token())) {
            match self.wake(token) {
                Some(wake) => wakes.push(wake),
                None => self.own_business(token),
            }
        }
        self.happenings = buffer;
        self.put_off_changes(wakes);
        let swept = self.home.trees.due(time::monotonic());
        wakes.extend(swept.into_iter().map(|(service, generation)| Wake::Tree(service, generation)));
        let now = time::monotonic();
        for report in self.home.still_there(now).into_iter().chain(self.home.out_of_memory(now)) {
            self.report(&report);
        }
        self.turn_logs();
    }

    fn look(&mut self, service: ServiceId, generation: Generation) -> Tree {
        self.home.look((service, generation))
    }

    fn signal_tree(&mut self, service: ServiceId, generation: Generation, signal: Signal) {
        self.home.signal_tree(service, generation, signal);
    }

    fn release(&mut self, service: ServiceId, generation: Generation) {
        self.home.release((service, generation));
        self.take_log_news();
    }

    fn arm_schedule(&mut self, service: ServiceId) {
        self.home.arm(service);
    }

    fn seat(&mut self, service: ServiceId, slot: Option<u32>) {
        self.home.seat(service, slot);
    }

    fn revert(&mut self, service: ServiceId) {
        self.home.revert(service);
    }

    fn measure(&mut self, workers: &[ServiceId], closely: bool) -> Measure {
        self.home.measure(workers, closely)
    }

    fn check_up(&mut self, workers: &[ServiceId]) -> Vec<Checkup> {
        self.home.check_up(workers)
    }

    fn await_connection(&mut self, pool: PoolId, workers: &[ServiceId]) {
        self.home.await_connection(pool, workers);
    }

    fn forget(&mut self, service: ServiceId) {
        self.home.forget(service);
    }

    fn buried(&mut self, pid: Pid, status: ExitStatus) {
        self.home.buried(pid, status);
    }

    fn report(&mut self, report: &Report) {
        if report.news == News::FamilyEmpty && !self.home.end_strangers() {
            return;
        }
        self.home.tell(report);
        self.people.report(report);
        self.changed = true;
        if matches!(report.news, News::ShuttingDown { .. }) {
            self.ending = true;
            self.home.above.iter_mut().for_each(Above::stopping);
        }
        if let Some(more) = self.home.blame_memory(report) {
            self.home.tell(&more);
            self.people.report(&more);
        }
    }

    fn attend(&mut self, engine: &Engine) -> Option<Event> {
        if self.pending.is_empty() {
            let mut desk = Desk { engine, home: &mut self.home, events: &mut self.pending };
            self.people.attend(&mut desk);
            self.tell_above(engine);
        }
        if self.pending.is_empty() {
            self.upgrade(engine);
        }
        self.pending.pop_front()
    }
}

fn ended(change: wait::Change) -> Option<ExitStatus> {
    match change {
        wait::Change::Exited(status) => Some(status),
        wait::Change::Stopped(_) | wait::Change::Continued => None,
    }
}

/// A signal to somebody who has ended needs not arrive.
fn gone_is_fine(sent: Result<(), Errno>) -> Result<(), Errno> {
    if sent == Err(Errno::ESRCH) { Ok(()) } else { sent }
}
