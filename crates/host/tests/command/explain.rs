//! What `explain` says is what happens: a real birth is traced and compared.

use doula_host::{Capabilities, Command, Credentials, Resource, Signal, Stdio};
use std::process;

/// Everything that anybody may ask for, so that it also works for an ordinary user.
fn everything() -> Command {
    let mut command = Command::exact("/bin/true");
    command
        .args(["one", "two"])
        .env_clear()
        .env("A", "1")
        .dir("/")
        .umask(0o027)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::same_as(1))
        .fd(7, Stdio::null())
        .new_session()
        .limit(Resource::Core, 0)
        .limit(Resource::Nofile, 64)
        .nice(19)
        .cpus(allowed_cpu())
        .oom_score(1000)
        .no_new_privs()
        .parent_death_signal(Signal::TERM)
        .ignore([Signal::HUP])
        .block([Signal::USR1]);
    if doula_sys::group::users().1 == 0 {
        command.user(Credentials { uid: 0, gid: 0, groups: vec![0, 1] });
        command.capabilities(Capabilities { bounding: 1, ambient: 1 });
    }
    command
}

/// One on which we may run.
fn allowed_cpu() -> Option<u16> {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    list.trim().split(['-', ',']).next()?.parse().ok()
}

/// The same in a session that nobody leads.
fn everything_unled() -> Command {
    let mut command = everything();
    command.new_session_unled();
    command
}

/// A program that is traced: this test, alone in a process of its own.
#[test]
fn a_birth_with_everything_is_a_birth() {
    let status = everything().status();
    assert!(status.as_ref().is_ok_and(|status| status.success()), "{status:?}");
}

/// Another one.
#[test]
fn a_birth_with_everything_in_a_session_without_leader_is_a_birth() {
    let status = everything_unled().status();
    assert!(status.as_ref().is_ok_and(|status| status.success()), "{status:?}");
}

/// Calls that only look.
const LOOKING: [&str; 5] = ["getppid", "getpid", "geteuid", "capget", "PR_CAPBSET_READ"];

/// The names of the calls of the child up to its execve, each row of like calls once. Where a first child made way for it,
/// those of the first one come before.
fn traced(test: &str) -> Option<Vec<String>> {
    let file = std::env::temp_dir().join(format!("doula-strace-{test}-{}", process::id()));
    let done = process::Command::new("strace")
        .args(["-f", "-qq", "-s", "200", "-o"])
        .arg(&file)
        .arg(std::env::current_exe().expect("the path of this test"))
        .args(["--exact", &format!("explain::{test}")])
        .stdout(process::Stdio::null())
        .stderr(process::Stdio::null())
        .status();
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let _ = std::fs::remove_file(&file);
    done.ok().filter(process::ExitStatus::success)?;
    let birth = text.lines().find(|line| line.contains("/bin/true") && line.contains("execve("))?;
    let child = birth.split(' ').next()?;
    let first =
        text.lines().find(|line| line.contains("CLONE_PARENT|")).and_then(|line| line.split(' ').next());
    let mut calls: Vec<_> = first.map(|first| calls_of(&text, first)).unwrap_or_default();
    calls.truncate(calls.iter().position(|call| call.starts_with("clone")).map_or(0, |clone| clone + 1));
    calls.extend(calls_of(&text, child));
    calls.dedup();
    let end = calls.iter().position(|call| call == "execve")?;
    calls.truncate(end + 1);
    Some(calls)
}

fn calls_of(text: &str, process: &str) -> Vec<String> {
    let calls = text.lines().filter_map(|line| line.strip_prefix(process)?.trim().split_once('('));
    let calls =
        calls.filter(|(name, rest)| !LOOKING.iter().any(|look| name == look || rest.starts_with(look)));
    let is_name = |name: &&str| name.chars().all(|c| c.is_alphanumeric() || c == '_');
    calls.map(|(name, _)| name).filter(is_name).map(str::to_owned).collect()
}

#[test]
fn a_birth_makes_the_calls_that_explain_says_in_its_order() {
    for (command, test) in [
        (everything(), "a_birth_with_everything_is_a_birth"),
        (everything_unled(), "a_birth_with_everything_in_a_session_without_leader_is_a_birth"),
    ] {
        let Some(traced) = traced(test) else {
            return println!("skipped: nothing can be traced by strace here");
        };
        let explained = command.explain().expect("a sound command");
        let birth = explained.iter().position(|call| call.starts_with("clone3")).expect("a birth");
        let names = explained[birth + 1..].iter().filter_map(|call| Some(call.split_once('(')?.0.to_owned()));
        let mut names: Vec<String> = names.collect();
        names.dedup();
        assert_eq!(names, traced, "{explained:#?}");
    }
}

#[test]
fn explain_touches_nothing() {
    let file = std::env::temp_dir().join(format!("doula-untouched-{}", process::id()));
    std::fs::write(&file, "precious").expect("a file");
    let calls = Command::exact("/bin/true").stdout(Stdio::write(&file)).explain().expect("a sound command");
    assert!(calls[0].contains("O_WRONLY|O_CREAT|O_TRUNC"), "{calls:?}");
    assert_eq!(std::fs::read_to_string(&file).expect("a file"), "precious");
    std::fs::remove_file(&file).expect("our own file");
}

#[test]
fn an_explanation_of_nonsense_is_the_error_of_the_birth() {
    let mut command = Command::new("a\0b");
    assert_eq!(command.explain().err(), command.spawn().err());
    assert!(Command::new("true").argv::<&str>([]).spawn().is_err(), "a program without a name");
    command = Command::new("true");
    command.env("A=B", "c");
    let error = command.explain().expect_err("no name");
    assert_eq!(error.to_string(), "a variable of `true` cannot have the name `A=B`");
    let error = Command::exact("").spawn().expect_err("no name");
    assert_eq!(error.to_string(), "there is no program to run");
    let error = Command::new("true").fd(900, Stdio::inherit()).spawn().expect_err("nothing is 900");
    assert!(error.hint().is_some_and(|hint| hint.starts_with("an fd is not open here")), "{error}");
    let error = Command::new("true").fd(5, Stdio::same_as(6)).spawn().expect_err("nothing is 6");
    assert_eq!(error.to_string(), "fd 5 of `true` cannot be the same as fd 6, which is not given");
}
