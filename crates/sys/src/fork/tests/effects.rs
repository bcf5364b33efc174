//! What each step of a birth does, seen from inside of the child.

use super::apart::{NOBODY, alone, apart, holds, is_root, open_fds, own_fds};
use super::*;
use crate::{group, limits, pidfd, signal};
use doula_model::plan::{Capabilities, Credentials, Resource, Rlimit, Session};
use std::{format, fs, println, string::ToString as _};

/// Says where a shell stands: its group, session, terminal and the terminal's foreground.
const WHERE: &str = "read -r pid name state parent group session terminal foreground rest < /proc/$$/stat; ";

/// A field of our own `/proc/self/stat`, by its number in proc_pid_stat(5).
fn own_stat(number: usize) -> String {
    let stat = fs::read_to_string("/proc/self/stat").expect("/proc");
    let rest = stat.rsplit_once(") ").expect("a name in brackets").1;
    rest.split(' ').nth(number - 3).expect("a field").to_owned()
}

/// What a child with this plan writes.
fn told(script: &str, change: impl FnOnce(&mut ChildPlan)) -> String {
    let mut plan = shell(script);
    change(&mut plan);
    output(plan)
}

/// Lines of `/proc/self/status`, by the beginnings of their names, one value each.
fn status(names: &str, change: impl FnOnce(&mut ChildPlan)) -> String {
    told(&format!("grep -E '^({names}):' /proc/self/status | tr -s '\\t ' ' '"), change).replace('\n', ", ")
}

fn nobody(groups: &[u32]) -> Option<Credentials> {
    Some(Credentials { uid: NOBODY, gid: NOBODY - 1, groups: groups.to_vec() })
}

#[test]
fn a_child_stands_in_the_group_and_session_of_its_plan() {
    let mut leader = shell("exec sleep 1000");
    leader.session = Session::NewGroup { terminal: None };
    let leader = run(&leader);
    let (group, session) = (own_stat(5), own_stat(6));
    let where_is = format!("{WHERE} echo $group $session");
    for (place, expected) in [
        (Session::Inherit, format!("{group} {session}")),
        (Session::JoinGroup(leader.pid), format!("{} {session}", leader.pid)),
        (Session::NewGroup { terminal: None }, format!("PID {session}")),
        (Session::NewSession { terminal: None }, "PID PID".to_owned()),
    ] {
        let text = told(&format!("{where_is}; echo $pid"), |plan| plan.session = place);
        let (said, pid) = text.split_once('\n').expect("two lines");
        assert_eq!(said, expected.replace("PID", pid), "{place:?}");
    }
    pidfd::send(&leader.pidfd, Signal::KILL).expect("it sleeps");
    wait::end(Who::Pidfd(leader.pidfd.as_fd())).expect("our child");
}

#[test]
fn a_new_session_has_its_terminal_with_itself_in_the_foreground() {
    let (_master, slave) = group::pseudo_terminal().expect("/dev/ptmx");
    let script = format!("{WHERE} echo $((terminal != 0)) $((foreground == pid))");
    let place = |terminal| move |plan: &mut ChildPlan| plan.session = Session::NewSession { terminal };
    assert_eq!(told(&script, place(Some(slave.as_raw_fd()))), "1 1");
    assert_eq!(told(&script, place(None)), "0 0");
}

#[test]
fn a_new_group_takes_the_foreground_of_the_terminal_of_its_session() {
    let (_master, slave) = group::pseudo_terminal().expect("/dev/ptmx");
    let number = slave.as_raw_fd();
    let place = |plan: &mut ChildPlan| {
        plan.session = Session::NewSession { terminal: Some(number) };
        plan.fds.push(FdMapping { from: number, to: 0 });
    };
    let name = "fork::tests::effects::a_new_group_takes_the_foreground_of_the_terminal_of_its_session";
    alone(name, place, || {
        let script = format!("{WHERE} echo $((group == pid)) $((foreground == pid))");
        for (terminal, expected) in [(None, "1 0"), (Some(0), "1 1")] {
            assert_eq!(told(&script, |plan| plan.session = Session::NewGroup { terminal }), expected);
        }
    });
}

