//! What a birth does and how it fails, step by step, seen from outside through `/proc`.

use super::*;
use crate::fd::{self, AsFd as _, AsRawFd as _};
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use doula_model::exit::ExitStatus;
use doula_model::plan::FdMapping;
use doula_model::signal::Signal;

pub(crate) mod apart;
mod effects;
mod failures;
mod fallbacks;
mod unled;

/// A plan for `/bin/sh -c SCRIPT` with a `PATH` and nothing else.
pub(crate) fn shell(script: &str) -> ChildPlan {
    ChildPlan {
        programs: [b"/bin/sh".to_vec()].into(),
        args: [b"sh".to_vec(), b"-c".to_vec(), script.as_bytes().to_vec()].into(),
        env: [b"PATH=/usr/local/bin:/usr/bin:/bin".to_vec()].into(),
        ..ChildPlan::default()
    }
}

/// As the product's, without what other births have learnt: some of them are in sandboxes.
fn spawn(plan: &ChildPlan) -> core::result::Result<Born, SpawnError> {
    spawn_knowing(plan, &Refusals::none())
}

/// Gives birth to it.
pub(crate) fn run(plan: &ChildPlan) -> Born {
    spawn(plan).expect("a birth")
}

/// Runs it to its end and returns what it wrote to standard output.
pub(crate) fn output(mut plan: ChildPlan) -> String {
    let (reader, writer) = fd::pipe().expect("pipe");
    plan.fds.push(FdMapping { from: writer.as_raw_fd(), to: 1 });
    let born = run(&plan);
    drop(writer);
    let mut text = std::vec![0; 64 * 1024];
    let length = fd::read_full(&reader, &mut text).expect("read");
    let end = wait::end(Who::Pidfd(born.pidfd.as_fd()));
    assert_eq!(end, Ok(ExitStatus::code(0)));
    String::from_utf8_lossy(&text[..length]).trim_end().to_owned()
}

#[test]
fn a_shell_is_born_and_ends_with_its_code() {
    let born = run(&shell("exit 7"));
    assert_eq!(wait::end(Who::Pidfd(born.pidfd.as_fd())), Ok(ExitStatus::code(7)));
}

#[test]
fn a_missing_program_is_named_as_the_step_exec() {
    let mut plan = shell("");
    plan.programs = [b"/nonexistent".to_vec()].into();
    let error = spawn(&plan).expect_err("no such program");
    assert_eq!(error, SpawnError { step: Step::Exec, errno: Errno::ENOENT });
}

#[test]
fn listen_pid_is_the_childs_own_number() {
    let mut plan = shell("echo $$ $LISTEN_PID");
    plan.listen_pid = true;
    let text = output(plan);
    let numbers: Vec<&str> = text.split(' ').collect();
    assert_eq!(numbers[0], numbers[1]);
}

#[test]
fn swapped_fds_arrive_swapped() {
    let (a_reader, a_writer) = fd::pipe().expect("pipe");
    let (b_reader, b_writer) = fd::pipe().expect("pipe");
    let (a, b) = (a_writer.as_raw_fd(), b_writer.as_raw_fd());
    let mut plan = shell(&std::format!("echo for-a >&{b}; echo for-b >&{a}"));
    plan.programs = [b"/bin/bash".to_vec()].into();
    plan.fds = [FdMapping { from: a, to: b }, FdMapping { from: b, to: a }].into();
    let born = run(&plan);
    drop((a_writer, b_writer));
    let mut text = [0; 16];
    assert_eq!(fd::read_full(&a_reader, &mut text), Ok(6));
    assert_eq!(&text[..6], b"for-a\n");
    assert_eq!(fd::read_full(&b_reader, &mut text), Ok(6));
    assert_eq!(&text[..6], b"for-b\n");
    assert_eq!(wait::end(Who::Pidfd(born.pidfd.as_fd())), Ok(ExitStatus::code(0)));
}

#[test]
fn a_plan_with_more_fds_than_slots_gets_all_of_them() {
    let (reader, writer) = fd::pipe().expect("pipe");
    let mut plan = shell("for fd in $(seq 3 42); do echo $fd >&$fd; done");
    plan.programs = [b"/bin/bash".to_vec()].into();
    plan.fds = (3..=42).map(|to| FdMapping { from: writer.as_raw_fd(), to }).collect();
    let born = run(&plan);
    drop(writer);
    let mut text = [0; 1024];
    let length = fd::read_full(&reader, &mut text).expect("read");
    let expected: String = (3..=42).map(|number| std::format!("{number}\n")).collect();
    assert_eq!(&text[..length], expected.as_bytes());
    assert_eq!(wait::end(Who::Pidfd(born.pidfd.as_fd())), Ok(ExitStatus::code(0)));
}

