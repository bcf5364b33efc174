//! What the driver asks of a kernel, done by system calls of the simulated supervisor. The order of the calls is
//! that of `doula-host`.

use super::birth::exactly;
use super::breakage::Breakage;
use super::checks::Settled;
use super::faults::{Fault, Sites};
use super::scenario::Deed;
use super::{Happening, Watched, World, play};
use crate::kernel::TaskId;
use crate::kernel::call::{Access, Call, Mask, Value, Wait, Waited};
use crate::kernel::sigset::SigSet;
use core::time::Duration;
use doula_core::engine::Engine;
use doula_core::kernel::{Change, Kernel, Tree, Wake};
use doula_model::action::Report;
use doula_model::event::{Event, Haste};
use doula_model::exit::{Evidence, ExitStatus};
use doula_model::id::{ChildKey, Generation, Pid, PoolId, Role, ServiceId};
use doula_model::plan::{Errno, SpawnError};
use doula_model::pool::Measure;
use doula_model::signal::Signal;
use doula_model::time::Time;

use alloc::vec::Vec;

/// The descriptor of `/dev/null`.
pub(super) const NULL: i32 = 0;
/// The end of the pipe of output that is read, and the one that children get.
pub(super) const READS: i32 = 1;
pub(super) const OUTPUT: i32 = 2;
/// So often output is read, and so much: whoever writes more than that sleeps.
const READS_EVERY: Duration = Duration::from_secs(1);
const READS_AT_ONCE: usize = 4096;
/// So long others may put off the look for changes of children.
const PUT_OFF: Duration = Duration::from_millis(50);
/// So often the members of a group are looked at again while they are signalled.
const PASSES: usize = 16;

/// The signals that the supervisor reads.
const READ: SigSet = SigSet::of(&[
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::TERM,
    Signal::CHLD,
    Signal::USR1,
    Signal::USR2,
    Signal::PIPE,
    Signal::WINCH,
]);

/// What a supervisor does before its first birth.
pub(super) fn first_calls() -> [Call; 7] {
    [
        Call::Close(NULL),
        Call::Open("/dev/null".into(), Access::Read),
        Call::SetCloexec(NULL, true),
        Call::Pipe(true),
        Call::SetNonblocking(READS, true),
        Call::Sigprocmask(Mask::Set, READ),
        Call::SetSubreaper(true),
    ]
}

/// A child: a pidfd, and what the checks know it by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handle {
    pub(super) pid: Pid,
    pub(super) fd: i32,
    pub(super) birth: u64,
}

fn end_of(waited: Waited) -> Option<ExitStatus> {
    ExitStatus::from_wait(waited.status, Evidence::Waited)
}

