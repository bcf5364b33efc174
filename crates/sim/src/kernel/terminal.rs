//! Terminals: pairs of a master and a slave end, whose session they are, who is in the foreground, and what the others hear.
//!
//! drivers/tty/tty_jobctrl.c (`__tty_check_change`, `tiocsctty`, `tiocspgrp`, `disassociate_ctty`, `tty_signal_session_leader`),
//! tty_io.c, n_tty.c and pty.c. Terminals are raw (cfmakeraw(3)): bytes go through as they are.
//!
//! Absent on purpose: lines, echo, keys that make signals (but see [`TtyCall::Key`]), and a limit of what waits to be read.
//! As on Linux, who cannot be stopped by SIGTTIN and begins the call again (an init, a handler with SA_RESTART) never comes to rest:
//! [`Kernel::settle`] leaves it running, and [`Kernel::successors`] knows no end.

use super::call::{Call, Reply, TtyCall, Value};
use super::fd::What;
use super::mutant::Mutant;
use super::signal::From;
use super::sigset::{Code, Disposition};
use super::slab::{OpenId, PidId, ProcessId, TaskId, TerminalId};
use super::task::{Place, Restart, Sleep};
use super::{Kernel, Part};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use doula_model::plan::Errno;
use doula_model::signal::Signal;

/// A pair. When its master is closed, the slave is hung up: for ever, because nobody can open it again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Terminal {
    master_is_open: bool,
    /// Open files of the slave.
    slaves: u32,
    /// Processes whose controlling terminal it is.
    controlled: u32,
    session: Option<PidId>,
    /// The foreground group, which may be gone.
    foreground: Option<PidId>,
    /// TOSTOP: who writes from the background is stopped.
    stops_writers: bool,
    to_slave: VecDeque<u8>,
    to_master: VecDeque<u8>,
}

impl Terminal {
    const NEW: Terminal = Terminal {
        master_is_open: true,
        slaves: 1,
        controlled: 0,
        session: None,
        foreground: None,
        stops_writers: false,
        to_slave: VecDeque::new(),
        to_master: VecDeque::new(),
    };

    /// What one end reads.
    fn incoming(&mut self, end: What) -> &mut VecDeque<u8> {
        if matches!(end, What::Slave(_)) { &mut self.to_slave } else { &mut self.to_master }
    }
}

/// Why a call did not get past the control of jobs.
enum Held {
    /// EIO or ENOTTY: it would be stopped, and is not to be or nobody could continue it.
    Refused,
    /// The group was signalled.
    Stopped,
}

impl Kernel {
    /// openpty(3) in raw mode. Nobody's controlling terminal (O_NOCTTY).
    pub(crate) fn sys_pty(&mut self, task: TaskId) -> Reply {
        let terminal = self.terminals.insert(Terminal::NEW);
        let master = self.add_open(task, What::Master(terminal), false);
        let master = master.inspect_err(|_| drop(self.terminals.remove(terminal)))?;
        match self.add_open(task, What::Slave(terminal), false) {
            Ok(slave) => Ok(Value::Pair(master, slave)),
            Err(errno) => {
                self.terminals[terminal].slaves = 0;
                self.sys_close(task, master)?;
                Err(errno)
            }
        }
    }

    /// open(2) of `/dev/tty`.
    pub(crate) fn sys_open_tty(&mut self, task: TaskId) -> Reply {
        let terminal = self.process(task).terminal.ok_or(Errno::ENXIO)?;
        self.add_slave(task, terminal)
    }

    fn add_slave(&mut self, task: TaskId, terminal: TerminalId) -> Reply {
        let fd = self.add_open(task, What::Slave(terminal), false)?;
        self.terminals[terminal].slaves += 1;
        Ok(Value::Number(fd))
    }

