//! Births as `doula-host` brings them about: a control group, a child by clone(2) that shares our memory while we
//! wait, its steps as data, and execve(2). Each of these is a call on the simulated kernel, and can fail.

use super::breakage::Breakage;
use super::calls::{Handle, NULL, OUTPUT};
use super::faults::Fault;
use super::stage::Voice;
use super::{Seat, World};
use crate::kernel::call::{Call, Clone as How, Mask, Reply, Value, Wait, Who};
use crate::kernel::sigset::{Action, SigSet};
use crate::kernel::{CgroupId, Fault as Broken, ForkStep, Program, TaskId};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use doula_model::id::{ChildKey, Pid, Role};
use doula_model::plan::{Errno, SpawnError, Step};
use doula_model::signal::Signal;

pub(super) const PROGRAM: &str = "/bin/service";
pub(super) const BUSY: &str = "/bin/busy";
pub(super) const REFUSED: &str = "/bin/refused";
pub(super) const DAMAGED: &str = "/bin/damaged";
/// Longer than any argument may be.
const TOO_LONG: usize = 200_000;

/// The smallest file that Linux executes: an ELF header and one segment.
pub(crate) fn executable() -> Vec<u8> {
    let mut bytes = alloc::vec![0; 120];
    bytes[..16].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    let fields: [(usize, u16); 7] = [(16, 2), (18, 62), (20, 1), (32, 64), (52, 64), (54, 56), (56, 1)];
    for (at, value) in fields {
        bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    bytes[64] = 1;
    bytes
}

/// How far a child came.
enum Came {
    /// It executes its program.
    Through,
    /// This step failed, and it has ended.
    Failed(SpawnError),
    /// It was killed before its first step.
    Nowhere,
    /// It was killed later.
    Killed,
}

impl World<'_> {
    /// The whole birth.
    pub(super) fn bear(&mut self, key: ChildKey) -> Result<(Pid, Handle), SpawnError> {
        if self.faults.fires(Fault::NoDescriptor) {
            return Err(SpawnError { step: Step::Prepare, errno: Errno::EMFILE });
        }
        let leaf = self.leaf(key).map_err(|errno| SpawnError { step: Step::Cgroup, errno })?;
        if self.faults.fires(Fault::SlowBirth) {
            let slow = Duration::from_millis(self.faults.below(Fault::SlowBirth, 3_000));
            self.checks.excuse(slow);
            self.now = self.now.after(slow);
        }
        let child = self.clone_child(leaf).map_err(|errno| SpawnError { step: Step::Clone, errno })?;
        let birth = self.kernel.birth(child);
        let came = self.through_plan(key, child, birth, leaf);
        if matches!(came, Came::Through | Came::Killed) {
            self.checks.born(&self.kernel, key, (child, birth), self.now);
        }
        let born = match self.result_of_call(None) {
            Ok(Value::Number(number)) => number,
            _ => return Err(SpawnError { step: Step::Clone, errno: Errno::EINTR }),
        };
        let Some(pid) = Pid::new(born) else {
            return Err(SpawnError { step: Step::Clone, errno: Errno::EIO });
        };
        let fd = match self.call(Call::PidfdOpen(born)) {
            Ok(Value::Number(fd)) => fd,
            Ok(_) => -1,
            Err(errno) => return Err(SpawnError { step: Step::Clone, errno }),
        };
        let failed = match came {
            Came::Through | Came::Killed => None,
            Came::Failed(error) => Some(error),
            Came::Nowhere => Some(SpawnError { step: Step::Cgroup, errno: Errno::EAGAIN }),
        };
        if let Some(error) = failed {
            let _ = self.call(Call::WaitidPidfd(fd, Wait::any()));
            let _ = self.call(Call::Close(fd));
            self.after_burial(pid);
            return Err(error);
        }
        let handle = Handle { pid, fd, birth };
        self.hold_child(key, handle);
        if self.faults.fires(Fault::ChildFirst) {
            self.play();
        }
        Ok((pid, handle))
    }

    /// The control group of a service; a new one if the last was killed as a whole.
    fn leaf(&mut self, key: ChildKey) -> Result<CgroupId, Errno> {
        if self.faults.fires(Fault::NoGroup) {
            return Err(Errno::ENOSPC);
        }
        self.step();
        let at = self.place(key.service);
        let Seat { leaf, killed, life } = self.seats[at];
        let elsewhere = leaf.is_some_and(|leaf| self.leaves.get(&(self.family, at)) != Some(&leaf));
        let kept = leaf.filter(|leaf| !killed || !self.remove_leaf(*leaf));
        let leaf = match kept {
            Some(leaf) => leaf,
            None => {
                let leaf = self.make_leaf(at)?;
                self.seats[at] = Seat { leaf: Some(leaf), killed: false, life };
                if elsewhere {
                    self.has_moved(key);
                }
                leaf
            }
        };
        Ok(leaf)
    }

    /// clone3(2) into the group. The supervisor sleeps until the child executes its program or is gone.
    fn clone_child(&mut self, leaf: CgroupId) -> Result<TaskId, Errno> {
        self.step();
        if !self.wait_for_supervisor() {
            return Err(Errno::EINTR);
        }
        if self.faults.fires(Fault::ForkAgain) {
            self.kernel.inject(Broken::Fork(ForkStep::Limits, Errno::EAGAIN));
        } else if self.faults.fires(Fault::ForkMemory) {
            self.kernel.inject(Broken::Fork(ForkStep::Memory, Errno::ENOMEM));
        }
        let before: u64 = self.kernel.births();
        let how = How { vm: true, vfork: true, cgroup: Some(leaf), ..How::FORK };
        self.kernel.enter(self.supervisor, Call::Clone(how));
        self.kernel.settle();
        self.log.note(self.now, "clone");
        match self.kernel.child_of_vfork(self.supervisor) {
            Some(child) => {
                self.log.say(self.now, "supervisor", format_args!("{} -> asleep", Call::Clone(how)));
                debug_assert!(self.kernel.birth(child) > before, "a new child");
                Ok(child)
            }
            None => match self.result_of_call(Some(String::from("clone"))) {
                Err(errno) => Err(errno),
                Ok(_) => Err(Errno::EIO),
            },
        }
    }

    /// The child's steps, in the order of [`Step`].
    fn through_plan(&mut self, key: ChildKey, child: TaskId, birth: u64, leaf: CgroupId) -> Came {
        if self.faults.fires(Fault::KilledBeforeFirstStep) {
            self.kernel.signal_from_kernel(child, Signal::KILL);
            return Came::Nowhere;
        }
        for (step, call) in self.plan(key.role) {
            match self.child_call(child, birth, call) {
                None => return Came::Killed,
                Some(Ok(_)) => {}
                Some(Err(errno)) => return self.child_fails(child, birth, SpawnError { step, errno }),
            }
        }
        let program = self.program();
        let answer = if self.faults.fires(Fault::ExecIo) && self.kernel.lives(child, birth) {
            Some(Err(Errno::EIO))
        } else {
            self.child_call(child, birth, Call::Execve(Box::new(program)))
        };
        // The child may have died before it came to that.
        self.kernel.take_fault(Broken::AfterNoReturn);
        match answer {
            Some(Err(errno)) => self.child_fails(child, birth, SpawnError { step: Step::Exec, errno }),
            _ if !self.kernel.lives(child, birth) => Came::Killed,
            _ => {
                let socket = self.scenario.clients.is_some() && key.role == Role::Main;
                self.checks.executed(&self.kernel, child, (leaf, socket));
                let at = self.place(key.service);
                let member = &self.scenario.members[at];
                let script = if key.role == Role::Main { &member.main } else { &member.helper };
                let voice = Voice { life: self.life, member: at, key };
                self.stage.enter(&self.kernel, child, script, voice);
                if key.role == Role::Main {
                    self.is_the_only_one(at, child, birth);
                    self.accompany(at, child);
                }
                Came::Through
            }
        }
    }

    /// Where kills miss somebody, half of all have a child that forks at any moment; but whoever waits for all of its children before
    /// it ends would never end.
    fn accompany(&mut self, at: usize, child: TaskId) {
        let waits = self.scenario.members[at].habit.waits_for_children();
        let misses = self.scenario.sites.has(Fault::KillMisses) && !waits;
        if misses && self.faults.below(Fault::KillMisses, 2) == 0 {
            self.stage.accompany(&mut self.kernel, child);
        }
    }

    /// No service has two main processes, whoever is its supervisor.
    fn is_the_only_one(&mut self, member: usize, child: TaskId, birth: u64) {
        self.births[member] += 1;
        let before = self.mains.insert(member, (child, birth));
        let Some((task, birth)) = before else { return };
        if self.kernel.lives(task, birth) && self.kernel.end_of(task).is_none() {
            let number = self.kernel.look(task).map_or(0, |look| look.pid);
            self.checks
                .fail("twice", alloc::format!("member {member} runs as process {number}, and once more"));
        }
    }

    fn child_fails(&mut self, child: TaskId, birth: u64, error: SpawnError) -> Came {
        match self.child_call(child, birth, Call::ExitGroup(127)) {
            None => Came::Failed(error),
            Some(_) => Came::Killed,
        }
    }

    /// What the plan of every service says: a session, nothing blocked and nothing ignored, no other descriptors.
    fn plan(&self, role: Role) -> Vec<(Step, Call)> {
        let mut plan = Vec::from([(Step::Session, Call::Setsid)]);
        plan.push((Step::Fds, Call::SetCloexec(NULL, false)));
        plan.push((Step::Fds, Call::Dup2(OUTPUT, 1)));
        plan.push((Step::Fds, Call::SetCloexec(OUTPUT, false)));
        plan.extend(self.socket_for(role).into_iter().map(|call| (Step::Fds, call)));
        plan.extend(
            [Signal::HUP, Signal::PIPE]
                .map(|signal| (Step::Signals, Call::Sigaction(signal, Action::DEFAULT))),
        );
        if self.options.broken != Some(Breakage::MaskInherited) {
            plan.push((Step::Signals, Call::Sigprocmask(Mask::Set, SigSet::EMPTY)));
        }
        plan
    }

    fn program(&mut self) -> Program {
        let wrong = [
            (Fault::ExecMissing, "/bin/missing"),
            (Fault::ExecRefused, REFUSED),
            (Fault::ExecFormat, DAMAGED),
            (Fault::ExecBusy, BUSY),
        ];
        let path = wrong.into_iter().find(|(fault, _)| self.faults.fires(*fault));
        let mut program = Program::new(path.map_or(PROGRAM, |(_, path)| path));
        if self.faults.fires(Fault::ExecTooBig) {
            program.args.push("x".repeat(TOO_LONG));
        }
        if self.faults.fires(Fault::ExecNoReturn) {
            self.kernel.inject(Broken::AfterNoReturn);
        }
        program
    }

    /// A call of the child before its program; `None` when it does not come back from it.
    fn child_call(&mut self, child: TaskId, birth: u64, call: Call) -> Option<Reply> {
        self.step();
        if self.kernel.lives(child, birth) && self.faults.fires(Fault::KilledBeforeExec) {
            self.kernel.signal_from_kernel(child, Signal::KILL);
        }
        if !self.kernel.lives(child, birth) {
            return None;
        }
        let text = self.log.is_read().then(|| alloc::format!("{call}"));
        self.kernel.enter(child, call);
        self.kernel.settle();
        let reply = if self.kernel.lives(child, birth) { self.kernel.take_reply(child) } else { None };
        self.log.note(self.now, &reply);
        if let Some(text) = text {
            let said = reply.as_ref().map(|reply| alloc::format!(" -> {}", crate::program::Said(reply)));
            self.log.say(self.now, "child", format_args!("{text:.60}{}", said.unwrap_or_default()));
        }
        reply
    }
}

/// Who is meant by a number that the supervisor was told.
pub(super) const fn exactly(pid: Pid) -> Who {
    Who::Pid(pid.get())
}