#[test]
fn directory_mask_and_priorities_are_those_of_the_plan() {
    let nice: i8 = own_stat(19).parse().expect("a nice value");
    let score: i16 =
        fs::read_to_string("/proc/self/oom_score_adj").expect("/proc").trim().parse().expect("it");
    let (nicer, sooner) = ((nice + 3).min(19), (score + 7).min(1000));
    let text = told("pwd -P; umask; cut -d' ' -f19 /proc/self/stat; cat /proc/self/oom_score_adj", |plan| {
        plan.dir = Some(b"/usr".to_vec());
        plan.umask = Some(0o027);
        plan.nice = Some(nicer);
        plan.oom_score_adj = Some(sooner);
    });
    assert_eq!(text, format!("/usr\n0027\n{nicer}\n{sooner}"));
    let ours = fs::read_to_string("/proc/self/oom_score_adj").expect("/proc");
    assert_eq!(ours.trim(), score.to_string(), "the memory is shared for a moment, the score is not");
}

#[test]
fn whoever_may_can_also_make_a_child_less_nice_and_spare_it() {
    if holds(SYS_NICE, "a negative nice value") {
        let text = told("cut -d' ' -f19 /proc/self/stat", |plan| plan.nice = Some(-5));
        assert_eq!(text, "-5");
    }
    if holds(SYS_RESOURCE, "a lower score") {
        let text = told("cat /proc/self/oom_score_adj", |plan| plan.oom_score_adj = Some(-1000));
        assert_eq!(text, "-1000");
    }
}

/// Numbers of capabilities(7).
const SYS_NICE: u32 = 23;
const SYS_RESOURCE: u32 = 24;

#[test]
fn a_child_runs_on_the_cpus_of_its_plan_only() {
    let status = fs::read_to_string("/proc/thread-self/status").expect("/proc");
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("its line");
    let highest: u16 = list.trim().rsplit(['-', ',']).next().expect("one").parse().expect("a number");
    if highest.to_string() == list.trim() {
        println!("skipped: there is one CPU only for us");
        return;
    }
    let text = told("grep Cpus_allowed_list /proc/self/status", |plan| plan.affinity = [highest].into());
    assert_eq!(text, format!("Cpus_allowed_list:\t{highest}"));
}

/// Each resource with its name in `/proc/PID/limits`, and limits under which a small program can live.
const RESOURCES: [(Resource, &str, u64, u64); 16] = [
    (Resource::Cpu, "Max cpu time", 1000, 2000),
    (Resource::Fsize, "Max file size", 1 << 20, 1 << 21),
    (Resource::Data, "Max data size", 1 << 30, 1 << 31),
    (Resource::Stack, "Max stack size", 4 << 20, 6 << 20),
    (Resource::Core, "Max core file size", 0, 4096),
    (Resource::Rss, "Max resident set", 1 << 29, 1 << 30),
    (Resource::Nproc, "Max processes", 3000, 3001),
    (Resource::Nofile, "Max open files", 30, 40),
    (Resource::Memlock, "Max locked memory", 4096, 8192),
    (Resource::As, "Max address space", 1 << 32, 1 << 33),
    (Resource::Locks, "Max file locks", 7, 9),
    (Resource::Sigpending, "Max pending signals", 11, 13),
    (Resource::Msgqueue, "Max msgqueue size", 4096, 8192),
    (Resource::Nice, "Max nice priority", 0, 0),
    (Resource::Rtprio, "Max realtime priority", 0, 0),
    (Resource::Rttime, "Max realtime timeout", 1_000_000, 2_000_000),
];

