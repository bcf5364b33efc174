//! Groups and sessions: setpgid(2), setsid(2), and who is orphaned.
//!
//! kernel/sys.c, and `will_become_orphaned_pgrp` of kernel/exit.c.

use super::Kernel;
use super::call::{Reply, Value};
use super::mutant::Mutant;
use super::slab::{PidId, TaskId};
use doula_model::plan::Errno;

impl Kernel {
    /// The number of the process as its own namespace has it.
    pub(crate) fn own_number(&self, task: TaskId) -> i32 {
        self.number_in(self.tasks[self.process(task).leader].pid, self.space_of(task))
    }

    /// The number of the parent's process; 0 when it cannot be seen.
    pub(crate) fn parent_number(&self, task: TaskId) -> i32 {
        let leader = self.process(task).leader;
        let Some(parent) = self.tasks[leader].family.parent else { return 0 };
        self.number_in(self.tasks[self.process(parent).leader].pid, self.space_of(task))
    }

    pub(crate) fn sys_setpgid(&mut self, task: TaskId, pid: i32, group: i32) -> Reply {
        let own = self.process(task).leader;
        let pid = if pid == 0 { self.own_number(task) } else { pid };
        let group = if group == 0 { pid } else { group };
        if group < 0 {
            return Err(Errno::EINVAL);
        }
        let target = self.find_task(task, pid).ok_or(Errno::ESRCH)?;
        if self.process(target).leader != target {
            return Err(Errno::EINVAL);
        }
        let parent = self.tasks[target].family.parent;
        if parent.is_some_and(|parent| self.tasks[parent].process == self.tasks[own].process) {
            if self.process(target).session != self.process(own).session {
                return Err(Errno::EPERM);
            }
            if !self.tasks[target].no_exec && !self.bent(Mutant::SetpgidAfterExec) {
                return Err(Errno::EACCES);
            }
        } else if target != own && !self.bent(Mutant::SetpgidAnybody) {
            return Err(Errno::ESRCH);
        }
        if self.process(target).is_leader && !self.bent(Mutant::SetpgidLeader) {
            return Err(Errno::EPERM);
        }
        let named = if group == pid { Some(self.tasks[target].pid) } else { self.group_here(task, group) };
        self.move_to_group(target, named.ok_or(Errno::EPERM)?);
        Ok(Value::ZERO)
    }

    /// A group that exists in the session of the caller.
    fn group_here(&self, task: TaskId, number: i32) -> Option<PidId> {
        let group = self.find_pid(self.space_of(task), number)?;
        let member = self.group_members(group).next()?;
        let here = self.process(member).session == self.process(task).session;
        (here || self.bent(Mutant::SetpgidAcrossSessions)).then_some(group)
    }

    pub(crate) fn move_to_group(&mut self, target: TaskId, group: PidId) {
        let old = core::mem::replace(&mut self.process_mut(target).group, group);
        if old == group {
            return;
        }
        let process = self.tasks[target].process;
        self.pids[old].members.retain(|member| *member != process);
        self.pids[group].members.push(process);
        self.free_pid_if_unused(old);
    }

    pub(crate) fn sys_getpgid(&self, task: TaskId, pid: i32) -> Reply {
        let target = if pid == 0 { Some(task) } else { self.find_task(task, pid) };
        let group = self.process(target.ok_or(Errno::ESRCH)?).group;
        Ok(Value::Number(self.number_in(group, self.space_of(task))))
    }

    pub(crate) fn sys_getsid(&self, task: TaskId, pid: i32) -> Reply {
        let target = if pid == 0 { Some(task) } else { self.find_task(task, pid) };
        let session = self.process(target.ok_or(Errno::ESRCH)?).session;
        Ok(Value::Number(self.number_in(session, self.space_of(task))))
    }

    pub(crate) fn sys_setsid(&mut self, task: TaskId) -> Reply {
        let leader = self.process(task).leader;
        let pid = self.tasks[leader].pid;
        let leads = !self.pids[pid].members.is_empty() && !self.bent(Mutant::SetsidByGroupLeader);
        if self.process(task).is_leader || leads {
            return Err(Errno::EPERM);
        }
        self.process_mut(task).is_leader = true;
        let old = core::mem::replace(&mut self.process_mut(task).session, pid);
        self.pids[pid].in_session += 1;
        if !self.bent(Mutant::SetsidKeepsGroup) {
            self.move_to_group(leader, pid);
        }
        if !self.bent(Mutant::SetsidKeepsTerminal) {
            self.clear_terminal(self.tasks[task].process);
        }
        // Last: the old session's number may have been that of the old group too.
        self.pids[old].in_session -= 1;
        self.free_pid_if_unused(old);
        Ok(Value::Number(self.own_number(task)))
    }

    /// The leaders of all processes of a group, zombies too: who came last comes first.
    pub(crate) fn group_members(&self, group: PidId) -> impl Iterator<Item = TaskId> {
        self.pids[group].members.iter().rev().map(|process| self.processes[*process].leader)
    }

    /// Does something to the leader of each process of a group, for as long as it does not change the group.
    pub(crate) fn each_member(&mut self, group: PidId, mut what: impl FnMut(&mut Kernel, TaskId)) {
        for at in (0..self.pids[group].members.len()).rev() {
            what(self, self.processes[self.pids[group].members[at]].leader);
        }
    }

    /// Whether no member has a parent in another group of the same session: nobody there could continue it.
    /// Members that have ended do not count, and the machine's init is no such parent.
    pub(crate) fn is_orphaned(&self, group: PidId, ignored: Option<TaskId>) -> bool {
        !self.group_members(group).any(|member| {
            let (row, process) = (&self.tasks[member], self.process(member));
            if Some(member) == ignored || (row.has_ended() && process.others.is_empty()) {
                return false;
            }
            let Some(parent) = row.family.parent.filter(|parent| *parent != self.init) else { return false };
            self.process(parent).group != group && self.process(parent).session == process.session
        })
    }

    /// Whether any member is stopped.
    pub(crate) fn has_stopped_member(&self, group: PidId) -> bool {
        self.group_members(group).any(|member| self.process(member).stop.stopped)
    }
}