impl World<'_> {
    /// What has happened that the supervisor has asked to be told.
    fn collect(&mut self, wakes: &mut Vec<Wake>) {
        if self.killed {
            return;
        }
        let readable = |watched: &&Watched| self.kernel.pidfd_is_readable(self.supervisor, watched.fd);
        wakes.extend(self.watched.iter().filter(readable).map(|watched| Wake::Child(watched.pid)));
        if self.scenario.machine.newest_first {
            wakes.reverse();
        }
        if !self.kernel.has_pending(self.supervisor, READ) {
            self.signal_since = None;
        } else if !self.puts_off() {
            wakes.push(Wake::Signals);
        }
        let empty = |life: &&(ServiceId, Generation)| !self.is_populated(life.0);
        wakes.extend(self.looked.iter().filter(empty).map(|(service, life)| Wake::Tree(*service, *life)));
        wakes.extend(self.kills.due(self.now));
    }

    /// Whether signals are left unread for now.
    fn puts_off(&mut self) -> bool {
        let now = self.now;
        let since = *self.signal_since.get_or_insert(now);
        let due = now.since(since) >= PUT_OFF;
        let waits = !due && self.faults.fires(Fault::ChildSignalLate);
        if !waits {
            self.signal_since = None;
        }
        waits
    }

    pub(super) fn is_populated(&self, service: ServiceId) -> bool {
        let leaf = self.seats[self.place(service)].leaf;
        leaf.is_some_and(|leaf| self.kernel.cgroup_is_populated(leaf))
    }

    /// Waits, as epoll_wait(2) does.
    fn wait_until(&mut self, deadline: Option<Time>, wakes: &mut Vec<Wake>) {
        let late = deadline.filter(|_| self.faults.fires(Fault::TimerLate)).map(|at| {
            let late = Duration::from_millis(self.faults.below(Fault::TimerLate, 4_000));
            self.checks.excuse(late);
            at.after(late)
        });
        let deadline = late.or(deadline);
        let interrupted = self.faults.fires(Fault::Interrupted).then(|| {
            let after = Duration::from_millis(self.faults.below(Fault::Interrupted, 2_000));
            self.now.after(after)
        });
        let deadline = deadline.into_iter().chain(interrupted).min();
        loop {
            self.collect(wakes);
            if !wakes.is_empty()
                || !self.pending.is_empty()
                || self.inspect
                || self.counter.news
                || deadline.is_some_and(|at| at <= self.now)
            {
                return;
            }
            if self.signal_since.is_some() {
                self.checks.waits(&self.kernel, self.supervisor);
            }
            let signals = self.signal_since.map(|since| since.after(PUT_OFF));
            let until = deadline.into_iter().chain(signals).chain(self.kills.next()).min();
            let stopped = !self.kernel.is_in_program(self.supervisor);
            if self.killed || !self.wait_for_supervisor() {
                return;
            }
            // Meanwhile something may have happened.
            if !stopped && !self.let_time_pass(until) {
                return self.checks.fail("hang", "the supervisor waits for what can never happen".into());
            }
            if self.checks.has_failed() {
                return;
            }
        }
    }

    /// What people and misfortune do between two turns.
    fn trouble(&mut self) {
        if self.faults.fires(Fault::ClockJumps) {
            let jump = Duration::from_secs(self.faults.below(Fault::ClockJumps, 36_000));
            self.checks.excuse(jump);
            self.now = self.now.after(jump);
        }
        self.set_wall_clock();
        if self.faults.fires(Fault::SecondSupervisor) {
            self.meet_second();
        }
        if self.faults.fires(Fault::ChildSignalSpurious) {
            self.kernel.signal_from_kernel(self.supervisor, Signal::CHLD);
        }
        if self.faults.fires(Fault::SupervisorStopped) {
            let pause = Duration::from_millis(self.faults.below(Fault::SupervisorStopped, 5_000));
            self.checks.excuse(pause);
            let birth = self.kernel.birth(self.supervisor);
            self.later(pause, Happening::Continue(self.supervisor, birth));
            self.kernel.signal_from_kernel(self.supervisor, Signal::STOP);
        }
        if self.faults.fires(Fault::OutOfMemory) {
            self.strike(Fault::OutOfMemory, Signal::KILL);
        }
        if self.faults.fires(Fault::KilledFromOutside) {
            let signal = [Signal::KILL, Signal::TERM, Signal::SEGV, Signal::INT]
                [self.faults.below(Fault::KilledFromOutside, 4) as usize];
            self.strike(Fault::KilledFromOutside, signal);
        }
        if self.faults.fires(Fault::StoppedFromOutside)
            && let Some(task) = self.strike(Fault::StoppedFromOutside, Signal::STOP)
        {
            let pause = Duration::from_millis(self.faults.below(Fault::StoppedFromOutside, 10_000));
            let birth = self.kernel.birth(task);
            self.later(pause, Happening::Continue(task, birth));
        }
    }

    /// Somebody of the family gets a signal from nowhere.
    fn strike(&mut self, fault: Fault, signal: Signal) -> Option<TaskId> {
        let members = self.kernel.cgroup_members(self.families);
        if members.is_empty() {
            return None;
        }
        let task = members[self.faults.below(fault, members.len() as u64) as usize];
        let number = self.kernel.look(task).map_or(0, |look| look.pid);
        self.log.note(self.now, ("strike", number));
        self.log.say(self.now, fault.site().name, format_args!("{signal} for {number}"));
        self.kernel.signal_from_kernel(task, signal);
        Some(task)
    }

    /// A change of any child that waitid(2) shows.
    fn look_for(&mut self, wait: Wait) -> Option<Waited> {
        match self.call(Call::Waitid(wait)) {
            Ok(Value::Waited(waited)) => Some(waited),
            _ => None,
        }
    }

    /// Signals all members of a group, also those who are born meanwhile.
    pub(super) fn signal_all(&mut self, service: ServiceId, signal: Signal) {
        let Some(leaf) = self.seats[self.place(service)].leaf else { return };
        let mut reached: Vec<u64> = Vec::new();
        for _ in 0..PASSES {
            let mut members = self.kernel.cgroup_members(leaf);
            members.retain(|member| !reached.contains(&self.kernel.birth(*member)));
            if members.is_empty() {
                return;
            }
            // Who is in the list may be gone when its turn comes.
            let members: Vec<_> = members.into_iter().map(|it| (it, self.kernel.birth(it))).collect();
            for (member, birth) in members {
                reached.push(birth);
                if self.killed || !self.kernel.lives(member, birth) {
                    continue;
                }
                let number = self.kernel.look_as(self.supervisor, member).map_or(0, |look| look.pid);
                if let Ok(Value::Number(fd)) = self.call(Call::PidfdOpen(number)) {
                    let _ = self.call(Call::PidfdSend(fd, signal.number()));
                    let _ = self.call(Call::Close(fd));
                }
            }
        }
    }

    /// Reads what children have written, if it is time to.
    fn read_output(&mut self) {
        if !self.killed && self.now >= self.reads {
            self.reads = self.now.after(READS_EVERY);
            for fd in self.outputs.clone() {
                let _ = self.call(Call::Read(fd, READS_AT_ONCE));
            }
        }
    }

    /// How somebody ended whom nobody has buried yet, as `/proc` shows it.
    fn shown(&self, handle: &Handle) -> Option<ExitStatus> {
        let status = self.kernel.end_of(self.child(handle.pid, handle.birth)?)?;
        ExitStatus::from_wait(status, Evidence::Procfs)
    }

    fn buried_child(&mut self, pid: Pid) {
        self.watched.retain(|watched| watched.pid != pid);
        self.after_burial(pid);
    }
}