#[test]
fn every_resource_limit_arrives_soft_and_hard() {
    let may_raise = holds(SYS_RESOURCE, "limits above its own; all are lowered or left then");
    let mut wanted = RESOURCES.map(|(resource, _, soft, hard)| {
        let ours = limits::get(resource).expect("getrlimit");
        match resource {
            // These are 0 for most, so that nothing would be seen.
            Resource::Nice | Resource::Rtprio if may_raise => Rlimit { resource, soft: 3, hard: 5 },
            _ => Rlimit { resource, soft: soft.min(ours.hard), hard: hard.min(ours.hard) },
        }
    });
    let find = |text: &str, title: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(title)).expect("a line of limits");
        let value = |word: &str| if word == "unlimited" { Ok(u64::MAX) } else { word.parse() };
        let mut values = line.split_whitespace().map(|word| value(word).expect("a number"));
        (values.next().expect("soft"), values.next().expect("hard"))
    };
    // In the other order too, so that nothing depends on it.
    for _ in 0..2 {
        let text = told("exec cat /proc/self/limits", |plan| plan.rlimits = wanted.into());
        for limit in &wanted {
            let title = RESOURCES.iter().find(|(resource, ..)| *resource == limit.resource).expect("all").1;
            assert_eq!(find(&text, title), (limit.soft, limit.hard), "{title}");
        }
        wanted.reverse();
    }
    assert_eq!(RESOURCES.map(|(resource, ..)| resource), *Resource::ALL);
}

#[test]
fn an_inheritable_fd_that_no_plan_names_is_closed() {
    apart(|| {
        own_fds();
        let (reader, _writer) = fd::pipe().expect("pipe");
        let strays: Vec<_> = [40, 77, 400].map(|least| fd::duplicate(&reader, least).expect("fcntl")).into();
        strays.iter().for_each(|stray| fd::set_cloexec(stray, false).expect("fcntl"));
        let numbers: Vec<_> = strays.iter().map(|stray| stray.as_raw_fd()).collect();
        let before = open_fds();
        // A shell keeps what it finds; `ls` adds the directory that it reads.
        let list = |change: &dyn Fn(&mut ChildPlan)| told("ls /proc/self/fd", |plan| change(plan));
        assert_eq!(list(&|_| {}), "0\n1\n2\n3");
        let listed = list(&|plan| plan.fds.push(FdMapping { from: numbers[1], to: 5 }));
        assert_eq!(listed, "0\n1\n2\n3\n5");
        let kept = list(&|plan| plan.keep_fds = true);
        let found = |number: &i32| kept.lines().any(|line| line == number.to_string());
        assert!(numbers.iter().all(found), "{kept}");
        assert_eq!(open_fds(), before, "and ours stay open, and no more of them");
    });
}

#[test]
fn user_and_groups_are_those_of_the_plan_and_we_keep_ours() {
    if !is_root("to be somebody else") {
        return;
    }
    let names = "Uid|Gid|Groups";
    let text = status(names, |plan| plan.credentials = nobody(&[7, 5]));
    assert_eq!(text, "Uid: 65534 65534 65534 65534, Gid: 65533 65533 65533 65533, Groups: 5 7");
    let text = status(names, |plan| plan.credentials = nobody(&[]));
    assert!(text.ends_with("Groups:"), "none of ours: {text}");
    assert_eq!(group::users(), (0, 0));
}

#[test]
fn an_ordinary_user_may_name_itself() {
    apart(|| {
        super::apart::become_ordinary();
        let ((uid, _), (gid, _)) = (group::users(), group::groups());
        let groups = group::supplementary().expect("getgroups");
        let text = status("Uid|Gid", |plan| plan.credentials = Some(Credentials { uid, gid, groups }));
        assert_eq!(text, format!("Uid: {uid} {uid} {uid} {uid}, Gid: {gid} {gid} {gid} {gid}"));
    });
}

#[test]
fn a_birth_as_another_user_leaves_us_as_open_to_our_user_as_before() {
    if !is_root("to be somebody else") {
        return;
    }
    let name = "fork::tests::effects::a_birth_as_another_user_leaves_us_as_open_to_our_user_as_before";
    alone(
        name,
        |_| {},
        || {
            let dumpable = |value: Option<usize>| {
                let option = if value.is_some() { libc::PR_SET_DUMPABLE } else { libc::PR_GET_DUMPABLE };
                // SAFETY: both options take numbers only.
                unsafe {
                    crate::raw::call(libc::SYS_prctl, [option as usize, value.unwrap_or(0), 0, 0, 0, 0])
                }
            };
            for before in [1, 0, 1] {
                dumpable(Some(before)).expect("prctl");
                assert_eq!(told("id -u", |plan| plan.credentials = nobody(&[])), NOBODY.to_string());
                assert_eq!(dumpable(None), Ok(before));
            }
            let mut plan = shell("");
            plan.credentials = nobody(&[]);
            plan.programs = [b"/nonexistent".to_vec()].into();
            assert!(spawn(&plan).is_err());
            assert_eq!(dumpable(None), Ok(1), "also when the birth failed");
            let together = std::thread::scope(|scope| {
                let births: Vec<_> = (0..8)
                    .map(|_| scope.spawn(|| told("id -u", |plan| plan.credentials = nobody(&[]))))
                    .collect();
                births.into_iter().map(|birth| birth.join().expect("a birth")).collect::<Vec<_>>()
            });
            assert!(together.iter().all(|uid| *uid == NOBODY.to_string()), "{together:?}");
            assert_eq!(dumpable(None), Ok(1), "also when several threads did");
        },
    );
}

