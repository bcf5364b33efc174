//! Births where the kernel or a sandbox refuses what is newer: the same child by a lesser way.

use super::apart::{alone, apart, open_fds, own_fds, refusing};
use super::*;
use crate::fd::{Access, OwnedFd};
use crate::pidfd;
use crate::sandbox::{CONTAINER, CONTAINER_OF_2020, LINUX_5_10, Rule};
use doula_model::plan::{Resource, Rlimit, Session};
use std::io::Write as _;
use std::path::PathBuf;
use std::{format, fs, println};

/// A cgroup of the v2 hierarchy, removed with its last process.
pub(super) struct Cgroup {
    pub(super) directory: OwnedFd,
    pub(super) name: String,
    path: PathBuf,
}

impl Cgroup {
    /// `None`, and a word about it, where none can be made.
    pub(super) fn new(name: &str) -> Option<Cgroup> {
        let mounts = fs::read_to_string("/proc/self/mounts").expect("/proc");
        let points = mounts.lines().filter(|line| line.contains(" cgroup2 "));
        let point = points.filter_map(|line| line.split(' ').nth(1)).next();
        let own = fs::read_to_string("/proc/self/cgroup").expect("/proc");
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let name = format!("doula-sys-{name}-{}", std::process::id());
        let path = PathBuf::from(point.unwrap_or("/nonexistent")).join(own).join(&name);
        if fs::create_dir(&path).is_err() {
            println!("skipped: no writable cgroup v2 hierarchy");
            return None;
        }
        let directory = open(path.clone(), Access::Directory);
        Some(Cgroup { directory, name, path })
    }

    /// Kills everybody in it, who are none.
    fn kill(&self) -> std::io::Result<()> {
        fs::OpenOptions::new().write(true).open(self.path.join("cgroup.kill"))?.write_all(b"1")
    }

    /// The file that processes write themselves into.
    pub(super) fn procs(&self) -> OwnedFd {
        open(self.path.join("cgroup.procs"), Access::Write)
    }
}

fn open(path: PathBuf, access: Access) -> OwnedFd {
    let text = path.into_os_string().into_encoded_bytes();
    let path = alloc::ffi::CString::new(text).expect("no NUL in a path");
    fd::open(&path, access).expect("a file of the cgroup")
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let removed = fs::remove_dir(&self.path);
        assert!(removed.is_ok() || std::thread::panicking(), "everybody in it is dead: {removed:?}");
    }
}

/// What is told of a child whose plan says a bit of everything, born under these refusals.
fn told(refusals: &Refusals, cgroup: Option<&Cgroup>, session: Session) -> String {
    let (reader, writer) = fd::pipe().expect("pipe");
    let script = "umask; pwd; ulimit -n; grep -E 'Sig(Blk|Ign)' /proc/self/status; echo 7 >&7; ls /proc/self/fd; \
                  grep -c doula-sys /proc/self/cgroup; set -- $(cat /proc/$$/stat); [ $6 = $$ ] && echo led || echo unled";
    let mut plan = shell(script);
    plan.fds = [1, 7].map(|to| FdMapping { from: writer.as_raw_fd(), to }).into();
    plan.session = session;
    plan.umask = Some(0o31);
    plan.dir = Some(b"/usr".to_vec());
    plan.rlimits = [Rlimit { resource: Resource::Nofile, soft: 20, hard: 20 }].into();
    plan.ignored_signals = [Signal::HUP].into();
    plan.cgroup = cgroup.map(|cgroup| cgroup.directory.as_raw_fd());
    let born = spawn_knowing(&plan, refusals).expect("a birth by a lesser way");
    drop(writer);
    let mut text = [0; 4096];
    let length = fd::read_full(&reader, &mut text).expect("read");
    assert!(wait::end(Who::Pidfd(born.pidfd.as_fd())).is_ok());
    String::from_utf8_lossy(&text[..length]).into_owned()
}

const SAME: &str = "0031\n/usr\n20\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000001\n7\n0\n1\n2\n3\n7\n";

/// More births than other tests can spoil: while one of them has the slots, a birth learns nothing about shared
/// files.
const ENOUGH: usize = 200;