impl Kernel for World<'_> {
    type Handle = Handle;

    fn now(&mut self) -> Time {
        self.now
    }

    fn spawn(&mut self, key: ChildKey) -> Result<(Pid, Handle), SpawnError> {
        self.steal_a_wait();
        if key.role == Role::Main {
            let at = self.place(key.service);
            self.seats[at].life = key.generation;
        }
        let born = self.bear(key);
        if let Err(error) = &born {
            self.log.note(self.now, ("stillborn", error.errno));
            self.log.say(self.now, "supervisor", format_args!("no child: {error}"));
        }
        born
    }

    fn watch(&mut self, pid: Pid, handle: &Handle) -> Result<(), Errno> {
        self.step();
        if self.faults.fires(Fault::WatchRefused) {
            return Err(Errno::ENOSPC);
        }
        self.checks.watched(handle.birth);
        if self.options.broken != Some(Breakage::ForgetsToWatch) {
            self.watched.push(Watched { pid, fd: handle.fd, birth: handle.birth });
        }
        Ok(())
    }

    fn wait(&mut self, handle: &Handle) -> Result<Option<ExitStatus>, Errno> {
        self.steal_a_wait();
        let wait = Wait::any().no_hang();
        self.burying = self.child(handle.pid, handle.birth);
        let answer = self.call(Call::WaitidPidfd(handle.fd, wait));
        // A child of a supervisor before us: only the handle tells of it.
        if answer == Err(Errno::ECHILD)
            && !self.killed
            && !self.kernel.pidfd_is_readable(self.supervisor, handle.fd)
        {
            return Ok(None);
        }
        let Value::Waited(waited) = answer? else { return Ok(None) };
        self.buried_child(handle.pid);
        if self.options.broken == Some(Breakage::BuriesTwice) {
            self.play();
            let _ = self.call(Call::Wait4(Wait::any().no_hang()));
        }
        Ok(end_of(waited))
    }

    fn part(&mut self, handle: Handle) {
        self.watched.retain(|watched| watched.birth != handle.birth);
        self.step();
        if self.killed {
            return;
        }
        self.let_go_of(handle.birth);
        let _ = self.call(Call::Close(handle.fd));
    }

    fn obituary(&mut self, handle: &Handle) -> ExitStatus {
        match self.call(Call::PidfdEnd(handle.fd)) {
            Ok(Value::Number(status)) => {
                ExitStatus::from_wait(status, Evidence::Pidfd).unwrap_or(ExitStatus::UNKNOWN)
            }
            _ => self.shown(handle).unwrap_or(ExitStatus::UNKNOWN),
        }
    }

    fn next_change(&mut self) -> Option<(Pid, Change)> {
        // As on Linux: all stops are told before the first end.
        let look = Wait { exited: false, stopped: true, continued: true, ..Wait::any() }.no_hang();
        let stop = if self.stops_told { None } else { self.look_for(look) };
        self.stops_told = stop.is_none();
        let peek = Wait { no_wait: true, ..Wait::any() }.no_hang();
        let waited = stop.or_else(|| self.look_for(peek))?;
        let change = match end_of(waited) {
            Some(status) => Change::Exited(status),
            None if waited.status == 0xffff => Change::Continued,
            None => Change::Stopped,
        };
        self.breaks_change(Pid::new(waited.pid)?, change)
    }

    fn bury(&mut self, pid: Pid) -> Option<ExitStatus> {
        self.burying = self.kernel.find_as(self.supervisor, pid.get()).filter(|_| !self.killed);
        let waited = self.look_for(Wait { who: exactly(pid), ..Wait::any() }.no_hang())?;
        self.after_burial(pid);
        end_of(waited)
    }

    fn signal(&mut self, handle: &Handle, signal: Signal) -> Result<(), Errno> {
        self.steal_a_wait();
        let call = if self.options.broken == Some(Breakage::KillsByNumber) {
            Call::Kill(handle.pid.get(), signal.number())
        } else {
            Call::PidfdSend(handle.fd, signal.number())
        };
        gone_is_fine(self.call(call))
    }

    fn signal_group(&mut self, pid: Pid, handle: &Handle, signal: Signal) -> Result<(), Errno> {
        self.steal_a_wait();
        // The number is the child's as long as nobody has buried it.
        let trusts = self.options.broken == Some(Breakage::KillsByNumber);
        if !trusts && self.call(Call::PidfdSend(handle.fd, 0)).is_err() {
            return Ok(());
        }
        gone_is_fine(self.call(Call::Kill(-pid.get(), signal.number())))
    }

    fn next_signal(&mut self) -> Option<Signal> {
        let Ok(Value::Number(number)) = self.call(Call::Sigtake(READ)) else { return None };
        let signal = Signal::new(number)?;
        if signal == Signal::CHLD {
            self.stops_told = false;
        }
        Some(signal)
    }

    fn signalled(&mut self, signal: Signal) {
        self.log.note(self.now, ("signalled", signal.number()));
    }

    fn poll(&mut self, deadline: Option<Time>, wakes: &mut Vec<Wake>) {
        if self.killed {
            return;
        }
        self.has_heard();
        self.checks.turn(&self.kernel, self.supervisor, self.now);
        if self.log.events() >= self.options.most_events {
            self.be_quiet();
        }
        self.trouble();
        self.play();
        let deadline = deadline.filter(|_| !self.loses_timer());
        self.wait_until(deadline, wakes);
        if !self.killed && !wakes.is_empty() && self.faults.fires(Fault::WakeLate) {
            self.checks.was_late();
            self.kills.were_unheard(wakes);
            wakes.clear();
            let soon = self.now.after(Duration::from_millis(1));
            let _ = self.let_time_pass(Some(soon));
        }
        if self.faults.fires(Fault::SpuriousWake) {
            wakes.push(Wake::Signals);
            wakes.extend((0..self.seats.len()).map(|at| Wake::Tree(self.checks.service(at), Generation(1))));
            wakes.extend(self.watched.iter().map(|watched| Wake::Child(watched.pid)));
        }
        // Who is stopped in a wait does not come out of it before it goes on.
        self.wait_for_supervisor();
        self.log.note(self.now, ("wakes", wakes.len()));
        for wake in wakes.iter() {
            self.log.say(self.now, "wake", format_args!("{wake:?}"));
        }
    }

    fn look(&mut self, service: ServiceId, generation: Generation) -> Tree {
        self.step();
        if self.killed {
            return Tree::Populated(0);
        }
        let populated = self.is_populated(service);
        if !populated || self.options.broken == Some(Breakage::ReleasesPopulated) {
            return Tree::Empty;
        }
        if !self.looked.contains(&(service, generation)) {
            self.looked.push((service, generation));
        }
        let leaf = self.seats[self.place(service)].leaf;
        Tree::Populated(leaf.map_or(0, |leaf| self.kernel.cgroup_members(leaf).len() as u32))
    }

    fn signal_tree(&mut self, service: ServiceId, generation: Generation, signal: Signal) {
        self.step();
        if self.killed {
            return;
        }
        match signal {
            Signal::KILL => self.kill_life((service, generation)),
            _ => self.signal_all(service, signal),
        }
    }

    fn release(&mut self, service: ServiceId, generation: Generation) {
        self.looked.retain(|life| *life != (service, generation));
        self.kills.forget((service, generation));
        if !self.killed && self.is_populated(service) {
            self.checks
                .fail("release", alloc::format!("s{} is released and somebody lives in it", service.0));
        }
    }

    fn arm_schedule(&mut self, service: ServiceId) {
        if self.scenario.sites.has(Fault::WallJumps) {
            return self.arm_on_the_wall(service);
        }
        let wait = Duration::from_millis(self.dice.below(20_000) + 1);
        self.later(wait, Happening::Due(service, self.life));
    }

    fn seat(&mut self, service: ServiceId, slot: Option<u32>) {
        self.step();
        if !self.killed {
            self.take_seat(service, slot);
        }
    }

    fn measure(&mut self, workers: &[ServiceId], closely: bool) -> Measure {
        self.step();
        if self.killed { Measure::default() } else { self.load(workers, closely) }
    }

    fn await_connection(&mut self, pool: PoolId, workers: &[ServiceId]) {
        self.step();
        if !self.killed {
            self.expect_connection(pool, workers);
        }
    }

    fn forget(&mut self, service: ServiceId) {
        self.step();
        if self.killed {
            return;
        }
        self.wall.forget(service);
        if let Some(journal) = &mut self.journal {
            journal.forget(service);
        }
        let at = self.place(service);
        let seat = core::mem::take(&mut self.seats[at]);
        if let Some(leaf) = seat.leaf {
            self.remove_leaf(leaf);
        }
    }

    fn write_down(&mut self, engine: &Engine, touched: Vec<ServiceId>) {
        if !self.killed {
            self.note_services(engine, &touched);
        }
    }

    fn inherit(&mut self, key: ChildKey, _: Pid) -> Option<Handle> {
        self.inherited.remove(&key)
    }

    fn end_the_rest(&mut self) {
        for handle in core::mem::take(&mut self.inherited).into_values() {
            self.checks.is_of_no_use(handle.birth);
            let _ = self.signal_group(handle.pid, &handle, Signal::KILL);
            let _ = self.signal(&handle, Signal::KILL);
            self.part(handle);
        }
        self.bury_by_init();
    }

    fn buried(&mut self, pid: Pid, _: ExitStatus) {
        self.log.note(self.now, ("buried", pid.get()));
        self.log.say(self.now, "supervisor", format_args!("buried the orphan {pid}"));
    }

    fn report(&mut self, report: &Report) {
        if self.killed {
            return;
        }
        self.log.note(self.now, (report.at.as_nanos(), report.service, report.generation));
        if self.log.is_read() {
            let who = report.service.map_or_else(|| "the family".into(), |id| alloc::format!("s{}", id.0));
            self.log.say(self.now, who, format_args!("{}", report.news));
        }
        let populated = report.service.is_some_and(|service| self.is_populated(service));
        self.checks.told(report, self.now, populated, self.scenario.machine.old);
        self.told_of_pool(report);
    }

    fn attend(&mut self, engine: &Engine) -> Option<Event> {
        self.heard = None;
        self.read_output();
        self.write_logs();
        self.hear_lines();
        self.serve_people(engine);
        if self.killed {
            return None;
        }
        // What was asked for counts once the supervisor has been told.
        if self.pending.is_empty() && core::mem::take(&mut self.inspect) && self.has_come_to_rest() {
            let asked = self.scenario.deeds.iter().any(|(_, deed)| *deed != Deed::Upgrade);
            let keeps = self.options.kill_at.is_some() || self.scenario.machine.keep_alive;
            let calm = keeps && !asked && self.scenario.sites == Sites::NONE;
            let of = Settled {
                members: &self.scenario.members,
                calm,
                last_deed: self.last_deed.as_ref(),
                now: self.now,
                unheard: &self.unheard,
                births: &self.births,
                all_die: self.scenario.machine.pid_one,
            };
            self.checks.settled(engine, &self.kernel, self.supervisor, &of);
            self.pools_at_rest(engine);
            self.later(Duration::from_millis(10), Happening::End(Haste::Orderly));
        }
        self.upgrade_if_asked(engine);
        if self.killed {
            return None;
        }
        let event = self.pending.pop_front()?;
        if let Event::Noticed { service, .. } = &event {
            self.heard = Some(self.place(*service));
        }
        self.log.note(self.now, ("event", self.pending.len()));
        self.log.say(self.now, "event", format_args!("{event:?}"));
        self.hears(&event);
        let command = matches!(event, Event::Command(_));
        if let (true, Some((at, _))) = (command, &mut self.last_deed) {
            // It counts from when the supervisor is told.
            *at = self.now;
        }
        if command && self.options.broken == Some(Breakage::DropsEvents) && self.dice.below(3) == 0 {
            return None;
        }
        Some(event)
    }
}

