//! How each step of a birth fails: with its own name and the kernel's reason, and with nothing left behind.

use super::apart::{NOBODY, apart, become_ordinary, expect_no_child, open_fds, own_fds, refusing};
use super::*;
use crate::fd::{Access, OwnedFd};
use crate::sandbox::Rule;
use alloc::collections::BTreeSet;
use doula_model::plan::{Capabilities, Credentials, Resource, Rlimit, Session};
use std::format;

/// A birth that must fail.
struct Case {
    what: &'static str,
    change: fn(&mut ChildPlan),
    error: SpawnError,
}

const fn case(what: &'static str, change: fn(&mut ChildPlan), step: Step, errno: Errno) -> Case {
    Case { what, change, error: SpawnError { step, errno } }
}

/// The session of a plan that is born at once, and of one whose first child makes way for a second.
const SESSIONS: [Session; 2] = [Session::Inherit, Session::NewSessionUnled];

/// Tries it with fds of our own, and fails if it leaves anything.
fn expect_failure(case: &Case) {
    SESSIONS.into_iter().for_each(|session| expect_failure_in(session, case));
}

fn expect_failure_in(session: Session, case: &Case) {
    let mut plan = ChildPlan { session, ..shell("exit 0") };
    (case.change)(&mut plan);
    let before = open_fds();
    let error = spawn(&plan).map(|born| wait::end(Who::Pidfd(born.pidfd.as_fd()))).expect_err(case.what);
    assert_eq!(error, case.error, "{}", case.what);
    assert_eq!(open_fds(), before, "{}: an fd is left", case.what);
    expect_no_child();
}

/// A number that no test opens.
const NO_FD: i32 = 999_999;

fn null() -> OwnedFd {
    fd::open(c"/dev/null", Access::Read).expect("/dev/null")
}

const ANYBODY: [Case; 27] = [
    case("no program", |plan| plan.programs.clear(), Step::Prepare, Errno::EINVAL),
    case("no argv[0]", |plan| plan.args.clear(), Step::Prepare, Errno::EINVAL),
    case("a NUL in an argument", |plan| plan.args[1].push(0), Step::Prepare, Errno::EINVAL),
    case("a NUL in a variable", |plan| plan.env.push(b"A=\0".to_vec()), Step::Prepare, Errno::EINVAL),
    case("a CPU of no machine", |plan| plan.affinity = [9000].into(), Step::Prepare, Errno::EINVAL),
    case("a negative fd", |plan| map(plan, -1, 5), Step::Prepare, Errno::EBADF),
    case("two fds in one place", |plan| (map(plan, 0, 5), map(plan, 1, 5)).1, Step::Prepare, Errno::EINVAL),
    case("a cgroup that is none", |plan| plan.cgroup = Some(0), Step::Cgroup, Errno::EBADF),
    case("a cgroup that is closed", |plan| plan.cgroup = Some(NO_FD), Step::Cgroup, Errno::EBADF),
    case("a v1 cgroup that is closed", |plan| plan.cgroup_procs = [NO_FD].into(), Step::Cgroup, Errno::EBADF),
    case("a group that is not there", join_nobody, Step::Group, Errno::EPERM),
    case("no terminal for a session", |plan| session(plan, 0), Step::Terminal, Errno::ENOTTY),
    case("no terminal for a group", |plan| group(plan, 0), Step::Terminal, Errno::ENOTTY),
    case("a CPU that is not there", |plan| plan.affinity = [8191].into(), Step::Affinity, Errno::EINVAL),
    case("a score out of range", |plan| plan.oom_score_adj = Some(2000), Step::OomScore, Errno::EINVAL),
    case("a missing directory", |plan| dir(plan, "/nonexistent"), Step::Directory, Errno::ENOENT),
    case("a file for a directory", |plan| dir(plan, "/etc/passwd"), Step::Directory, Errno::ENOTDIR),
    case("an fd that is closed", |plan| map(plan, NO_FD, 5), Step::Fds, Errno::EBADF),
    case("an fd above the limit", |plan| map(plan, 0, 1 << 30), Step::Fds, Errno::EBADF),
    case("a missing program", |plan| program(plan, "/nonexistent"), Step::Exec, Errno::ENOENT),
    case("a file below a file", |plan| program(plan, "/etc/passwd/x"), Step::Exec, Errno::ENOTDIR),
    case("a program without x", |plan| program(plan, "/etc/passwd"), Step::Exec, Errno::EACCES),
    case("a directory", |plan| program(plan, "/etc"), Step::Exec, Errno::EACCES),
    case("too many arguments", |plan| plan.args.push([b'x'; 1 << 18].into()), Step::Exec, Errno::E2BIG),
    case("a soft limit above the hard one", |plan| limit(plan, Resource::Core, 2, 1), CORE, Errno::EINVAL),
    case(
        "more files than the kernel gives",
        |plan| limit(plan, Resource::Nofile, 9, MOST),
        NOFILE,
        Errno::EPERM,
    ),
    case("a terminal that is closed", |plan| session(plan, NO_FD), Step::Terminal, Errno::EBADF),
];