    pub(crate) fn sys_terminal(&mut self, task: TaskId, fd: i32, call: TtyCall) -> Part {
        let what = match self.open_of(task, fd) {
            Ok(open) => self.open[open].what,
            Err(errno) => return errno.into(),
        };
        match (what, call) {
            (What::Slave(terminal), _) if !self.terminals[terminal].master_is_open => {
                let foreground = matches!(call, TtyCall::SetForeground(_));
                if foreground { Errno::ENOTTY.into() } else { Errno::EIO.into() }
            }
            (What::Slave(_), TtyCall::OpenSlave) => Errno::EIO.into(),
            (What::Slave(_), TtyCall::Key(_)) => Errno::ENOTTY.into(),
            (What::Slave(terminal) | What::Master(terminal), _) => {
                let master = matches!(what, What::Master(_));
                self.terminal_call(task, terminal, call, master)
            }
            (What::ReadEnd(_) | What::WriteEnd(_) | What::File(..) | What::Pidfd(_), _)
            | (What::Listener(_) | What::Connection(_) | What::End(_), _) => Errno::ENOTTY.into(),
        }
    }

    fn terminal_call(&mut self, task: TaskId, terminal: TerminalId, call: TtyCall, master: bool) -> Part {
        // Who holds the master may ask about any session's terminal.
        let own = self.process(task).terminal == Some(terminal);
        Part::Done(match call {
            TtyCall::OpenSlave => self.open_slave(task, terminal),
            TtyCall::Take { steal } => self.take_terminal(task, terminal, steal),
            TtyCall::GiveUp if own && !master => self.give_up_terminal(task),
            TtyCall::SetForeground(group) => match self.control(task, terminal, Signal::TTOU) {
                Err(Held::Stopped) => return STOPPED,
                Err(Held::Refused) => Err(Errno::ENOTTY),
                Ok(()) => self.set_foreground(task, terminal, group),
            },
            TtyCall::StopWriters(on) => match self.control(task, terminal, Signal::TTOU) {
                Err(Held::Stopped) => return STOPPED,
                Err(Held::Refused) => Err(Errno::EIO),
                Ok(()) => {
                    self.terminals[terminal].stops_writers = on;
                    Ok(Value::ZERO)
                }
            },
            TtyCall::Foreground if own || master => {
                Ok(Value::Number(self.name_for(task, self.terminals[terminal].foreground)))
            }
            TtyCall::Session if own || master => {
                let session = self.terminals[terminal].session;
                session.map(|_| Value::Number(self.name_for(task, session))).ok_or(Errno::ENOTTY)
            }
            TtyCall::GiveUp | TtyCall::Foreground | TtyCall::Session => Err(Errno::ENOTTY),
            TtyCall::Key(signal) => self.press_key(terminal, signal),
        })
    }

    /// The number of a group or session that may be gone, as a task sees numbers; 0 for none.
    fn name_for(&self, task: TaskId, pid: Option<PidId>) -> i32 {
        pid.map_or(0, |pid| self.last_number_in(pid, self.space_of(task)))
    }

    /// `TIOCGPTPEER`; a session's leader without a terminal has it then, if it is nobody's.
    fn open_slave(&mut self, task: TaskId, terminal: TerminalId) -> Reply {
        let reply = self.add_slave(task, terminal)?;
        let process = self.process(task);
        let free = self.terminals[terminal].session.is_none();
        if free && process.is_leader && process.terminal.is_none() {
            self.control_terminal(task, terminal);
        }
        Ok(reply)
    }

    fn take_terminal(&mut self, task: TaskId, terminal: TerminalId, steal: bool) -> Reply {
        let process = self.process(task);
        let holder = self.terminals[terminal].session;
        if process.is_leader && holder == Some(process.session) {
            return Ok(Value::ZERO);
        }
        let leads = process.is_leader || self.bent(Mutant::TerminalTakenByAnybody);
        if !leads || process.terminal.is_some() {
            return Err(Errno::EPERM);
        }
        if let Some(session) = holder {
            if !(steal && self.tasks[task].uid == 0) {
                return Err(Errno::EPERM);
            }
            self.clear_terminal_of(session);
        }
        self.control_terminal(task, terminal);
        Ok(Value::ZERO)
    }

    /// `__proc_set_tty`.
    fn control_terminal(&mut self, task: TaskId, terminal: TerminalId) {
        let (group, session) = (self.process(task).group, self.process(task).session);
        self.name_holder(terminal, Some((session, group)));
        self.terminals[terminal].controlled += 1;
        self.process_mut(task).terminal = Some(terminal);
        self.remember_foreground(task, None);
    }