impl World<'_> {
    /// Whether a while has gone by since the supervisor was told what people asked for last; else it is looked at later. One that
    /// was stopped may hear of it only when all should have come to rest.
    fn has_come_to_rest(&mut self) -> bool {
        let since = self.last_deed.map_or(play::QUIET, |(at, _)| self.now.since(at));
        let left = play::QUIET.saturating_sub(since);
        if !left.is_zero() {
            self.later(left, Happening::Settled);
        }
        left.is_zero()
    }
}

/// A signal to somebody who has ended needs not arrive.
fn gone_is_fine(sent: crate::kernel::call::Reply) -> Result<(), Errno> {
    match sent {
        Ok(_) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno),
    }
}

impl World<'_> {
    /// What a broken reaper makes of a change.
    fn breaks_change(&mut self, pid: Pid, change: Change) -> Option<(Pid, Change)> {
        match (self.options.broken, change) {
            (Some(Breakage::NeverBuriesAdopted), Change::Exited(_)) => {
                self.watched.iter().any(|watched| watched.pid == pid).then_some((pid, change))
            }
            (Some(Breakage::ReapsOnce), _) => {
                // One change for each SIGCHLD.
                let told = core::mem::replace(&mut self.checks.told_once, true);
                if told {
                    self.checks.told_once = false;
                }
                (!told).then_some((pid, change))
            }
            _ => Some((pid, change)),
        }
    }

    fn loses_timer(&mut self) -> bool {
        self.options.broken == Some(Breakage::LosesTimers) && self.dice.below(10) == 0
    }
}
