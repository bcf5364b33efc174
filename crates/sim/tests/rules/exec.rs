//! E1 to E7: execution.

use crate::world::World;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sim::kernel::call::{Access, Call, Clone, Mask, Value, Wait};
use doula_sim::kernel::sigset::{Action, SigSet};
use doula_sim::kernel::version::{Config, KernelVersion};
use doula_sim::kernel::{Fault, Kernel, Outcome, Program, TaskId};

/// The smallest file that Linux takes for a program: a header and one segment, which may name a loader.
fn elf(kind: u16, machine: u16, loader: Option<&str>) -> Vec<u8> {
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for half in [kind, machine] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1_u32.to_le_bytes());
    for long in [0x0040_0000_u64, 64, 0] {
        file.extend(long.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let name = loader.map_or(Vec::new(), |loader| [loader.as_bytes(), b"\0"].concat());
    let kind: u32 = if loader.is_some() { 3 } else { 1 };
    for word in [kind, 5] {
        file.extend(word.to_le_bytes());
    }
    let length = name.len() as u64;
    for long in [120_u64, 0, 0, length, length, 1] {
        file.extend(long.to_le_bytes());
    }
    file.extend(name);
    file
}

const EXECUTABLE: u16 = 2;
const RELOCATABLE: u16 = 1;
const X86_64: u16 = 62;
const SPARC: u16 = 2;

/// A machine with `/bin/prog`, and a child of init that may execute it.
fn machine() -> (World, TaskId, TaskId) {
    let (mut world, init) = World::new();
    world.install("/bin/prog", true, &elf(EXECUTABLE, X86_64, None));
    let child = world.fork(init);
    (world, init, child)
}

fn exec(path: &str, args: &[&str]) -> Call {
    let args = args.iter().map(ToString::to_string).collect();
    Call::Execve(Box::new(Program { path: path.into(), args, env: Vec::new() }))
}

#[test]
fn e1_what_fails_before_the_point_of_no_return_leaves_the_process_as_it_was() {
    let (mut world, _, child) = machine();
    world.make_directory("/bin");
    world.install("/no-x", false, &elf(EXECUTABLE, X86_64, None));
    world.install("/text", true, b"hello\n");
    world.install("/empty", true, b"");
    world.install("/lost", true, b"#!/nowhere\n");
    world.install("/blank", true, b"#! \t\n");
    world.install("/cut", true, &[b"#!".as_slice(), &[b'a'; 300]].concat());
    world.install("/object", true, &elf(RELOCATABLE, X86_64, None));
    world.install("/sparc", true, &elf(EXECUTABLE, SPARC, None));
    world.install("/torn", true, &elf(EXECUTABLE, X86_64, None)[..70]);
    world.install("/loaderless", true, &elf(EXECUTABLE, X86_64, Some("/lib/ld.so")));
    world.install("/badly-loaded", true, &elf(EXECUTABLE, X86_64, Some("/text")));
    world.install("/worse-loaded", true, &elf(EXECUTABLE, X86_64, Some("/long-text")));
    world.install("/long-text", true, &[b'a'; 64]);
    for level in 0..8 {
        let line = format!("#!/deep{}\n", level + 1);
        world.install(&format!("/deep{level}"), true, line.as_bytes());
    }
    world.number(child, Call::Getpid);
    let before = world.state_hash();
    for (path, errno) in [
        ("/nothing", Errno::ENOENT),
        ("/bin", Errno::EACCES),
        ("/no-x", Errno::EACCES),
        ("/text", Errno::ENOEXEC),
        ("/empty", Errno::ENOEXEC),
        ("/lost", Errno::ENOENT),
        ("/blank", Errno::ENOEXEC),
        ("/cut", Errno::ENOEXEC),
        ("/object", Errno::ENOEXEC),
        ("/sparc", Errno::ENOEXEC),
        ("/torn", Errno::ENOEXEC),
        ("/loaderless", Errno::ENOENT),
        ("/badly-loaded", Errno::EIO),
        ("/worse-loaded", Errno::ELIBBAD),
        ("/deep0", Errno::ELOOP),
    ] {
        assert_eq!(world.error(child, exec(path, &[path])), errno, "{path}");
        assert_eq!(world.state_hash(), before, "{path}");
    }
}

#[test]
fn e1_a_program_that_is_open_for_writing_is_busy() {
    let (mut world, init, child) = machine();
    let fd = world.number(init, Call::Open("/bin/prog".into(), Access::Write));
    assert_eq!(world.error(child, exec("/bin/prog", &["p"])), Errno::ETXTBSY);
    world.done(init, Call::Close(fd));
    world.done(child, exec("/bin/prog", &["p"]));
}

#[test]
fn e1_arguments_are_limited_one_by_one_and_by_the_stack() {
    let (mut world, _, child) = machine();
    let long = "a".repeat(128 * 1024 - 1);
    assert_eq!(
        world.error(child, exec("/bin/prog", &[&format!("{long}a")])),
        Errno::E2BIG,
        "one is too long"
    );
    let many = vec![long.as_str(); 15];
    world.done(child, Call::LimitStack(4 << 20));
    assert_eq!(world.error(child, exec("/bin/prog", &many)), Errno::E2BIG, "a quarter of 4 MiB");
    world.done(child, Call::LimitStack(64 << 20));
    assert_eq!(
        world.error(child, exec("/bin/prog", &vec![long.as_str(); 48])),
        Errno::E2BIG,
        "6 MiB at most"
    );
    world.done(child, exec("/bin/prog", &many));
}

#[test]
fn e1_who_became_a_user_with_too_many_processes_is_told_here() {
    let (mut world, init, child) = machine();
    let other = world.fork(init);
    world.done(other, Call::Setuid(7));
    world.done(child, Call::LimitProcesses(1));
    world.done(child, Call::Setuid(7));
    assert_eq!(world.error(child, exec("/bin/prog", &["p"])), Errno::EAGAIN);
    world.exit(other, 0);
    world.wait(init, Wait::any());
    world.done(child, exec("/bin/prog", &["p"]));
}

#[test]
fn e2_what_fails_after_the_point_of_no_return_kills() {
    let (mut world, init, child) = machine();
    world.inject(Fault::AfterNoReturn);
    assert_eq!(world.call(child, exec("/bin/prog", &["p"])), Outcome::Gone);
    assert_eq!(world.wait(init, Wait::any()), (2, Signal::SEGV.number()));
}

#[test]
fn e3_all_other_threads_die_and_whoever_executes_takes_the_leaders_number() {
    let (mut world, init, main) = machine();
    let thread = world.clone_task(main, Clone::THREAD);
    let third = world.clone_task(main, Clone::THREAD);
    let orphan = world.fork(main);
    world.done(thread, exec("/bin/prog", &["p"]));
    assert_eq!((world.state(main), world.state(third)), ('-', '-'));
    assert_eq!(world.pid(thread), 2);
    assert_eq!(world.ppid(orphan), 2);
    world.exit(thread, 5);
    assert_eq!(world.wait(init, Wait::any()), (2, 5 << 8), "its parent sees one process all the time");
}

#[test]
fn e3_a_thread_that_waits_to_be_alone_sleeps_in_d_and_can_be_killed() {
    let (mut world, init, main) = machine();
    let thread = world.clone_task(main, Clone::THREAD);
    world.enter(thread, exec("/bin/prog", &["p"]));
    assert_eq!(world.state(thread), 'D');
    world.enter(init, Call::Kill(2, Signal::KILL.number()));
    world.settle();
    assert_eq!(world.wait(init, Wait::any()), (2, Signal::KILL.number()));
}

#[test]
fn e3_descriptors_are_parted_from_who_shares_them_and_close_on_exec_closes() {
    let (mut world, init, child) = machine();
    let Ok(Value::Pair(read, write)) = world.reply(child, Call::Pipe(false)) else { panic!("a pipe") };
    world.done(child, Call::SetCloexec(write, true));
    let sharer = world.clone_task(child, Clone { files: true, ..Clone::FORK });
    world.done(sharer, exec("/bin/prog", &["p"]));
    assert_eq!((world.descriptors(sharer), world.descriptors(child)), (vec![read], vec![read, write]));
    world.done(child, exec("/bin/prog", &["p"]));
    assert_eq!(
        world.reply(sharer, Call::Read(read, 1)),
        Ok(Value::Bytes(vec![])),
        "nobody can write any more"
    );
    assert_eq!(world.state(init), 'R');
}

#[test]
fn e3_the_parent_of_vfork_goes_on() {
    let (mut world, init, parent) = machine();
    world.sleeps(parent, Call::Clone(Clone::VFORK));
    let child = world.find(3).expect("a child");
    world.done(child, exec("/bin/prog", &["p"]));
    assert_eq!(world.woke_with(parent), Some(Ok(Value::Number(3))));
    assert_eq!((world.state(child), world.state(init)), ('R', 'R'));
}

#[test]
fn e4_handlers_go_and_what_is_ignored_blocked_or_pending_stays() {
    let (mut world, init, child) = machine();
    world.act(child, Signal::USR1, Action::IGNORE);
    world.act(child, Signal::USR2, Action::HANDLER);
    let mask = SigSet::of(&[Signal::TERM]);
    world.reply(child, Call::Sigprocmask(Mask::Set, mask)).expect("a mask");
    world.kill(init, child, Signal::TERM);
    world.number(child, Call::Setsid);
    world.done(child, Call::SetParentDeathSignal(Some(Signal::HUP)));
    world.done(child, Call::Alarm(5));
    let before = world.look(child);
    world.done(child, exec("/bin/prog", &["p"]));
    assert_eq!(world.look(child), before, "number, parent, group and session");
    assert_eq!(world.reply(child, Call::Sigpending), Ok(Value::Signals(mask)));
    assert_eq!(world.number(child, Call::GetParentDeathSignal), Signal::HUP.number());
    assert_eq!(world.number(child, Call::Alarm(5)), 5);
    world.kill(init, child, Signal::USR1);
    assert_eq!(world.state(child), 'R');
    world.kill(init, child, Signal::USR2);
    assert_eq!(world.state(child), 'Z', "its handler is gone");
}

#[test]
fn e5_after_it_the_parent_may_not_move_the_child_to_a_group() {
    let (mut world, init, child) = machine();
    world.done(init, Call::Setpgid(2, 2));
    world.done(child, exec("/bin/prog", &["p"]));
    assert_eq!(world.error(init, Call::Setpgid(2, 1)), Errno::EACCES);
    world.done(child, Call::Setpgid(0, 1));
}

#[test]
fn e6_a_script_is_executed_by_its_interpreter_with_one_argument_and_its_path() {
    let (mut world, _, child) = machine();
    for (line, expected) in [
        ("#!/bin/prog\n", vec!["/bin/prog", "/script", "one", "two"]),
        ("#! /bin/prog -e  -x \nrest", vec!["/bin/prog", "-e  -x", "/script", "one", "two"]),
        ("#!/bin/prog", vec!["/bin/prog", "/script", "one", "two"]),
    ] {
        world.install("/script", true, line.as_bytes());
        world.done(child, exec("/script", &["name", "one", "two"]));
        let program = world.program(child).expect("a program");
        assert_eq!(program.args, expected, "{line}");
    }
    for (from, to) in [("/outer", "/inner"), ("/inner", "/bin/prog")] {
        world.install(from, true, format!("#!{to}\n").as_bytes());
    }
    world.done(child, exec("/outer", &["name", "one"]));
    assert_eq!(world.program(child).expect("a program").args, ["/bin/prog", "/inner", "/outer", "one"]);
}

#[test]
fn e6_no_argument_at_all_is_an_empty_one_since_5_18() {
    for (version, count) in [(KernelVersion::V6_18, 1), (KernelVersion { major: 5, minor: 15 }, 0)] {
        let mut world = World(Kernel::with(Config { version, ..Config::default() }));
        world.install("/bin/prog", true, &elf(EXECUTABLE, X86_64, None));
        let init = world.init();
        world.done(init, exec("/bin/prog", &[]));
        assert_eq!(world.program(init).expect("a program").args.len(), count);
    }
}

#[test]
fn e7_a_child_of_another_program_tells_its_end_by_sigchld_whatever_was_asked() {
    let (mut world, _, parent) = machine();
    let child = world.clone_task(parent, Clone { exit_signal: Some(Signal::KILL), ..Clone::FORK });
    world.done(parent, exec("/bin/prog", &["p"]));
    world.act(parent, Signal::CHLD, Action::HANDLER);
    world.exit(child, 0);
    assert_eq!((world.state(parent), world.caught(parent)), ('R', vec![Signal::CHLD.number()]));
}