/// CAP_KILL and CAP_NET_BIND_SERVICE.
const KILL: u64 = 1 << 5;
const BIND: u64 = 1 << 10;

#[test]
fn capabilities_are_exactly_those_of_the_plan() {
    if !is_root("to give capabilities away") {
        return;
    }
    let both = KILL | BIND;
    let cases = [
        // An ordinary user holds the ambient ones; the bounding set is what may ever be had.
        (nobody(&[]), both, BIND, [BIND, BIND, BIND, both, BIND]),
        (nobody(&[]), both, 0, [0, 0, 0, both, 0]),
        // Root's program gets all of the bounding set.
        (None, both, 0, [0, both, both, both, 0]),
        (None, both, BIND, [BIND, both, both, both, BIND]),
        (None, 0, 0, [0; 5]),
    ];
    for (credentials, bounding, ambient, sets) in cases {
        let text = status("Cap.*", |plan| {
            plan.credentials = credentials.clone();
            plan.capabilities = Some(Capabilities { bounding, ambient });
        });
        let names = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
        let lines = names.iter().zip(sets).map(|(name, set)| format!("{name}: {set:016x}"));
        let expected: Vec<_> = lines.collect();
        assert_eq!(text, expected.join(", "), "{credentials:?} {bounding:x} {ambient:x}");
    }
    // Without a word about capabilities a change of user takes all that can be used, and leaves the bound.
    let text = status("CapPrm|CapEff|CapAmb", |plan| plan.credentials = nobody(&[]));
    assert_eq!(text, "CapPrm: 0000000000000000, CapEff: 0000000000000000, CapAmb: 0000000000000000");
}

#[test]
fn no_new_privileges_is_set_if_the_plan_says_so() {
    for on in [false, true] {
        let before = fs::read_to_string("/proc/thread-self/status").expect("/proc");
        if before.contains("NoNewPrivs:\t1") && !on {
            println!("skipped: we have no new privileges ourselves");
            continue;
        }
        let text = status("NoNewPrivs", |plan| plan.no_new_privs = on);
        assert_eq!(text, format!("NoNewPrivs: {}", u8::from(on)));
    }
}

#[test]
fn signals_are_as_the_plan_says_whatever_we_do_with_them() {
    apart(|| {
        // This thread's mask, and the dispositions of the process.
        let before = signal::set_mask(SignalSet::EMPTY.with(Signal::USR2));
        signal::ignore(Signal::WINCH).expect("sigaction");
        let text = status("Sig(Blk|Ign)", |_| {});
        let listed = status("Sig(Blk|Ign)", |plan| {
            plan.ignored_signals = [Signal::HUP, Signal::PIPE].into();
            plan.blocked_signals = [Signal::TERM].into();
        });
        signal::reset(Signal::WINCH).expect("sigaction");
        signal::set_mask(before);
        assert_eq!(text, "SigBlk: 0000000000000000, SigIgn: 0000000000000000");
        assert_eq!(listed, "SigBlk: 0000000000004000, SigIgn: 0000000000001001");
    });
}