/// Two births into each kind of session under these rules with an inheritable fd of ours open, and more until all of
/// `expected` is learnt; which ways are left for the next one.
fn learnt(rules: &[Rule], cgroup: Option<&Cgroup>, expected: Way) -> Option<Way> {
    apart(|| {
        own_fds();
        let (reader, _writer) = fd::pipe().expect("pipe");
        let stray = fd::duplicate(&reader, 500).expect("fcntl");
        fd::set_cloexec(&stray, false).expect("fcntl");
        if !refusing(rules) {
            return None;
        }
        let before = open_fds();
        let refusals = Refusals::none();
        let mut plan = shell("");
        plan.cgroup = Some(0);
        for birth in 0..ENOUGH {
            for (session, led) in
                [(Session::NewSession { terminal: None }, "led"), (Session::NewSessionUnled, "unled")]
            {
                let same = format!("{SAME}{}\n{led}\n", u8::from(cgroup.is_some()));
                assert_eq!(told(&refusals, cgroup, session), same, "{rules:?}");
            }
            if birth > 0 && refusals.best(&plan) == expected {
                break;
            }
        }
        assert_eq!(open_fds(), before);
        Some(refusals.best(&plan))
    })
}

const BEST: Way = Way { clone3: true, into_cgroup: true, shared_files: true };

#[test]
fn a_child_is_the_same_by_every_way_that_is_left() {
    let call = |number, errno| [Rule::call(number, errno)];
    let no_clone3 = Way { clone3: false, into_cgroup: false, ..BEST };
    let no_sharing = Way { shared_files: false, ..BEST };
    for (rules, way) in [
        (&[][..], BEST),
        (LINUX_5_10, BEST),
        (CONTAINER, no_clone3),
        (&call(libc::SYS_clone3, Errno::EPERM), no_clone3),
        (&call(libc::SYS_clone3, Errno::EINVAL), no_clone3),
        (&call(libc::SYS_close_range, Errno::ENOSYS), no_sharing),
        (&call(libc::SYS_close_range, Errno::EPERM), no_sharing),
        (CONTAINER_OF_2020, Way { shared_files: false, ..no_clone3 }),
    ] {
        // Without a cgroup in the plan nothing is learnt about being born in one, but where clone3 is missing.
        assert_eq!(learnt(rules, None, way).unwrap_or(way), way, "{rules:?}");
    }
}

#[test]
fn a_child_that_cannot_be_born_in_its_cgroup_moves_there_before_its_program() {
    let Some(cgroup) = Cgroup::new("moved") else { return };
    // Before Linux 5.7 clone3 does not know a structure of this size.
    let before_5_7 = [Rule::call(libc::SYS_clone3, Errno::E2BIG).when(1, u32::MAX, 88)];
    for (rules, way) in [
        (&before_5_7[..], Way { into_cgroup: false, ..BEST }),
        (CONTAINER, Way { clone3: false, into_cgroup: false, ..BEST }),
        (CONTAINER_OF_2020, Way { clone3: false, into_cgroup: false, shared_files: false }),
        (LINUX_5_10, BEST),
    ] {
        assert_eq!(learnt(rules, Some(&cgroup), way).unwrap_or(way), way, "{rules:?}");
    }
}

#[test]
fn who_would_be_killed_at_birth_moves_to_its_cgroup_and_lives() {
    let Some(cgroup) = Cgroup::new("killed") else { return };
    let refusals = Refusals::none();
    let lives = || {
        let mut plan = shell("grep -q doula-sys /proc/self/cgroup && exit 7");
        plan.cgroup = Some(cgroup.directory.as_raw_fd());
        for _ in 0..2 {
            let born = spawn_knowing(&plan, &refusals).expect("a birth");
            assert_eq!(wait::end(Who::Pidfd(born.pidfd.as_fd())), Ok(ExitStatus::code(7)));
        }
        assert_eq!(refusals.best(&plan), BEST, "a kill is no refusal");
    };
    // In a process whose own cgroup was killed once, and into one below that was not.
    let born_there = |plan: &mut ChildPlan| {
        match cgroup.kill() {
            Ok(()) => plan.cgroup = Some(cgroup.directory.as_raw_fd()),
            Err(error) => println!("skipped: no cgroup.kill here ({error})"),
        }
        lives();
    };
    alone(
        "fork::tests::fallbacks::who_would_be_killed_at_birth_moves_to_its_cgroup_and_lives",
        born_there,
        lives,
    );
}

