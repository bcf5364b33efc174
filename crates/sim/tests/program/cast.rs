//! Each behaviour of the cast, played alone on paper: what is to be seen of it.
//!
//! PID 1 bears it as 2, buries whoever ends, and tells of each end.

use doula_model::signal::Signal;
use doula_sim::program::{Stage, cast};
use std::time::Duration;

const INIT: &str = "
    fork as it { exec IT }
    loop {
        wait4 any as dead status
        if failed ECHILD { loop { pause } }
        notify ended $dead $status
    }";

const MOMENT: Duration = Duration::from_millis(10);
const SECOND: Duration = Duration::from_secs(1);

/// The behaviour, a moment after its birth.
fn stage(name: &str) -> Stage {
    let init = INIT.replace("IT", name);
    let mut scripts = vec![("init", init.as_str())];
    scripts.extend(cast::ALL);
    let mut stage = Stage::new(&scripts).expect("scripts");
    stage.pass(MOMENT);
    stage
}

/// What was told since, without the numbers of who told it.
fn told(stage: &mut Stage) -> Vec<String> {
    stage.take_told().iter().map(|(_, text)| text.to_string()).collect()
}

/// Number, parent and group of everybody who is there, and the letters of those who are no ordinary programs.
fn seen(stage: &Stage) -> Vec<String> {
    let all = stage.everybody().into_iter().filter(|look| look.pid > 1);
    all.map(|look| format!("{} of {} in {}: {}", look.pid, look.ppid, look.pgid, look.state)).collect()
}

fn term(stage: &mut Stage) {
    stage.kill(2, Signal::TERM).expect("it is there");
    stage.pass(MOMENT);
}

#[test]
fn polite_ends_with_0_when_it_is_asked_to() {
    let mut stage = stage("polite");
    assert_eq!(told(&mut stage), ["READY=1"]);
    term(&mut stage);
    assert_eq!(told(&mut stage), ["ended 2 0"]);
}

#[test]
fn ignores_term_lives_until_it_is_killed() {
    let mut stage = stage("ignores-term");
    term(&mut stage);
    assert_eq!((told(&mut stage), seen(&stage)), (vec!["READY=1".into()], vec!["2 of 1 in 1: S".into()]));
    stage.kill(2, Signal::KILL).expect("it is there");
    stage.pass(MOMENT);
    assert_eq!(told(&mut stage), ["ended 2 9"]);
}

#[test]
fn slow_stop_ends_two_seconds_after_it_was_asked_to_however_often() {
    let mut stage = stage("slow-stop");
    term(&mut stage);
    stage.pass(SECOND);
    term(&mut stage);
    assert_eq!(told(&mut stage), ["READY=1"]);
    stage.pass(SECOND);
    assert_eq!(told(&mut stage), ["ended 2 0"]);
}

#[test]
fn crash_loop_ends_with_1_after_a_moment() {
    let mut stage = stage("crash-loop");
    assert_eq!(seen(&stage), ["2 of 1 in 1: R"]);
    stage.pass(SECOND);
    assert_eq!(told(&mut stage), ["ended 2 256"]);
}

#[test]
fn ready_then_dies_is_killed_by_its_own_signal() {
    let mut stage = stage("ready-then-dies");
    assert_eq!(told(&mut stage), ["READY=1"]);
    stage.pass(SECOND);
    assert_eq!(told(&mut stage), ["ended 2 11"]);
}

#[test]
fn double_forker_leaves_an_orphan_in_a_session_of_its_own() {
    let mut stage = stage("double-forker");
    assert_eq!(seen(&stage), ["4 of 1 in 3: S"]);
    assert_eq!(told(&mut stage), ["ended 2 0"]);
}

#[test]
fn fork_bomb_is_sixteen_processes() {
    let mut stage = stage("fork-bomb");
    assert_eq!(seen(&stage).len(), 16);
    term(&mut stage);
    assert_eq!((told(&mut stage), seen(&stage).len()), (vec!["ended 2 15".into()], 15));
    assert!(stage.everybody().iter().all(|look| look.ppid != 2), "all were adopted");
}