/// Sets an alarm, adopts orphans, and leaves a signal pending for this thread; all of that belongs to us.
fn encumber() {
    let alarm: [u64; 4] = [0, 0, 1000, 0];
    let (at, us) = (alarm.as_ptr() as usize, group::pid().get() as usize);
    // SAFETY: the kernel reads two times, and numbers.
    let set = unsafe { crate::raw::call(libc::SYS_setitimer, [libc::ITIMER_REAL as usize, at, 0, 0, 0, 0]) };
    set.expect("setitimer");
    crate::adopt::set_subreaper(true).expect("prctl");
    signal::set_mask(SignalSet::EMPTY.with(Signal::USR2));
    let signal = Signal::USR2.number() as usize;
    // SAFETY: takes no argument.
    let thread = unsafe { crate::raw::call(libc::SYS_gettid, [0; 6]) }.expect("we are one");
    // SAFETY: takes numbers only.
    unsafe { crate::raw::call(libc::SYS_tgkill, [us, thread, signal, 0, 0, 0]) }.expect("it is us");
}

#[test]
fn an_alarm_a_pending_signal_and_the_adoption_of_orphans_are_ours_and_not_a_childs() {
    const SCRIPT: &str = "import ctypes, signal\nit = ctypes.c_int(-1)\n\
        ctypes.CDLL(None).prctl(37, ctypes.byref(it), 0, 0, 0)\nprint(signal.alarm(0), signal.sigpending(), it.value)";
    let test = "fork::tests::effects::an_alarm_a_pending_signal_and_the_adoption_of_orphans_are_ours_and_not_a_childs";
    alone(
        test,
        |_| {},
        || {
            encumber();
            for session in [Session::Inherit, Session::NewSessionUnled] {
                let script = format!("command -v python3 >&2 || exec echo none; exec python3 -c '{SCRIPT}'");
                match told(&script, |plan| plan.session = session).as_str() {
                    "none" => println!("skipped: no python3"),
                    told => assert_eq!(told, "0 set() 0"),
                }
            }
            // It would end us when this thread does not block it any more.
            signal::ignore(Signal::USR2).expect("sigaction");
        },
    );
}

#[test]
fn arguments_and_environment_are_exactly_those_of_the_plan() {
    let text = told("echo \"$0\" \"$@\"", |plan| {
        plan.args[0] = b"another name".to_vec();
        plan.args.extend([b"one".to_vec(), b"".to_vec(), b"\xff two".to_vec()]);
    });
    assert_eq!(text, "one  \u{fffd} two");
    assert_eq!(
        told("tr '\\0' , < /proc/$$/cmdline", |plan| plan.args[0] = b"x y".to_vec()).split(',').next(),
        Some("x y")
    );
    let text = told("", |plan| {
        plan.programs = [b"/usr/bin/env".to_vec()].into();
        plan.args = [b"env".to_vec()].into();
        plan.env = [b"B=2".to_vec(), b"A=".to_vec(), b"LISTEN_PID=1".to_vec()].into();
    });
    assert_eq!(text, "B=2\nA=\nLISTEN_PID=1");
}

#[test]
fn the_death_of_the_thread_that_gave_birth_is_told_by_its_signal_also_to_another_user() {
    let users = if is_root("to be somebody else") { [None, nobody(&[])] } else { [None, None] };
    for credentials in users {
        let born = apart(|| {
            let mut plan = shell("exec sleep 60");
            plan.parent_death_signal = Some(Signal::USR1);
            plan.credentials = credentials;
            run(&plan)
        });
        let end = wait::end(Who::Pidfd(born.pidfd.as_fd()));
        assert_eq!(end, Ok(ExitStatus::signal(Signal::USR1)));
    }
}

#[test]
fn a_child_is_born_in_its_cgroup_and_can_move_to_others() {
    let Some(cgroup) = super::fallbacks::Cgroup::new("born") else { return };
    let here = |change: &dyn Fn(&mut ChildPlan)| told("grep ^0:: /proc/self/cgroup", |plan| change(plan));
    assert!(!here(&|_| {}).ends_with(&cgroup.name));
    assert!(here(&|plan| plan.cgroup = Some(cgroup.directory.as_raw_fd())).ends_with(&cgroup.name));
    let procs = cgroup.procs();
    assert!(here(&|plan| plan.cgroup_procs = [procs.as_raw_fd()].into()).ends_with(&cgroup.name));
}