const CORE: Step = Step::Rlimit(Resource::Core);
const NOFILE: Step = Step::Rlimit(Resource::Nofile);
/// One less than "unlimited".
const MOST: u64 = u64::MAX - 1;

/// What only a user without privileges can fail at.
const ORDINARY: [Case; 9] = [
    case("to be root", |plan| user(plan, 0, 0, &[]), Step::Groups, Errno::EPERM),
    case("groups of others", |plan| user(plan, NOBODY, NOBODY, &[0]), Step::Groups, Errno::EPERM),
    case("another user", |plan| user(plan, 1, own().1, &own().2), Step::User, Errno::EPERM),
    case("to bound capabilities", |plan| capabilities(plan, 0, 0), Step::Capabilities, Errno::EPERM),
    case("to hold capabilities", |plan| capabilities(plan, u64::MAX, 1), Step::Capabilities, Errno::EPERM),
    case("to be less nice", |plan| plan.nice = Some(-20), Step::Nice, Errno::EACCES),
    case("to be spared", |plan| plan.oom_score_adj = Some(-1000), Step::OomScore, Errno::EACCES),
    case("a locked directory", |plan| dir(plan, &locked("")), Step::Directory, Errno::EACCES),
    case("a locked program", |plan| program(plan, &locked("/x")), Step::Exec, Errno::EACCES),
];

/// What is in a directory that nobody but root may enter.
fn locked(within: &str) -> std::string::String {
    let place = std::env::temp_dir().join(format!("doula-sys-locked-{}", std::process::id()));
    format!("{}{within}", place.display())
}

fn map(plan: &mut ChildPlan, from: i32, to: i32) {
    plan.fds.push(FdMapping { from, to });
}

fn join_nobody(plan: &mut ChildPlan) {
    let number = doula_model::id::Pid::new(i32::MAX).expect("above every pid_max");
    plan.session = Session::JoinGroup(number);
}

fn session(plan: &mut ChildPlan, terminal: i32) {
    plan.session = Session::NewSession { terminal: Some(terminal) };
}

fn group(plan: &mut ChildPlan, terminal: i32) {
    plan.session = Session::NewGroup { terminal: Some(terminal) };
}

fn dir(plan: &mut ChildPlan, path: &str) {
    plan.dir = Some(path.as_bytes().to_vec());
}

fn program(plan: &mut ChildPlan, path: &str) {
    plan.programs = [path.as_bytes().to_vec()].into();
}

fn limit(plan: &mut ChildPlan, resource: Resource, soft: u64, hard: u64) {
    plan.rlimits.push(Rlimit { resource, soft, hard });
}

fn user(plan: &mut ChildPlan, uid: u32, gid: u32, groups: &[u32]) {
    plan.credentials = Some(Credentials { uid, gid, groups: groups.to_vec() });
}

fn capabilities(plan: &mut ChildPlan, bounding: u64, ambient: u64) {
    plan.capabilities = Some(Capabilities { bounding, ambient });
}

/// Our user, group and supplementary groups.
fn own() -> (u32, u32, Vec<u32>) {
    let groups = crate::group::supplementary().expect("getgroups");
    (crate::group::users().0, crate::group::groups().0, groups)
}

#[test]
fn a_step_that_fails_is_named_with_the_reason_and_nothing_is_left() {
    apart(|| {
        own_fds();
        // Standard input of a test may be anything, also closed.
        fd::duplicate_onto(null(), 0, false).expect("dup3");
        ANYBODY.iter().for_each(expect_failure);
    });
}