    /// Whose a terminal is, and who is in the foreground.
    fn name_holder(&mut self, terminal: TerminalId, holder: Option<(PidId, PidId)>) {
        let (session, group) = holder.unzip();
        session.iter().chain(&group).for_each(|pid| self.hold_pid(*pid));
        let row = &mut self.terminals[terminal];
        let old =
            [core::mem::replace(&mut row.session, session), core::mem::replace(&mut row.foreground, group)];
        old.into_iter().flatten().for_each(|pid| self.let_go_of_pid(pid));
    }

    /// `tty_old_pgrp`: who was in the foreground when the terminal was hung up.
    fn remember_foreground(&mut self, task: TaskId, group: Option<PidId>) {
        group.iter().for_each(|pid| self.hold_pid(*pid));
        let old = core::mem::replace(&mut self.process_mut(task).hung_up_group, group);
        old.into_iter().for_each(|pid| self.let_go_of_pid(pid));
    }

    /// A process has no controlling terminal any more.
    pub(crate) fn clear_terminal(&mut self, process: ProcessId) {
        if let Some(terminal) = self.processes[process].terminal.take() {
            self.terminals[terminal].controlled -= 1;
            self.remove_terminal_if_unused(terminal);
        }
    }

    fn clear_terminal_of(&mut self, session: PidId) {
        self.members_of_session(session).into_iter().for_each(|process| self.clear_terminal(process));
    }

    fn members_of_session(&self, session: PidId) -> Vec<ProcessId> {
        let members = self.processes.iter().filter(|(_, process)| process.session == session);
        members.map(|(key, _)| key).collect()
    }

    /// A child has the terminal of its parent.
    pub(crate) fn inherit_terminal(&mut self, child: ProcessId) {
        if self.bent(Mutant::TerminalNotInherited) {
            self.processes[child].terminal = None;
        } else if let Some(terminal) = self.processes[child].terminal {
            self.terminals[terminal].controlled += 1;
        }
    }

    /// `no_tty`: TIOCNOTTY of a leader is the end of the terminal for its whole session.
    fn give_up_terminal(&mut self, task: TaskId) -> Reply {
        if self.process(task).is_leader {
            if let Some(group) = self.foreground_of(task) {
                for signal in [Signal::HUP, Signal::CONT] {
                    let from = From::Task(task, Code::User);
                    let _ = self.kill_group(from, Some(group), Ok(Some(signal)));
                }
            }
            self.let_go_of_terminal(task);
        }
        self.clear_terminal(self.tasks[task].process);
        Ok(Value::ZERO)
    }

    fn foreground_of(&self, task: TaskId) -> Option<PidId> {
        self.terminals[self.process(task).terminal?].foreground
    }

    /// The session of this leader and its terminal part.
    fn let_go_of_terminal(&mut self, task: TaskId) {
        if let Some(terminal) = self.process(task).terminal {
            self.name_holder(terminal, None);
        }
        self.remember_foreground(task, None);
        self.clear_terminal_of(self.process(task).session);
    }

    /// Whether the end of the last thread of a process has to do with a terminal.
    pub(crate) fn leads_at_terminal(&self, task: TaskId) -> bool {
        let process = self.process(task);
        process.is_leader && (process.terminal.is_some() || process.hung_up_group.is_some())
    }

    /// `disassociate_ctty` at the leader's end. Of a pseudo terminal the foreground group hears SIGHUP alone; if it was hung up
    /// before, SIGHUP and SIGCONT.
    pub(crate) fn leader_leaves_terminal(&mut self, task: TaskId) {
        if !self.leads_at_terminal(task) {
            return;
        }
        if self.process(task).terminal.is_none() {
            if let Some(group) = self.process(task).hung_up_group {
                self.tell_group(group, Signal::HUP);
                self.tell_group(group, Signal::CONT);
            }
            return self.remember_foreground(task, None);
        }
        if let Some(group) = self.foreground_of(task).filter(|_| !self.bent(Mutant::LeaderEndUntold)) {
            self.tell_group(group, Signal::HUP);
            if self.bent(Mutant::LeaderEndContinues) {
                self.tell_group(group, Signal::CONT);
            }
        }
        if !self.bent(Mutant::TerminalOutlivesLeader) {
            self.let_go_of_terminal(task);
        }
    }

