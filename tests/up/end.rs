//! How a family ends: patiently, hurried, or by force; and nothing is left.

use crate::family::{Family, place};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

#[test]
fn who_ignores_sigterm_is_killed_after_its_grace() {
    let mut family =
        Family::up("[service.deaf]\ncommand = \"ACTORS/ignore_term\"\nstop = { grace = \"100ms\" }\n");
    family.expect("ignore_term: ready");
    let (code, lines) = family.shut_down();
    place(&lines, "deaf was killed by SIGKILL");
    assert_eq!(code, Some(0), "{}", lines.join("\n"));
}

#[test]
fn a_second_ctrl_c_hurries_and_a_third_kills() {
    let mut family = Family::up(
        "[service.first]\ncommand = \"ACTORS/ignore_term\"\nstop = { grace = \"1h\" }\n\
         [service.later]\ncommand = \"ACTORS/ignore_term\"\nrequires = [\"first\"]\nstop = { grace = \"1h\" }\n",
    );
    family.expect("later | ignore_term: ready");
    family.signal(Signal::INT);
    family.expect("later is stopping");
    assert_eq!(family.status("first")["state"], "up");
    family.signal(Signal::INT);
    family.expect("first is stopping");
    family.signal(Signal::INT);
    let (_, lines) = family.end();
    place(&lines, "first was killed by SIGKILL");
    place(&lines, "later was killed by SIGKILL");
}

#[test]
fn nobody_escapes_by_a_session_of_its_own_a_double_fork_or_by_number() {
    for (actor, said) in [
        ("double_fork stay", "double_fork"),
        ("orphan_maker 5 60000 10", "orphan_maker"),
        ("fork_storm 60", "fork_storm"),
    ] {
        let mut family = Family::up(&format!(
            "[service.wild]\ncommand = \"ACTORS/{actor}\"\nstop = {{ leftover-grace = \"200ms\" }}\n"
        ));
        family.expect(&format!("wild | {said}"));
        let (_, lines) = family.shut_down();
        place(&lines, "the family is empty");
    }
}

#[test]
fn who_keeps_the_pipe_open_does_not_keep_the_family() {
    let (code, lines) = Family::up(
        "[service.task]\ncommand = \"ACTORS/holds_pipe\"\nkind = \"oneshot\"\nstop = { leftover-grace = \"200ms\" }\n",
    )
    .end();
    assert_eq!(code, Some(0), "{}", lines.join("\n"));
}

#[test]
fn a_post_stop_command_runs_when_nothing_of_the_service_is_left() {
    let mut family =
        Family::up("[service.web]\ncommand = \"ACTORS/polite\"\npost-stop = [\"echo\", \"swept up\"]\n");
    family.expect("polite: ready");
    let (code, lines) = family.shut_down();
    assert!(place(&lines, "web exited cleanly") < place(&lines, "swept up"));
    assert_eq!(code, Some(0));
}

#[test]
fn a_test_that_fails_leaves_nothing_even_if_its_supervisor_cannot_be_asked() {
    let mut family = Family::up("[service.web]\ncommand = \"ACTORS/polite\"\n");
    family.expect("polite: ready");
    // Without its socket `doula ctl` does not find it, so that it is killed and cannot end its services.
    let pidfd = family.main_of("web");
    std::fs::remove_dir_all(family.home.dir.join("doula")).expect("the supervisor's folder");
    drop(family);
    // Readable as soon as it has ended.
    let mut polled = [PollFd::new(&pidfd, PollFlags::IN)];
    let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
    assert_eq!(poll(&mut polled, Some(&limit)), Ok(1), "the service is left");
}