#[test]
fn a_birth_leaves_no_other_name_of_a_listed_fd_open() {
    let (reader, writer) = fd::pipe().expect("pipe");
    let mut plan = shell("exec >&-; read forever");
    let (input, keeper) = fd::pipe().expect("pipe");
    plan.fds =
        [FdMapping { from: writer.as_raw_fd(), to: 1 }, FdMapping { from: input.as_raw_fd(), to: 0 }].into();
    let born = run(&plan);
    drop(writer);
    // Our writing end and that of the child are closed: the end of the pipe shows that there is no third.
    assert_eq!(fd::read_full(&reader, &mut [0; 8]), Ok(0));
    drop(keeper);
    assert!(wait::end(Who::Pidfd(born.pidfd.as_fd())).is_ok());
}

#[test]
fn what_is_to_be_kept_is_kept_fds_and_blocked_signals() {
    let (reader, writer) = fd::pipe().expect("pipe");
    fd::set_cloexec(&writer, false).expect("fcntl");
    let number = writer.as_raw_fd();
    let mut plan = shell(&std::format!("grep SigBlk /proc/self/status >&{number}"));
    plan.programs = [b"/bin/bash".to_vec()].into();
    plan.keep_fds = true;
    plan.blocked_signals = [Signal::HUP, Signal::TERM].into();
    let born = run(&plan);
    drop(writer);
    let mut text = [0; 32];
    assert_eq!(fd::read_full(&reader, &mut text), Ok(25));
    assert_eq!(&text[..25], b"SigBlk:\t0000000000004001\n");
    assert_eq!(wait::end(Who::Pidfd(born.pidfd.as_fd())), Ok(ExitStatus::code(0)));
}

#[test]
fn fds_that_are_kept_are_kept_whatever_their_number() {
    let (reader, writer) = fd::pipe().expect("pipe");
    let high = fd::duplicate(&writer, 400).expect("fcntl");
    fd::set_cloexec(&high, false).expect("fcntl");
    let mut plan = shell(&std::format!("echo here >&{}", high.as_raw_fd()));
    plan.programs = [b"/bin/bash".to_vec()].into();
    plan.keep_fds = true;
    let born = run(&plan);
    drop((writer, high));
    let mut text = [0; 8];
    assert_eq!(fd::read_full(&reader, &mut text), Ok(5));
    assert_eq!(&text[..5], b"here\n");
    assert_eq!(wait::end(Who::Pidfd(born.pidfd.as_fd())), Ok(ExitStatus::code(0)));
}

#[test]
fn a_low_limit_of_files_is_in_the_way_of_no_earlier_step() {
    let (_reader, writer) = fd::pipe().expect("pipe");
    let crowd: Vec<_> = (0..100).map(|_| fd::duplicate(&writer, 3).expect("fcntl")).collect();
    let mut plan = shell("ulimit -n; cat /proc/self/oom_score_adj");
    let score = std::fs::read_to_string("/proc/self/oom_score_adj").expect("/proc");
    plan.oom_score_adj = score.trim().parse().ok();
    let limit =
        doula_model::plan::Rlimit { resource: doula_model::plan::Resource::Nofile, soft: 20, hard: 20 };
    plan.rlimits = [limit].into();
    // Two that swap their numbers need a third one for a moment.
    let (one, two) = (crowd[0].as_raw_fd(), crowd[1].as_raw_fd());
    plan.fds = [FdMapping { from: one, to: two }, FdMapping { from: two, to: one }].into();
    assert_eq!(output(plan), std::format!("20\n{}", score.trim()));
}

#[test]
fn candidates_are_tried_as_execvp_tries_them() {
    let cases: [(&[&str], Option<Errno>); 5] = [
        (&["/nonexistent/sh", "/etc/passwd/sh", "/bin/sh"], None),
        (&["/etc", "/bin/sh"], None),
        (&["/etc", "/nonexistent"], Some(Errno::EACCES)),
        (&["/nonexistent", "/etc/passwd/sh"], Some(Errno::ENOTDIR)),
        (&["/nonexistent/sh", "/etc/passwd"], Some(Errno::EACCES)),
    ];
    for (programs, expected) in cases {
        let mut plan = shell("exit 0");
        plan.programs = programs.iter().map(|program| program.as_bytes().to_vec()).collect();
        match (spawn(&plan), expected) {
            (Ok(born), None) => {
                assert_eq!(wait::end(Who::Pidfd(born.pidfd.as_fd())), Ok(ExitStatus::code(0)));
            }
            (answer, expected) => {
                let error = expected.map(|errno| SpawnError { step: Step::Exec, errno });
                assert_eq!(answer.err(), error, "{programs:?}");
            }
        }
    }
}