    /// `__tty_check_change`: may a task read, or write, or change its own terminal?
    fn control(&mut self, task: TaskId, terminal: TerminalId, signal: Signal) -> Result<(), Held> {
        let group = self.process(task).group;
        let foreground = self.terminals[terminal].foreground;
        if self.process(task).terminal != Some(terminal) || foreground.is_none_or(|other| other == group) {
            return Ok(());
        }
        let ignored = self.tasks[task].blocked.has(signal)
            || self.process(task).actions.disposition(signal) == Disposition::Ignore;
        if ignored {
            return if signal == Signal::TTIN { Err(Held::Refused) } else { Ok(()) };
        }
        if self.is_orphaned(group, None) {
            return if self.bent(Mutant::OrphansUseTheTerminal) { Ok(()) } else { Err(Held::Refused) };
        }
        let free = match signal {
            Signal::TTIN => Mutant::BackgroundReads,
            _ => Mutant::BackgroundTakesForeground,
        };
        if self.bent(free) {
            return Ok(());
        }
        self.tell_group(group, signal);
        self.set_kicked(task, true);
        Err(Held::Stopped)
    }

    fn set_foreground(&mut self, task: TaskId, terminal: TerminalId, number: i32) -> Reply {
        if number < 0 {
            return Err(Errno::EINVAL);
        }
        let (own, session) = (self.process(task).terminal, self.process(task).session);
        if own != Some(terminal) || self.terminals[terminal].session != Some(session) {
            return Err(Errno::ENOTTY);
        }
        let group = self.find_pid(self.space_of(task), number).ok_or(Errno::ESRCH)?;
        // Not only groups: Linux takes the number of any process of the session.
        let member = self.group_members(group).next().or(self.pids[group].task);
        let here = member.is_some_and(|member| self.process(member).session == session);
        if !here && !self.bent(Mutant::ForegroundOfAnotherSession) {
            return Err(Errno::EPERM);
        }
        self.name_holder(terminal, Some((session, group)));
        Ok(Value::ZERO)
    }

    /// `TIOCSIG`.
    fn press_key(&mut self, terminal: TerminalId, signal: i32) -> Reply {
        let signal = Signal::new(signal).ok_or(Errno::EINVAL)?;
        if ![Signal::INT, Signal::QUIT, Signal::TSTP].contains(&signal) {
            return Err(Errno::EINVAL);
        }
        if let Some(group) = self.terminals[terminal].foreground {
            self.tell_group(group, signal);
        }
        Ok(Value::ZERO)
    }

    pub(crate) fn read_terminal(&mut self, task: TaskId, open: OpenId, most: usize) -> Part {
        let what = self.open[open].what;
        if let What::Slave(terminal) = what {
            if !self.terminals[terminal].master_is_open {
                return Part::Done(Ok(Value::Bytes(Vec::new())));
            }
            match self.control(task, terminal, Signal::TTIN) {
                Err(Held::Stopped) => return STOPPED,
                Err(Held::Refused) => return Errno::EIO.into(),
                Ok(()) => {}
            }
        }
        self.hold_open(open);
        self.read_terminal_again(task, open, most)
    }

    fn read_terminal_again(&mut self, task: TaskId, open: OpenId, most: usize) -> Part {
        let what = self.open[open].what;
        let (What::Slave(terminal) | What::Master(terminal)) = what else {
            unreachable!("only terminals are slept on so")
        };
        let row = &mut self.terminals[terminal];
        let nobody_writes =
            if matches!(what, What::Slave(_)) { !row.master_is_open } else { row.slaves == 0 };
        let incoming = row.incoming(what);
        let part = if most == 0 || !incoming.is_empty() {
            let bytes: Vec<u8> = incoming.drain(..most.min(incoming.len())).collect();
            Part::Done(Ok(Value::Bytes(bytes)))
        } else if nobody_writes {
            Errno::EIO.into()
        } else if self.open[open].nonblocking {
            Errno::EAGAIN.into()
        } else if self.tasks[task].kicked {
            Part::Interrupted(Restart::IfAsked)
        } else {
            return Part::Sleep(Sleep::Terminal(open));
        };
        self.put_open(open);
        part
    }