#[test]
fn a_cgroup_that_cannot_be_moved_to_is_told_as_that_step() {
    apart(|| {
        own_fds();
        if !refusing(CONTAINER) {
            return;
        }
        let mut plan = shell("");
        let (reader, _writer) = fd::pipe().expect("pipe");
        for (directory, errno) in [(reader.as_raw_fd(), Errno::ENOTDIR), (999_999, Errno::EBADF)] {
            plan.cgroup = Some(directory);
            let error = spawn(&plan).expect_err("no cgroup");
            assert_eq!(error, SpawnError { step: Step::Cgroup, errno });
        }
        super::apart::expect_no_child();
    });
}

#[test]
fn what_fails_on_every_way_is_not_taken_for_a_refusal() {
    apart(|| {
        own_fds();
        let rules = [libc::SYS_clone3, libc::SYS_clone].map(|call| Rule::call(call, Errno::EPERM));
        if !refusing(&rules) {
            return;
        }
        let refusals = Refusals::none();
        let mut plan = shell("");
        plan.cgroup = Some(0);
        let error = spawn_knowing(&plan, &refusals).expect_err("no way is left");
        assert_eq!(error, SpawnError { step: Step::Clone, errno: Errno::EPERM });
        assert_eq!(refusals.best(&plan), BEST);
    });
}

#[test]
fn fds_are_closed_one_by_one_with_and_without_proc() {
    let directory = libc::O_DIRECTORY as u32;
    let no_proc = Rule::call(libc::SYS_openat, Errno::ENOENT).when(2, directory, directory);
    let limit = Resource::Nofile as u32;
    let no_limit = Rule::call(libc::SYS_prlimit64, Errno(libc::EXFULL)).when(1, u32::MAX, limit);
    let neither = SpawnError { step: Step::CloseRest, errno: Errno(libc::EXFULL) };
    // What /proc lists needs no limit, and the other way round: so each of them is seen to work alone.
    for (more, expected) in
        [(&[no_limit][..], None), (&[no_proc], None), (&[no_limit, no_proc], Some(neither))]
    {
        apart(|| {
            own_fds();
            let (reader, _writer) = fd::pipe().expect("pipe");
            // More than one look into /proc/self/fd.
            let crowd: Vec<_> = (0..300).map(|_| fd::duplicate(&reader, 500).expect("fcntl")).collect();
            crowd.iter().for_each(|stray| fd::set_cloexec(stray, false).expect("fcntl"));
            if !refusing(&[&[Rule::call(libc::SYS_close_range, Errno::ENOSYS)], more].concat()) {
                return;
            }
            let mut plan = shell("for fd in $(seq 3 900); do [ -e /proc/$$/fd/$fd ] && exit 1; done; exit 0");
            let (input, _keeper) = fd::pipe().expect("pipe");
            plan.fds = [FdMapping { from: input.as_raw_fd(), to: 0 }].into();
            match spawn(&plan) {
                Ok(born) => {
                    assert_eq!(wait::end(Who::Pidfd(born.pidfd.as_fd())), Ok(ExitStatus::code(0)));
                    assert_eq!(expected, None);
                }
                Err(error) => assert_eq!(Some(error), expected),
            }
        });
    }
}

#[test]
fn handles_do_what_linux_5_10_can_do_with_them() {
    apart(|| {
        if !refusing(LINUX_5_10) {
            return;
        }
        let mut plan = shell("sleep 1000 & exec sleep 1000");
        plan.session = Session::NewGroup { terminal: None };
        let born = run(&plan);
        assert_eq!(pidfd::send_to_group(&born.pidfd, Signal::TERM), Err(Errno::EINVAL));
        pidfd::send_group(born.pid, Signal::TERM).expect("the leader is not reaped");
        assert_eq!(wait::end(Who::Pidfd(born.pidfd.as_fd())), Ok(ExitStatus::signal(Signal::TERM)));
        assert_eq!(pidfd::exit_status(&born.pidfd), None, "it is not told to those who come later");
        assert!(!pidfd::exists(&born.pidfd));
    });
}
