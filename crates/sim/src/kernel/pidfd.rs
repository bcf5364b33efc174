//! Handles of processes: pidfd_open(2), pidfd_send_signal(2), poll(2), waitid(2) with `P_PIDFD`, and what is told
//! of an end that somebody else took.
//!
//! kernel/pid.c, fs/pidfs.c. A handle keeps what the number named, never the number: that may be given away.

use super::call::{Reply, Value, Wait};
use super::fd::What;
use super::mutant::Mutant;
use super::signal::{From, checked};
use super::sigset::Code;
use super::slab::{PidId, TaskId};
use super::task::{Place, Restart, Sleep, Target};
use super::version::KernelVersion;
use super::{Kernel, Part};
use doula_model::plan::Errno;

impl Kernel {
    pub(crate) fn sys_pidfd_open(&mut self, task: TaskId, number: i32) -> Reply {
        if number <= 0 {
            return Err(Errno::EINVAL);
        }
        let pid = self.find_pid(self.space_of(task), number).ok_or(Errno::ESRCH)?;
        let tells = self.has(KernelVersion::PIDFD_EXIT_INFO);
        // The number of a group or session whose leader is gone, and that of a thread.
        let (nobody, thread) =
            if tells { (Errno::ESRCH, Errno::ENOENT) } else { (Errno::EINVAL, Errno::EINVAL) };
        let found = self.pids[pid].task.ok_or(nobody)?;
        if self.process(found).leader != found {
            return Err(thread);
        }
        self.hold_pid(pid);
        let fd = self.add_open(task, What::Pidfd(pid), true);
        fd.inspect_err(|_| self.let_go_of_pid(pid)).map(Value::Number)
    }

    fn pid_of(&self, task: TaskId, fd: i32) -> Result<PidId, Errno> {
        match self.open[self.open_of(task, fd)?].what {
            What::Pidfd(pid) => Ok(pid),
            What::ReadEnd(_) | What::WriteEnd(_) | What::File(..) => Err(Errno::EBADF),
            What::Master(_) | What::Slave(_) => Err(Errno::EBADF),
            What::Listener(_) | What::Connection(_) | What::End(_) => Err(Errno::EBADF),
        }
    }

    pub(crate) fn sys_pidfd_send(&mut self, task: TaskId, fd: i32, signal: i32) -> Reply {
        let pid = self.pid_of(task, fd)?;
        let target = self.pids[pid].task;
        if target.is_some_and(|found| self.tasks[found].is_zombie()) && self.bent(Mutant::HandleOfZombieFails)
        {
            return Err(Errno::ESRCH);
        }
        self.kill_one(From::Caller(task, Code::User), target, checked(signal))
    }

    pub(crate) fn sys_poll_pidfd(&mut self, task: TaskId, fd: i32) -> Part {
        match self.pid_of(task, fd) {
            Ok(pid) => {
                self.hold_pid(pid);
                self.poll_again(task, pid)
            }
            Err(errno) => errno.into(),
        }
    }

    /// Readable when the whole process has ended, buried or not.
    pub(crate) fn poll_again(&mut self, task: TaskId, pid: PidId) -> Part {
        let part = if self.has_ended(pid) || self.bent(Mutant::HandleReadableAtOnce) {
            Part::Done(Ok(Value::Number(1)))
        } else if self.tasks[task].kicked {
            Part::Interrupted(Restart::Never)
        } else {
            return Part::Sleep(Sleep::Poll(pid));
        };
        self.let_go_of_pid(pid);
        part
    }

    pub(crate) fn handle_has_ended(&self, task: TaskId, fd: i32) -> bool {
        self.pid_of(task, fd).is_ok_and(|pid| self.has_ended(pid))
    }

    fn has_ended(&self, pid: PidId) -> bool {
        self.pids[pid]
            .task
            .is_none_or(|found| self.tasks[found].has_ended() && self.process(found).others.is_empty())
    }

    /// A process has ended: who polls its handle looks again.
    pub(crate) fn wake_pollers(&mut self, pid: PidId) {
        if !self.is_held(pid) {
            return;
        }
        for task in self.tasks.numbers() {
            let place = self.tasks.get(task).map(|row| row.place);
            if matches!(place, Some(Place::Asleep { what: Sleep::Poll(polled), .. }) if polled == pid) {
                self.wake(task);
            }
        }
    }

    /// waitid(2) with `P_PIDFD`. A handle that does not block makes the call not block.
    pub(crate) fn sys_waitid_pidfd(&mut self, task: TaskId, fd: i32, wait: &Wait) -> Part {
        if !(wait.exited || wait.stopped || wait.continued) || fd < 0 {
            return Errno::EINVAL.into();
        }
        let (pid, open) = match (self.pid_of(task, fd), self.open_of(task, fd)) {
            (Ok(pid), Ok(open)) => (pid, open),
            (Err(errno), _) | (_, Err(errno)) => return errno.into(),
        };
        let nonblocking = self.open[open].nonblocking && !wait.no_hang;
        self.hold_pid(pid);
        let wait = Wait { no_hang: wait.no_hang || nonblocking, ..*wait };
        let part = self.look_again(task, Target::Pid(pid), &wait);
        let nothing = matches!(part, Part::Done(Ok(Value::Number(0))));
        if nothing && nonblocking { Errno::EAGAIN.into() } else { part }
    }

    /// `PIDFD_GET_INFO`: the status of an end that was taken, by us or by somebody else. Since Linux 6.15.
    pub(crate) fn sys_pidfd_end(&self, task: TaskId, fd: i32) -> Reply {
        let pid = self.pid_of(task, fd)?;
        if !self.has(KernelVersion::PIDFD_EXIT_INFO) {
            return Err(Errno::ENOTTY);
        }
        let zombie = self.pids[pid].task.filter(|found| self.tasks[*found].is_zombie());
        if let Some(zombie) = zombie.filter(|_| self.bent(Mutant::EndToldBeforeBurial)) {
            return Ok(Value::Number(self.end_status(zombie)));
        }
        match (self.pids[pid].task, self.pids[pid].end) {
            (None, Some(status)) => Ok(Value::Number(status)),
            _ => Err(Errno::ESRCH),
        }
    }
}
