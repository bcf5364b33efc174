//! The birth of the main process, and what is known of it afterwards.

use super::terminal::{self, Place};
use alloc::string::String;
use alloc::vec::Vec;
use doula_core::init::{Face, Options, Suspend, candidates, passes_sockets};
use doula_model::id::Pid;
use doula_model::plan::{ChildPlan, Errno, Session, SpawnError, Step};
use doula_model::signal::Signal;
use doula_sys::fd::{self, Access, OwnedFd, Standard};
use doula_sys::fork::{self, Born};
use doula_sys::signal::{self, Disposition, SignalSet};
use doula_sys::{Result, group, pidfd};

/// The signals that we were started with.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    ignored: Vec<Signal>,
    blocked: Vec<Signal>,
}

/// Blocks all signals, so that each waits until it is taken, and sees to it that dead children stay until they
/// are buried. What was before is returned if it is wanted.
pub(super) fn take_signals(keep: bool) -> Inherited {
    let before = signal::set_mask(SignalSet::FULL);
    let mut inherited = Inherited::default();
    if keep {
        let all = || Signal::all().filter(|signal| !matches!(*signal, Signal::KILL | Signal::STOP));
        inherited.ignored = all().filter(|s| signal::disposition(*s) == Disposition::Ignored).collect();
        inherited.blocked = all().filter(|signal| before.contains(*signal)).collect();
    }
    // A parent that ignores SIGCHLD would otherwise make us one that never hears how the main process ended.
    let done = signal::reset(Signal::CHLD);
    debug_assert!(done.is_ok(), "SIGCHLD can be reset");
    inherited
}

/// Gives birth to the main process, and says when we stop ourselves with it.
pub(super) fn give(
    options: &Options,
    own: Pid,
    env: Vec<Vec<u8>>,
    inherited: Inherited,
) -> core::result::Result<(Main, Suspend), SpawnError> {
    let Place { session, suspend, left } = terminal::place(options, own);
    let name = options.command.first().map_or(&b""[..], Vec::as_slice);
    let mut plan = ChildPlan {
        programs: candidates(name, &env),
        args: options.command.clone(),
        listen_pid: passes_sockets(&env, own),
        keep_fds: true,
        session,
        ignored_signals: inherited.ignored,
        blocked_signals: inherited.blocked,
        env,
        ..ChildPlan::default()
    };
    if plan.listen_pid {
        // It names the handle of whoever LISTEN_PID named before; without it nothing is compared.
        plan.env.retain(|entry| !entry.starts_with(b"LISTEN_PIDFDID="));
    }
    let born = spawn(&mut plan)?;
    if options.face != Face::Tini {
        // A working directory of ours would keep its file system from being unmounted.
        let _ = fd::change_directory(c"/");
    }
    Ok((Main::new(born, plan.session, left), suspend))
}

/// A terminal that belongs to another session cannot be had, and is not needed; a script without `#!` is the
/// shell's, as execvp(3) wants it.
fn spawn(plan: &mut ChildPlan) -> core::result::Result<Born, SpawnError> {
    loop {
        match (fork::spawn(plan), plan.session) {
            (Err(SpawnError { step: Step::Terminal, .. }), Session::NewSession { terminal: Some(_) }) => {
                plan.session = Session::NewSession { terminal: None };
            }
            (Err(SpawnError { step: Step::Terminal, .. }), Session::NewGroup { terminal: Some(_) }) => {
                plan.session = Session::NewGroup { terminal: None };
            }
            (Err(SpawnError { step: Step::Exec, errno: Errno::ENOEXEC }), _) if plan.programs != [SHELL] => {
                hand_to_shell(plan);
            }
            (answer, _) => return answer,
        }
    }
}

const SHELL: &[u8] = b"/bin/sh";

fn hand_to_shell(plan: &mut ChildPlan) {
    let mut programs = core::mem::take(&mut plan.programs);
    let script = programs.iter().position(|file| readable(file)).map(|index| programs.swap_remove(index));
    let rest = plan.args.iter().skip(1).cloned();
    plan.args = [SHELL.to_vec(), script.unwrap_or_default()].into_iter().chain(rest).collect();
    plan.programs = Vec::from([SHELL.to_vec()]);
}

fn readable(file: &[u8]) -> bool {
    alloc::ffi::CString::new(file).is_ok_and(|file| fd::open(&file, Access::Read).is_ok())
}

/// The command's name, for messages: no control byte of it reaches a terminal.
pub(super) fn shown(command: &[Vec<u8>]) -> String {
    let name = command.first().map_or(&b""[..], Vec::as_slice);
    String::from_utf8_lossy(name).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The main process.
#[derive(Debug)]
pub(super) struct Main {
    /// Its number, which is its own until it is buried.
    pub(super) pid: Pid,
    /// Its handle.
    pub(super) handle: OwnedFd,
    /// Whether it leads a session of its own.
    pub(super) session: bool,
    /// Whether it leads a group of its own.
    pub(super) leads: bool,
    /// Whether our terminal's foreground was given to its group.
    borrowed: bool,
    /// Whether we gave up our own terminal for it.
    pub(super) left_terminal: bool,
    /// Whether it was buried.
    pub(super) buried: bool,
}

impl Main {
    fn new(born: Born, session: Session, left_terminal: bool) -> Main {
        Main {
            pid: born.pid,
            handle: born.pidfd,
            session: matches!(session, Session::NewSession { .. }),
            leads: session != Session::Inherit,
            borrowed: matches!(session, Session::NewGroup { .. }),
            left_terminal,
            buried: false,
        }
    }

    /// Sends a signal to its group, or to it alone when the group is ours.
    pub(super) fn send_group(&self, signal: Signal) -> Result<()> {
        if !self.leads {
            return pidfd::send(&self.handle, signal);
        }
        match pidfd::send_to_group(&self.handle, signal) {
            // Before Linux 6.9. The number is the group's own while anybody is in it.
            Err(Errno::EINVAL) => pidfd::send_group(self.pid, signal),
            answer => answer,
        }
    }

    /// Whether a signal does to it what signal(7) says: it neither catches nor ignores it. Where `/proc` does
    /// not tell, yes.
    pub(super) fn leaves_to_default(&self, signal: Signal) -> bool {
        super::sweep::treated(self.pid).is_none_or(|treated| !treated.contains(signal))
    }

    /// Gives the foreground of the terminal to it again, when a shell has given it back to us. When that is not so,
    /// or fails, the main process is in the background, and is told so by its next read.
    pub(super) fn lend_terminal(&self) -> bool {
        let terminal = fd::standard(Standard::In);
        self.borrowed
            && group::foreground(terminal) == group::getpgid(None)
            && group::set_foreground(terminal, self.pid).is_ok()
    }

    /// Takes the foreground back, so that a script that called us finds it as it was.
    pub(super) fn take_terminal_back(&self) {
        let terminal = fd::standard(Standard::In);
        if self.borrowed
            && group::foreground(terminal) == Ok(self.pid)
            && let Ok(own) = group::getpgid(None)
        {
            // When it fails the shell above does it.
            let _ = group::set_foreground(terminal, own);
        }
    }
}
