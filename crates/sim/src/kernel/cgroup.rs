//! Control groups of version 2, as far as a supervisor holds its services by them: who is born in one stays in it
//! with all its descendants, whatever sessions they make and whoever adopts them.
//!
//! kernel/cgroup/cgroup.c, kernel/cgroup/pids.c. A group is reached through files on Linux; here those are methods of
//! the machine. Absent on purpose: moving processes, threaded groups, controllers other than `pids`.

use super::Kernel;
use super::signal::From;
use super::slab::{CgroupId, ProcessId, TaskId};
use super::task::Place;
use super::version::KernelVersion;
use alloc::vec::Vec;
use doula_model::plan::Errno;
use doula_model::signal::Signal;

/// A control group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Cgroup {
    parent: Option<CgroupId>,
    /// `pids.max`.
    most: u32,
}

impl Cgroup {
    pub(crate) const ROOT: Cgroup = Cgroup { parent: None, most: u32::MAX };
}

impl Kernel {
    /// Makes a group below another (mkdir(2)).
    ///
    /// # Errors
    /// `ENOENT` when there is no such group.
    pub fn make_cgroup(&mut self, parent: CgroupId) -> Result<CgroupId, Errno> {
        self.cgroups.get(parent).ok_or(Errno::ENOENT)?;
        Ok(self.cgroups.insert(Cgroup { parent: Some(parent), most: u32::MAX }))
    }

    /// Writes `pids.max`: more processes cannot be in it and below, zombies included.
    pub fn limit_cgroup(&mut self, cgroup: CgroupId, most: u32) {
        self.cgroups[cgroup].most = most;
    }

    /// Removes a group (rmdir(2)). Zombies do not keep it: they count for the group above from then on.
    ///
    /// # Errors
    /// `EBUSY` while anybody lives in it, or a group is below it; `ENOENT` when it is gone.
    pub fn remove_cgroup(&mut self, cgroup: CgroupId) -> Result<(), Errno> {
        let parent = self.cgroups.get(cgroup).ok_or(Errno::ENOENT)?.parent;
        let below = self.cgroups.iter().any(|(_, other)| other.parent == Some(cgroup));
        let Some(parent) = parent.filter(|_| !below && !self.cgroup_is_populated(cgroup)) else {
            return Err(Errno::EBUSY);
        };
        for process in self.processes.numbers() {
            if self.processes.get(process).is_some_and(|row| row.cgroup == cgroup) {
                self.processes[process].cgroup = parent;
            }
        }
        self.cgroups.remove(cgroup);
        Ok(())
    }

    /// `populated` of `cgroup.events`: whether anybody lives in it or below. Zombies do not count.
    pub fn cgroup_is_populated(&self, cgroup: CgroupId) -> bool {
        self.processes.iter().any(|(process, _)| self.lives_in(process, cgroup))
    }

    /// `cgroup.procs` of it and all below: who lives in it.
    pub fn cgroup_members(&self, cgroup: CgroupId) -> Vec<TaskId> {
        let living = self.processes.iter().filter(|(process, _)| self.lives_in(*process, cgroup));
        living.map(|(_, process)| process.leader).collect()
    }

    /// Writes `cgroup.kill`: SIGKILL for everybody in it and below, while nobody is born there. It is one step here; what a birth
    /// in the middle of it comes to on Linux is [`Kernel::kill_cgroup_but_last_born`].
    pub fn kill_cgroup(&mut self, cgroup: CgroupId) {
        self.kill_members(cgroup, None);
    }

    /// Writes `cgroup.kill` as it is when the last of its list bears its last child meanwhile: that child lives on, and is given
    /// back. Everybody else gets SIGKILL.
    ///
    /// The walk has left the end of the list behind when it hands out the last of it, and the birth had begun after the kill was
    /// counted: neither the walk nor the comparison of counts at its end finds the child (`__cgroup_kill`, `css_task_iter_next`,
    /// `cgroup_post_fork`). So only the last birth in the group can be missed, by the parent that was the last before it. `None`
    /// when there is no such pair, or the kernel is older than [`KernelVersion::KILLS_ARE_COUNTED`].
    pub fn kill_cgroup_but_last_born(&mut self, cgroup: CgroupId) -> Option<TaskId> {
        let missed = self.born_at_the_end(cgroup);
        self.kill_members(cgroup, missed);
        missed
    }

    fn kill_members(&mut self, cgroup: CgroupId, missed: Option<TaskId>) {
        for member in self.cgroup_members(cgroup).into_iter().filter(|member| Some(*member) != missed) {
            self.send(From::Kernel, member, Signal::KILL, false);
        }
        self.settle();
    }

    /// Who lives in a group and in none below, in the order of its list: who is born is put at its end.
    pub fn cgroup_list(&self, cgroup: CgroupId) -> Vec<TaskId> {
        let mut list = self.cgroup_members(cgroup);
        list.retain(|member| self.cgroup_of(*member) == cgroup);
        list.sort_by_key(|member| self.birth(*member));
        list
    }

    /// The last of a group's list if the last but one is its parent.
    fn born_at_the_end(&self, cgroup: CgroupId) -> Option<TaskId> {
        let [.., last, child] = *self.cgroup_list(cgroup) else { return None };
        if !self.has(KernelVersion::KILLS_ARE_COUNTED) {
            return None;
        }
        let parent = self.tasks[child].family.parent?;
        (self.tasks[parent].process == self.tasks[last].process).then_some(child)
    }

    /// The group in which a task lives.
    pub fn cgroup_of(&self, task: TaskId) -> CgroupId {
        self.process(task).cgroup
    }

    /// Whether `cgroup` is `above`, or below it.
    pub fn cgroup_is_within(&self, cgroup: CgroupId, above: CgroupId) -> bool {
        let mut at = Some(cgroup);
        while let Some(group) = at {
            if group == above {
                return true;
            }
            at = self.cgroups.get(group).and_then(|row| row.parent);
        }
        false
    }

    fn lives_in(&self, process: ProcessId, cgroup: CgroupId) -> bool {
        let row = &self.processes[process];
        let alive =
            row.threads().any(|thread| !matches!(self.tasks[thread].place, Place::Zombie | Place::Dead));
        alive && self.cgroup_is_within(row.cgroup, cgroup)
    }

    pub(crate) fn cgroup_of_child(&self, task: TaskId, how: &super::call::Clone) -> CgroupId {
        how.cgroup.unwrap_or_else(|| self.cgroup_of(task))
    }

    /// Whether this group and all above have room for one more.
    pub(crate) fn check_cgroup(&self, cgroup: CgroupId) -> Result<(), Errno> {
        let mut at = Some(cgroup);
        while let Some(group) = at {
            let row = self.cgroups.get(group).ok_or(Errno::ENODEV)?;
            at = row.parent;
            if row.most == u32::MAX {
                continue;
            }
            let within = |process: ProcessId| self.cgroup_is_within(self.processes[process].cgroup, group);
            let counted = self.processes.iter().filter(|(process, _)| within(*process));
            if counted.map(|(_, row)| row.threads().count() as u32).sum::<u32>() >= row.most {
                return Err(Errno::EAGAIN);
            }
        }
        Ok(())
    }
}