    /// A sleeper at a terminal looks again. It is not looked again whether it is in the foreground.
    pub(crate) fn terminal_again(&mut self, task: TaskId, open: OpenId) -> Part {
        let most = match &self.tasks[task].call {
            Some(Call::Read(_, most)) => *most,
            _ => unreachable!("who sleeps at a terminal reads"),
        };
        self.read_terminal_again(task, open, most)
    }

    pub(crate) fn write_terminal(&mut self, task: TaskId, what: What, bytes: &[u8]) -> Part {
        let (What::Slave(terminal) | What::Master(terminal)) = what else {
            unreachable!("only terminals are written to so")
        };
        let to = if matches!(what, What::Slave(_)) {
            if !self.terminals[terminal].master_is_open {
                return Errno::EIO.into();
            }
            if self.terminals[terminal].stops_writers && !self.bent(Mutant::TostopIgnored) {
                match self.control(task, terminal, Signal::TTOU) {
                    Err(Held::Stopped) => return STOPPED,
                    Err(Held::Refused) => return Errno::EIO.into(),
                    Ok(()) => {}
                }
            }
            What::Master(terminal)
        } else {
            What::Slave(terminal)
        };
        self.terminals[terminal].incoming(to).extend(bytes);
        self.wake_terminal(to);
        Part::Done(Ok(Value::Number(bytes.len() as i32)))
    }

    /// Who reads at this end looks again.
    fn wake_terminal(&mut self, end: What) {
        for task in self.tasks.numbers() {
            let place = self.tasks.get(task).map(|row| row.place);
            if let Some(Place::Asleep { what: Sleep::Terminal(open), .. }) = place
                && self.open[open].what == end
            {
                self.wake(task);
            }
        }
    }

    /// The last open file of the master, or one of the slave, is closed.
    pub(crate) fn close_terminal(&mut self, terminal: TerminalId, master: bool) {
        if master {
            self.terminals[terminal].master_is_open = false;
            self.wake_terminal(What::Slave(terminal));
            self.hang_up(terminal);
        } else {
            self.terminals[terminal].slaves -= 1;
            self.wake_terminal(What::Master(terminal));
        }
        self.remove_terminal_if_unused(terminal);
    }

    /// `__tty_hangup`: nobody has it as controlling terminal any more, and the leader of its session is told.
    fn hang_up(&mut self, terminal: TerminalId) {
        let Some(session) = self.terminals[terminal].session else { return };
        let foreground = self.terminals[terminal].foreground;
        for process in self.members_of_session(session) {
            if self.processes[process].terminal == Some(terminal) {
                self.processes[process].terminal = None;
                self.terminals[terminal].controlled -= 1;
            }
            if self.processes[process].is_leader && !self.bent(Mutant::HangupUntold) {
                let leader = self.processes[process].leader;
                self.send(From::Kernel, leader, Signal::HUP, false);
                self.send(From::Kernel, leader, Signal::CONT, false);
                self.remember_foreground(leader, foreground);
            }
        }
        self.name_holder(terminal, None);
    }

    fn remove_terminal_if_unused(&mut self, terminal: TerminalId) {
        let row = &self.terminals[terminal];
        if !row.master_is_open && row.slaves == 0 && row.controlled == 0 {
            self.name_holder(terminal, None);
            self.terminals.remove(terminal);
        }
    }

    /// The foreground group of the controlling terminal, as `/proc/PID/stat` tells it to `viewer`: -1 without a terminal.
    pub(crate) fn foreground_number(&self, viewer: TaskId, task: TaskId) -> i32 {
        let terminal = self.process(task).terminal;
        terminal.map_or(-1, |terminal| self.name_for(viewer, self.terminals[terminal].foreground))
    }
}

/// What the caller does after its group was signalled: it begins again when the signal is over (ERESTARTSYS).
const STOPPED: Part = Part::Interrupted(Restart::IfAsked);