#[test]
fn zombie_maker_has_five_zombies_which_its_death_gives_to_init() {
    let mut stage = stage("zombie-maker");
    let zombies = seen(&stage).into_iter().filter(|line| line.ends_with("of 2 in 1: Z")).count();
    assert_eq!(zombies, 5);
    term(&mut stage);
    assert_eq!((told(&mut stage).len(), seen(&stage).len()), (6, 0));
}

#[test]
fn stops_itself_hears_nothing_before_it_goes_on() {
    let mut stage = stage("stops-itself");
    assert_eq!(seen(&stage), ["2 of 1 in 1: T"]);
    term(&mut stage);
    assert_eq!(told(&mut stage), ["READY=1"]);
    stage.kill(2, Signal::CONT).expect("it is there");
    stage.pass(MOMENT);
    assert_eq!(told(&mut stage), ["ended 2 0"]);
}

#[test]
fn stuck_in_d_takes_no_signal_before_its_child_has_ended_but_dies_of_sigkill() {
    let mut stuck = stage("stuck-in-d");
    assert_eq!(seen(&stuck), ["2 of 1 in 1: D", "3 of 2 in 1: R"]);
    let mut killed = stuck.clone();
    term(&mut stuck);
    assert_eq!(seen(&stuck), ["2 of 1 in 1: D", "3 of 2 in 1: R"]);
    stuck.pass(10 * SECOND);
    assert_eq!(told(&mut stuck), ["ended 2 0", "ended 3 0"]);
    killed.kill(2, Signal::KILL).expect("it is there");
    killed.pass(MOMENT);
    assert_eq!((told(&mut killed), seen(&killed)), (vec!["ended 2 9".into()], vec!["3 of 1 in 1: R".into()]));
}

#[test]
fn holds_the_pipe_open_is_gone_and_its_output_has_no_end() {
    let mut stage = stage("holds-the-pipe-open");
    assert_eq!((told(&mut stage), seen(&stage)), (vec!["ended 2 0".into()], vec!["3 of 1 in 3: S".into()]));
    assert_eq!(stage.read(100).map(|bytes| bytes.len()), Some(64));
    // Init has the pipe too, so that only its last writer can tell: nothing there is no end.
    assert_eq!(stage.read(100), None);
    stage.kill(3, Signal::KILL).expect("it is there");
    stage.kill(1, Signal::KILL).expect("it is there");
    stage.pass(MOMENT);
    assert_eq!(stage.read(100), Some(Vec::new()), "the end");
}

#[test]
fn exits_while_being_stopped_dies_of_something_else() {
    let mut stage = stage("exits-while-being-stopped");
    term(&mut stage);
    assert_eq!(told(&mut stage), ["READY=1"]);
    stage.pass(SECOND);
    assert_eq!(told(&mut stage), ["ended 2 6"]);
}

#[test]
fn log_flooder_writes_as_fast_as_somebody_reads() {
    let mut stage = stage("log-flooder");
    assert_eq!(seen(&stage), ["2 of 1 in 1: S"], "it sleeps before a full pipe");
    let first: usize = std::iter::from_fn(|| stage.read(4096)).map(|bytes| bytes.len()).sum();
    stage.pass(MOMENT);
    let second: usize = std::iter::from_fn(|| stage.read(4096)).map(|bytes| bytes.len()).sum();
    assert!(first >= 65536 && second >= 65536, "{first} and {second} bytes");
}

#[test]
fn a_script_traces_its_child_and_keeps_a_signal_from_it() {
    let text = "fork as it {\n  ptrace me\n  kill $self TERM\n  exit 3\n}\nwait4 pid $it as who status\n\
                notify $status\nptrace cont $it 0\nwait4 pid $it as who status\nnotify $status\npause";
    let mut stage = Stage::new(&[("tracer", text)]).expect("a script");
    stage.pass(Duration::from_secs(1));
    assert_eq!(told(&mut stage), ["3967", "768"], "it stood at SIGTERM (0xf7f) and ended with 3 (0x300)");
}
