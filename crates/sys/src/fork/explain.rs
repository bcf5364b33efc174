//! What a birth will do, in words: the system calls of `child`, in its order, as strace(1) would write them.
//!
//! Kept beside `child`, and out of the same [`Prepared`], so that both say the same; a test compares them by
//! tracing a real birth.

use super::clone::Way;
use super::prepared::{Prepared, late_nofile};
use super::slots::{Fds, Place};
use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use doula_model::plan::{Capabilities, ChildPlan, Resource, Rlimit, Session, SpawnError, Step};
use doula_model::signal::Signal;

/// The system calls that [`super::spawn_in_place`] makes for this plan if nothing is refused: that of the parent first, then those of the
/// child. Calls that only look (capget, getppid, reading the bounding set) are left out, and a row of like calls is
/// one line.
///
/// # Errors
/// As the birth itself, at [`Step::Prepare`].
pub fn explain(plan: &ChildPlan) -> core::result::Result<Vec<String>, SpawnError> {
    let best = Way { clone3: true, into_cgroup: plan.cgroup.is_some(), shared_files: true };
    let fds = Fds::new(plan, best, Place::AsTheyAre);
    let prepared = Prepared::new(plan, &fds).map_err(|errno| SpawnError { step: Step::Prepare, errno })?;
    let mut calls = Calls(Vec::new());
    calls.birth(plan, &fds);
    calls.place(plan, fds.session);
    calls.descriptors(&prepared);
    calls.privileges(plan, prepared.groups_are_right);
    calls.signals_and_program(plan);
    Ok(calls.0)
}

struct Calls(Vec<String>);

impl Calls {
    fn say(&mut self, call: String) {
        self.0.push(call);
    }

    fn birth(&mut self, plan: &ChildPlan, fds: &Fds) {
        let mut flags = "CLONE_VM|CLONE_VFORK|CLONE_PIDFD|CLONE_CLEAR_SIGHAND".to_owned();
        if fds.shared_up_to.is_some() {
            flags.push_str("|CLONE_FILES");
        }
        let cgroup = plan.cgroup.map(|fd| format!(", cgroup={fd}"));
        if cgroup.is_some() {
            flags.push_str("|CLONE_INTO_CGROUP");
        }
        self.say(format!("clone3({flags}, exit_signal=SIGCHLD{})", cgroup.unwrap_or_default()));
        if fds.session == Session::NewSessionUnled {
            self.say("setsid()".to_owned());
            let (call, more) = match fds.shared_up_to {
                Some(_) => ("clone3", "|CLONE_PIDFD|CLONE_FILES"),
                None => ("clone", ""),
            };
            self.say(format!(
                "{call}(CLONE_VM|CLONE_VFORK|CLONE_PARENT|CLONE_PARENT_SETTID{more}); the first child ends"
            ));
        }
        if let Some(highest) = fds.shared_up_to {
            self.say(format!("close_range({}, ~0, CLOSE_RANGE_UNSHARE)", highest + 1));
        }
    }

    fn place(&mut self, plan: &ChildPlan, session: Session) {
        self.parent_death_signal(plan);
        plan.cgroup_procs.iter().for_each(|fd| self.say(format!("write({fd}, \"0\") to cgroup.procs")));
        self.session(session);
        let late = late_nofile(plan);
        plan.rlimits.iter().filter(|limit| !is_late(limit, late)).for_each(|limit| self.rlimit(limit));
        if !plan.affinity.is_empty() {
            self.say(format!("sched_setaffinity(0, {:?})", plan.affinity));
        }
        if let Some(nice) = plan.nice {
            self.say(format!("setpriority(PRIO_PROCESS, 0, {nice})"));
        }
        if let Some(score) = plan.oom_score_adj {
            self.say("openat(AT_FDCWD, \"/proc/self/oom_score_adj\", O_WRONLY|O_CLOEXEC)".to_owned());
            self.say(format!("write(it, \"{score}\")"));
            self.say("close(it)".to_owned());
        }
        if let Some(mask) = plan.umask {
            self.say(format!("umask(0{mask:o})"));
        }
        if let Some(dir) = &plan.dir {
            self.say(format!("chdir({})", quoted(dir)));
        }
    }

    fn parent_death_signal(&mut self, plan: &ChildPlan) {
        if let Some(signal) = plan.parent_death_signal {
            self.say(format!("prctl(PR_SET_PDEATHSIG, {signal})"));
        }
    }

