//! Processes that do not end when they should: in the kernel's hands, or out of sight.

use crate::actors::actor;
use crate::contain::skipped;
use crate::family::{Family, Home, place};
use crate::freezer::{Freezer, Newcomer, newcomer};
use crate::hidden::{Hierarchies, without};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, pidfd_open};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::process::{Child, Stdio};

#[test]
fn a_stop_that_waits_for_a_process_in_the_kernel_says_so_and_ends_when_it_wakes_up() {
    let home = Home::new(
        "[service.deaf]\ncommand = \"ACTORS/polite\"\nstop = { grace = \"100ms\" }\n\
         [service.other]\ncommand = \"sleep 1000\"\n",
    );
    let Some(freezer) = Freezer::new(&home.name) else { return };
    let mut family = Family::start(home, &[]);
    family.expect("polite: ready");
    let pid = family.status("deaf")["pid"].to_string();
    freezer.freeze(pid.parse().expect("a number"));
    assert_eq!(family.ask(&["stop", "deaf", "--no-wait"])[0]["name"], "deaf");
    let told = family.expect("sleeps in the kernel (state D");
    assert!(told.contains(&format!("deaf waits for pid {pid}, which")), "{told}");
    let status = family.status("deaf");
    assert_eq!(
        (&status["state"], status["unkillable"]["pid"].to_string()),
        (&"stopping".into(), pid.clone())
    );
    let why = family.home.ctl(&["why", "deaf"]).out;
    assert!(why.contains(&format!("It waits for pid {pid}, which sleeps in the kernel")), "{why}");
    freezer.thaw();
    let said = family.home.ctl(&["wait", "deaf", "--until", "stopped"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    drop(freezer);
    family.shut_down();
}

#[test]
fn who_is_missed_by_the_kill_of_what_a_service_left_is_killed_again() {
    let home = Home::new(
        "[service.web]\ncommand = \"ACTORS/polite\"\nstop = { leftover-grace = \"100ms\" }\n\
         [service.other]\ncommand = \"sleep 1000\"\n",
    );
    let Some(freezer) = Freezer::new(&home.name) else { return };
    let mut family = Family::start(home, &[]);
    family.expect("polite: ready");
    let pid = family.status("web")["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a number");
    // Their ends are not told to the supervisor, as none is of who was missed.
    let Some(stays) = newcomer(pid) else { return };
    freezer.freeze(stays.pid());
    assert_eq!(family.ask(&["stop", "web", "--no-wait"])[0]["name"], "web");
    let missed = freezer.one_is_missed(stays.pid());
    assert_eq!((stays.end(), missed.map(Newcomer::end)), (Some(9), Some(Some(9))));
    let said = family.home.ctl(&["wait", "web", "--until", "stopped"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    drop(freezer);
    family.shut_down();
}

#[test]
fn without_cgroups_the_family_is_said_empty_after_those_out_of_sight_are_ended() {
    // Two forks, two sessions, no environment: whose they are cannot be seen any more.
    let home = Home::new(
        "[service.hidden]\nshell = true\n\
         command = \"env -i setsid sh -c 'exec env -i setsid sleep 1000 &' & wait; echo hidden; exec sleep 1000\"\n",
    );
    let Some(command) = without(Hierarchies::V2, &home) else { return };
    let mut family = Family::with(home, command);
    family.expect("hidden | hidden");
    let (code, lines) = family.shut_down();
    let ended = place(&lines, "processes that belonged to no service were killed and buried");
    assert!(ended < place(&lines, "the family is empty"), "{}", lines.join("\n"));
    assert_eq!(code, Some(0));
}

#[test]
fn who_ignores_sigterm_in_a_session_of_its_own_is_ended_with_cgroups_and_without() {
    let configuration = "[service.wild]\nshell = true\nstop = { leftover-grace = \"100ms\" }\n\
         command = \"(setsid ACTORS/ignore_term &); exec sleep 1000\"\n\
         [service.other]\ncommand = \"sleep 1000\"\n";
    for hidden in [None, Some(Hierarchies::V2), Some(Hierarchies::ReadOnly)] {
        let home = Home::new(configuration);
        let mut family = match hidden {
            None => Family::start(home, &[]),
            Some(what) => {
                let Some(command) = without(what, &home) else { return };
                Family::with(home, command)
            }
        };
        family.expect("wild | ignore_term: ready");
        let said = family.home.ctl(&["stop", "wild"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        family.expect("wild is empty: no process of it is left (1 had outlived");
        family.shut_down();
    }
}

/// The server of a program whose execve(2) stands still in the middle, at `/proc/PID/root/dev/fuse`. Its end is that of its
/// standard input.
struct Slow(Child);

impl Slow {
    fn new(home: &Home) -> Option<Slow> {
        let mut server = home.command(actor("execs_slowly"));
        let server = server.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("an actor");
        let mut slow = Slow(server);
        if slow.word() != "ready" {
            skipped("a file system of our own (/dev/fuse) is not to be had here");
            return None;
        }
        Some(slow)
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        let out = self.0.stdout.as_mut().expect("a pipe");
        BufReader::with_capacity(1, out).read_line(&mut word).expect("a word");
        word.trim().to_owned()
    }

    fn go_on(&mut self) {
        self.0.stdin.as_mut().expect("a pipe").write_all(b"\n").expect("the server lives");
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}

#[test]
fn without_cgroups_a_service_is_not_over_while_somebody_is_in_the_middle_of_execve() {
    let home = Home::new("");
    let Some(mut slow) = Slow::new(&home) else { return };
    home.write(&format!(
        "[service.slow]\nshell = true\nstop = {{ leftover-grace = \"100ms\" }}\n\
         command = \"(setsid sh -c 'echo is $$; exec /proc/{}/root/dev/fuse' &); exec sleep 1000\"\n\
         [service.other]\ncommand = \"sleep 1000\"\nautostart = false\n\
         [service.stays]\ncommand = \"sleep 1000\"\n",
        slow.0.id()
    ));
    let Some(command) = without(Hierarchies::V2, &home) else { return };
    let mut family = Family::with(home, command);
    let told = family.expect("slow | is ");
    let number = told.rsplit(' ').next().and_then(|word| word.parse().ok()).expect("a number");
    let escaped = rustix::process::Pid::from_raw(number).expect("a number");
    assert_eq!(slow.word(), "held");
    let held = pidfd_open(escaped, PidfdFlags::empty()).expect("it lives");
    let mut end = [PollFd::from_borrowed_fd(held.as_fd(), PollFlags::IN)];
    family.ask(&["stop", "slow", "--no-wait"]);
    family.expect("slow was killed by SIGTERM");
    // Who was born after it holds nobody up, and is looked for by the same looks.
    family.ask(&["start", "other"]);
    family.ask(&["stop", "other"]);
    assert_eq!(family.status("slow")["state"], "clearing", "it may have left somebody behind");
    slow.go_on();
    let said = family.home.ctl(&["wait", "slow", "--until", "stopped"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(poll(&mut end, Some(&Timespec::default())), Ok(1), "nobody is left behind");
    family.shut_down();
}