#[test]
fn what_an_ordinary_user_may_not_do_is_named_and_nothing_is_left() {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().mode(0o000).create(locked("")).expect("a directory");
    let tried = std::panic::catch_unwind(|| {
        apart(|| {
            own_fds();
            become_ordinary();
            ORDINARY.iter().for_each(expect_failure);
        });
    });
    std::fs::remove_dir(locked("")).expect("it is empty");
    tried.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

#[test]
fn every_resource_limit_fails_under_its_own_name() {
    apart(|| {
        own_fds();
        for &resource in Resource::ALL {
            let mut plan = shell("");
            limit(&mut plan, resource, 2, 1);
            let error = spawn(&plan).expect_err("soft above hard");
            assert_eq!(error, SpawnError { step: Step::Rlimit(resource), errno: Errno::EINVAL });
            let text = format!("setrlimit({}): EINVAL: invalid argument", resource.name());
            assert_eq!(format!("{error}"), text);
            expect_no_child();
        }
    });
}

/// A plan that takes every step, as far as we may.
fn full(plan: &mut ChildPlan) {
    let (uid, gid, groups) = own();
    plan.parent_death_signal = Some(Signal::TERM);
    plan.rlimits = [crate::limits::get(Resource::Core).expect("getrlimit")].into();
    plan.affinity = (0..64).collect();
    plan.nice = Some(19);
    plan.oom_score_adj = Some(1000);
    plan.dir = Some(b"/".to_vec());
    plan.umask = Some(0o77);
    map(plan, 2, 1);
    user(plan, uid, gid, &groups);
    capabilities(plan, u64::MAX, 0);
    plan.no_new_privs = true;
}

/// A system call by its number, which argument has which value, and the step that it belongs to.
type Call = (i64, Option<(u32, u32)>, Step);

/// Each system call of a birth.
fn calls() -> [Call; 20] {
    let prctl = |option: i32| (libc::SYS_prctl, Some((0, option as u32)));
    let with = |(call, argument): (i64, Option<(u32, u32)>), step| (call, argument, step);
    [
        (libc::SYS_clone3, None, Step::Clone),
        with(prctl(libc::PR_SET_PDEATHSIG), Step::ParentDeathSignal),
        (libc::SYS_getppid, None, Step::ParentDeathSignal),
        (libc::SYS_setsid, None, Step::Session),
        (libc::SYS_prlimit64, Some((1, Resource::Core as u32)), CORE),
        (libc::SYS_sched_setaffinity, None, Step::Affinity),
        (libc::SYS_setpriority, None, Step::Nice),
        (libc::SYS_openat, Some((2, (libc::O_WRONLY | libc::O_CLOEXEC) as u32)), Step::OomScore),
        (libc::SYS_chdir, None, Step::Directory),
        (libc::SYS_close_range, None, Step::CloseRest),
        (libc::SYS_setresgid, None, Step::Groups),
        (libc::SYS_setresuid, None, Step::User),
        with(prctl(libc::PR_CAP_AMBIENT), Step::Capabilities),
        (libc::SYS_capget, None, Step::Capabilities),
        (libc::SYS_capset, None, Step::Capabilities),
        with(prctl(libc::PR_SET_NO_NEW_PRIVS), Step::NoNewPrivs),
        (libc::SYS_rt_sigaction, None, Step::Signals),
        (libc::SYS_execve, None, Step::Exec),
        (libc::SYS_umask, None, Step::Directory),
        (libc::SYS_fcntl, Some((1, libc::F_SETFD as u32)), Step::Fds),
    ]
}

#[test]
fn every_call_of_a_birth_that_fails_is_told_by_its_step() {
    // None that means anything to us.
    let errno = Errno(libc::EXFULL);
    let led = calls().into_iter().map(|call| (Session::NewSession { terminal: None }, call));
    let unled = calls().into_iter().chain([(libc::SYS_clone, None, Step::Session)]);
    let unled = unled.map(|call| (Session::NewSessionUnled, call));
    for (session, (call, argument, step)) in led.chain(unled) {
        apart(|| {
            own_fds();
            fd::duplicate_onto(null(), 9, false).expect("dup3");
            let mut plan = ChildPlan { session, ..shell("") };
            full(&mut plan);
            // One that stays at its number; more fds than slots, so that it is not moved to another.
            (0..16).for_each(|to| map(&mut plan, 9, 20 + to));
            map(&mut plan, 9, 9);
            let rule = Rule::call(call, errno);
            if !refusing(&[argument.map_or(rule, |(index, value)| rule.when(index, u32::MAX, value))]) {
                return;
            }
            let before = open_fds();
            let error = spawn(&plan).expect_err("refused");
            let expected = if call == libc::SYS_getppid { Errno::ESRCH } else { errno };
            assert_eq!(error, SpawnError { step, errno: expected }, "{session:?}, call {call} {argument:?}");
            expect_no_child();
            assert_eq!(open_fds(), before, "{session:?}, call {call}: an fd is left");
        });
    }
}

/// All kinds of steps; a new one does not compile until it is here, and then fails until a case is.
fn kind(step: Step) -> usize {
    match step {
        Step::Prepare => 0,
        Step::Clone => 1,
        Step::ParentDeathSignal => 2,
        Step::Cgroup => 3,
        Step::Session => 4,
        Step::Group => 5,
        Step::Terminal => 6,
        Step::Rlimit(_) => 7,
        Step::Affinity => 8,
        Step::Nice => 9,
        Step::OomScore => 10,
        Step::Directory => 11,
        Step::Fds => 12,
        Step::CloseRest => 13,
        Step::Groups => 14,
        Step::User => 15,
        Step::Capabilities => 16,
        Step::NoNewPrivs => 17,
        Step::Signals => 18,
        Step::Exec => 19,
    }
}

#[test]
fn no_step_is_without_a_test_of_its_failure() {
    let cases = ANYBODY.iter().chain(&ORDINARY).map(|case| case.error.step);
    let tried: BTreeSet<usize> = cases.chain(calls().map(|(.., step)| step)).map(kind).collect();
    assert_eq!(tried, (0..=kind(Step::Exec)).collect());
}

#[test]
fn a_child_that_fails_in_a_sandbox_without_clone3_leaves_nothing_either() {
    apart(|| {
        own_fds();
        fd::duplicate_onto(null(), 0, false).expect("dup3");
        if refusing(crate::sandbox::CONTAINER_OF_2020) {
            let cgroup = [Step::Cgroup];
            let cases = ANYBODY.iter().filter(|case| !cgroup.contains(&case.error.step));
            cases.for_each(expect_failure);
        }
    });
}