    fn session(&mut self, session: Session) {
        match session {
            Session::Inherit | Session::NewSessionUnled => {}
            Session::JoinGroup(group) => self.say(format!("setpgid(0, {group})")),
            Session::NewGroup { terminal } => {
                self.say("setpgid(0, 0)".to_owned());
                terminal.into_iter().for_each(|fd| self.say(format!("ioctl({fd}, TIOCSPGRP, own group)")));
            }
            Session::NewSession { terminal } => {
                self.say("setsid()".to_owned());
                terminal.into_iter().for_each(|fd| self.say(format!("ioctl({fd}, TIOCSCTTY)")));
            }
        }
    }

    fn rlimit(&mut self, limit: &Rlimit) {
        let value = |number: u64| match number {
            u64::MAX => "unlimited".to_owned(),
            number => format!("{number}"),
        };
        let name = limit.resource.name().to_uppercase();
        let (soft, hard) = (value(limit.soft), value(limit.hard));
        self.say(format!("prlimit64(0, RLIMIT_{name}, {{{soft}, {hard}}})"));
    }

    fn descriptors(&mut self, prepared: &Prepared<'_>) {
        for step in prepared.moves.iter().filter(|step| step.aside) {
            self.say(format!("fcntl({}, F_DUPFD_CLOEXEC, {})", step.from, prepared.free_number));
        }
        for step in &prepared.moves {
            let from = if step.aside { "its copy".to_owned() } else { format!("{}", step.from) };
            self.say(match step.from == step.to {
                true => format!("fcntl({}, F_SETFD, 0)", step.to),
                false => format!("dup3({from}, {}, 0)", step.to),
            });
        }
        let plan = prepared.plan;
        if !plan.keep_fds {
            self.close_rest(&prepared.kept, i64::from(prepared.nothing_above()));
        }
        if prepared.late_nofile {
            plan.rlimits.iter().filter(|limit| is_late(limit, true)).for_each(|limit| self.rlimit(limit));
        }
    }

    fn close_rest(&mut self, kept: &[i32], nothing_above: i64) {
        let mut first = 0;
        for number in kept.iter().copied().map(i64::from) {
            if number > first && first <= nothing_above {
                self.say(format!("close_range({first}, {}, 0)", number - 1));
            }
            first = number + 1;
        }
        if first <= nothing_above {
            self.say(format!("close_range({first}, ~0, 0)"));
        }
    }

    fn privileges(&mut self, plan: &ChildPlan, groups_are_right: bool) {
        if let Some(Capabilities { bounding, ambient }) = plan.capabilities {
            self.say(format!("prctl(PR_CAPBSET_DROP, all but {bounding:#x})"));
            if ambient != 0 {
                self.say("prctl(PR_SET_KEEPCAPS, 1)".to_owned());
            }
        }
        if let Some(wanted) = &plan.credentials {
            if !groups_are_right {
                self.say(format!("setgroups({:?})", wanted.groups));
            }
            self.say(format!("setresgid({0}, {0}, {0})", wanted.gid));
            self.say(format!("setresuid({0}, {0}, {0})", wanted.uid));
        }
        if let Some(Capabilities { ambient, .. }) = plan.capabilities {
            self.say(format!("capset(inheritable {ambient:#x})"));
            self.say(format!("prctl(PR_CAP_AMBIENT, CLEAR_ALL, then RAISE {ambient:#x})"));
        }
        if plan.credentials.is_some() || plan.capabilities.is_some() {
            self.parent_death_signal(plan);
        }
        if plan.no_new_privs {
            self.say("prctl(PR_SET_NO_NEW_PRIVS, 1)".to_owned());
        }
    }

    fn signals_and_program(&mut self, plan: &ChildPlan) {
        let ignored = match plan.ignored_signals.as_slice() {
            [] => String::new(),
            signals => format!(", SIG_IGN for {}", names(signals)),
        };
        self.say(format!("rt_sigaction(every signal, SIG_DFL{ignored})"));
        self.say(format!("rt_sigprocmask(SIG_SETMASK, [{}])", names(&plan.blocked_signals)));
        let args: Vec<String> = plan.args.iter().map(|arg| quoted(arg)).collect();
        let rest = format!("[{}], {} variables", args.join(", "), plan.env.len());
        plan.programs.iter().for_each(|file| self.say(format!("execve({}, {rest})", quoted(file))));
    }
}

fn names(signals: &[Signal]) -> String {
    let names: Vec<String> = signals.iter().map(|signal| format!("{signal}")).collect();
    names.join(" ")
}

fn is_late(limit: &Rlimit, late: bool) -> bool {
    late && limit.resource == Resource::Nofile
}

/// In double quotes, with what no terminal should see escaped.
fn quoted(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}
