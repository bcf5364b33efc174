//! What is told of a death in a snapshot, on tables that are written by hand.

use doula_model::forecast::{Adoption, Burial, End, Fate, Forecast, HangUp, Heard, Note, Why, Zombie};
use doula_model::signal::Signal;
use doula_model::snapshot::{Process, Signals, Snapshot, Terminal, VERSION};
use doula_sim::kernel::BadSnapshot;
use doula_sim::what_if::{Death, NoForecast, forecast};

const KILL: Death = Death::Kill(Signal::KILL);

fn bit(signal: Signal) -> u64 {
    1 << (signal.number() - 1)
}

/// A process in the group and session of PID 1, of which all is known.
fn process(pid: i32, ppid: i32) -> Process {
    Process {
        pid,
        ppid,
        pgid: 1,
        sid: 1,
        state: 'S',
        name: format!("p{pid}").into_bytes(),
        started: pid as u64,
        threads: 1,
        uid: Some(0),
        numbers: vec![pid],
        namespace: Some(1),
        terminal: None,
        signals: Some(Signals::default()),
        waits: Some(false),
        subreaper: Some(false),
        death_signal: Some(0),
    }
}

fn group(pgid: i32, sid: i32, process: Process) -> Process {
    Process { pgid, sid, ..process }
}

fn snapshot(processes: &[Process]) -> Snapshot {
    let mut all = vec![process(1, 0)];
    all.extend_from_slice(processes);
    Snapshot { version: VERSION, initial: true, processes: all }
}

fn after(processes: &[Process], pid: i32, death: Death) -> Forecast {
    forecast(&snapshot(processes), pid, death).expect("a forecast")
}

fn adoption(pid: i32, from: i32, by: i32) -> Adoption {
    Adoption { pid, from, by, unless: vec![] }
}

fn zombie(pid: i32, parent: i32, burial: Burial) -> Zombie {
    Zombie { pid, parent, burial }
}

#[test]
fn children_go_to_init_dead_ones_too_and_the_dead_are_their_parents_to_bury() {
    let waits = Process { waits: Some(true), ..process(2, 1) };
    let hears = Signals { caught: bit(Signal::CHLD), ..Signals::default() };
    let family = [
        waits,
        Process { signals: Some(hears), ..process(3, 2) },
        process(4, 3),
        Process { state: 'Z', ..process(5, 3) },
    ];
    let told = after(&family, 3, Death::Exit(300));
    assert_eq!(told.fate, Fate::Dies(44 << 8));
    assert_eq!(told.adopted, [adoption(4, 3, 1), adoption(5, 3, 1)]);
    assert_eq!(told.zombies, [zombie(3, 2, Burial::Waits), zombie(5, 1, Burial::Silent)]);
    assert!(told.hung_up.is_empty() && told.ended.is_empty() && told.notes.is_empty(), "{told:?}");
    let told = after(&family, 4, KILL);
    assert_eq!((told.fate, told.zombies), (Fate::Dies(9), vec![zombie(4, 3, Burial::Hears)]));
}

#[test]
fn the_nearest_subreaper_adopts_and_those_who_may_be_one_are_named() {
    let unknown = |process| Process { subreaper: None, ..process };
    let family =
        [process(2, 1), unknown(process(3, 2)), process(4, 3), unknown(process(5, 4)), process(6, 5)];
    let told = after(&family, 5, KILL);
    assert_eq!(told.adopted, [Adoption { unless: vec![3], ..adoption(6, 5, 1) }]);
    let mut known = family.clone();
    known[0].subreaper = Some(true);
    let told = after(&known, 5, KILL);
    assert_eq!(told.adopted, [Adoption { unless: vec![3], ..adoption(6, 5, 2) }]);
    // A child in a session in which its parent never was is adopted.
    let mut proven = family.to_vec();
    proven.push(Process { sid: 70, ..process(7, 3) });
    let told = after(&proven, 5, KILL);
    assert_eq!(told.adopted, [adoption(6, 5, 3)]);
    assert_eq!(told.notes, [Note::Subreaper { pid: 3, child: 7 }]);
}

#[test]
fn who_may_have_been_in_a_childs_session_is_not_taken_for_a_subreaper() {
    let leader = Process { sid: 3, subreaper: None, ..process(3, 2) };
    let child = Process { sid: 7, ..process(8, 3) };
    let family = |more: Vec<Process>| [vec![process(2, 1), leader.clone(), process(4, 3)], more].concat();
    let notes = |more| after(&family(more), 4, KILL).notes;
    assert_eq!(notes(vec![child.clone()]), [], "it may have borne it before it made its own session");
    assert_eq!(notes(vec![Process { sid: 8, ..child.clone() }]), [], "the child has made its session itself");
    let elder = Process { sid: 7, started: 2, ..process(7, 2) };
    assert_eq!(notes(vec![elder, child.clone()]), [], "it may have been born in it");
    let younger = Process { sid: 7, ..process(7, 3) };
    assert_eq!(notes(vec![younger, child]), [Note::Subreaper { pid: 3, child: 8 }]);
}

#[test]
fn a_stopped_group_that_nobody_can_continue_any_more_is_told_and_dies_or_hears_it() {
    let hears = Signals { caught: bit(Signal::HUP), ..Signals::default() };
    let shell = group(2, 2, process(2, 1));
    let job = group(3, 2, Process { state: 'T', ..process(3, 2) });
    let member = group(3, 2, Process { signals: Some(hears), ..process(4, 3) });
    let told = after(&[shell, job, member], 2, KILL);
    let signals = vec![Signal::HUP, Signal::CONT];
    assert_eq!(told.hung_up, [HangUp { pgid: 3, why: Why::Orphaned, signals, members: vec![3, 4] }]);
    assert_eq!(told.ended, [End { pid: 3, status: 1 }]);
    assert_eq!(told.heard, [Heard { pid: 4, signals: vec![Signal::HUP] }]);
    assert_eq!(told.adopted, [adoption(3, 2, 1), adoption(4, 3, 1)]);
}

#[test]
fn the_foreground_group_of_a_session_that_loses_its_leader_gets_sighup_alone() {
    let terminal = |process| Process { terminal: Some(Terminal { device: 34816, foreground: 3 }), ..process };
    let leader = terminal(group(2, 2, process(2, 1)));
    let foreground = terminal(group(3, 2, process(3, 2)));
    let stopped = Process { state: 'T', ..terminal(group(4, 2, process(4, 2))) };
    let told = after(&[leader.clone(), foreground.clone()], 2, KILL);
    let hung_up = HangUp { pgid: 3, why: Why::Foreground, signals: vec![Signal::HUP], members: vec![3] };
    assert_eq!((&told.hung_up, &told.ended), (&vec![hung_up], &vec![End { pid: 3, status: 1 }]));
    let told = after(&[leader, foreground, stopped], 2, KILL);
    let groups: Vec<i32> = told.hung_up.iter().map(|group| group.pgid).collect();
    assert_eq!(groups, [3, 4], "a stopped job in the background is orphaned as well");
    assert_eq!(told.ended, [End { pid: 3, status: 1 }, End { pid: 4, status: 1 }]);
}

#[test]
fn who_is_a_child_of_one_that_ignores_sigchld_leaves_no_zombie() {
    let ignores = Signals { ignored: bit(Signal::CHLD), ..Signals::default() };
    let family = [Process { signals: Some(ignores), ..process(2, 1) }, process(3, 2), process(4, 3)];
    let told = after(&family, 3, KILL);
    assert_eq!((told.vanished, told.zombies), (vec![3], vec![]));
}

#[test]
fn with_its_init_a_namespace_dies_and_init_does_not_hear_its_own() {
    let inside =
        |pid, own, ppid| Process { numbers: vec![pid, own], namespace: Some(2), ..process(pid, ppid) };
    let family = [process(2, 1), inside(3, 1, 2), inside(4, 2, 3), inside(5, 3, 4)];
    let told = after(&family, 4, KILL);
    assert_eq!(told.adopted, [adoption(5, 4, 3)], "by the init of its own namespace");
    let told = after(&family, 3, KILL);
    assert_eq!(told.ended, [End { pid: 4, status: 9 }, End { pid: 5, status: 9 }]);
    assert_eq!((told.zombies, told.vanished), (vec![zombie(3, 2, Burial::Silent)], vec![4, 5]));
    assert_eq!(after(&family, 3, Death::Kill(Signal::TERM)).fate, Fate::IsInit);
    assert_eq!(after(&family, 1, KILL).fate, Fate::IsInit);
}

#[test]
fn the_death_signals_that_are_known_are_played_and_the_others_are_open() {
    let family = [process(2, 1), Process { death_signal: Some(15), ..process(3, 2) }];
    assert_eq!(after(&family, 2, KILL).ended, [End { pid: 3, status: 15 }]);
    let open = [process(2, 1), Process { death_signal: None, ..process(3, 2) }];
    assert_eq!(after(&open, 2, KILL).notes, [Note::DeathSignals { children: 1 }]);
}

#[test]
fn who_does_not_die_is_told_with_its_reason() {
    let does = |signals| Process { signals: Some(signals), ..process(2, 1) };
    let term = bit(Signal::TERM);
    let nothing = Signals::default();
    let all = bit(Signal::KILL) | term;
    for (process, death, fate) in [
        (does(Signals { ignored: all, ..nothing }), Death::Kill(Signal::TERM), Fate::Ignores),
        (does(Signals { ignored: all, ..nothing }), KILL, Fate::Dies(9)),
        (does(Signals { caught: term, ..nothing }), Death::Kill(Signal::TERM), Fate::Catches),
        (does(Signals { blocked: all, ..nothing }), Death::Kill(Signal::TERM), Fate::Blocks),
        (process(2, 1), Death::Kill(Signal::CHLD), Fate::Survives),
        (Process { state: 'T', ..process(2, 1) }, Death::Kill(Signal::TERM), Fate::IsStopped),
        (Process { state: 'T', ..process(2, 1) }, Death::Exit(0), Fate::IsStopped),
        (Process { state: 'T', ..process(2, 1) }, KILL, Fate::Dies(9)),
        (Process { state: 'Z', ..process(2, 1) }, KILL, Fate::IsDead),
    ] {
        assert_eq!(after(std::slice::from_ref(&process), 2, death).fate, fate, "{death:?} of {process:?}");
    }
    let stuck = Process { state: 'D', signals: None, threads: 3, ..process(2, 1) };
    let notes = after(&[stuck], 2, KILL).notes;
    assert_eq!(notes, [Note::InD, Note::Threads { count: 3 }, Note::NoSignals { pid: 2 }]);
}

#[test]
fn a_group_or_a_session_whose_leader_is_gone_keeps_its_number() {
    let family = [group(88, 88, process(2, 1)), group(77, 88, Process { state: 'T', ..process(3, 2) })];
    let told = after(&family, 2, KILL);
    let hung_up: Vec<(i32, &[i32])> =
        told.hung_up.iter().map(|group| (group.pgid, &group.members[..])).collect();
    assert_eq!(hung_up, [(77, &[3][..])]);
}

#[test]
fn what_is_no_table_of_a_machine_is_refused() {
    let bad = |snapshot: &Snapshot, pid| forecast(snapshot, pid, KILL).expect_err("no forecast");
    let of = |error| NoForecast::Snapshot(error);
    assert_eq!(bad(&snapshot(&[]), 7), NoForecast::Nobody(7));
    assert_eq!(bad(&snapshot(&[process(2, 1), process(2, 1)]), 2), of(BadSnapshot::Number(2)));
    assert_eq!(bad(&snapshot(&[process(-2, 1)]), 2), of(BadSnapshot::Number(-2)));
    assert_eq!(bad(&snapshot(&[process(2, 3), process(3, 2)]), 2), of(BadSnapshot::OwnAncestor(2)));
    let orphan = Snapshot { processes: vec![process(2, 1)], ..snapshot(&[]) };
    assert_eq!(bad(&orphan, 2), of(BadSnapshot::NoInit));
    assert_eq!(bad(&Snapshot { version: 2, ..snapshot(&[]) }, 1), of(BadSnapshot::Version(2)));
    let deep = |pid, depth| Process {
        numbers: (0..depth).map(|at| if at + 1 == depth { 1 } else { pid }).collect(),
        namespace: None,
        ..process(pid, pid - 1)
    };
    let tower: Vec<Process> = (2..12).map(|pid| deep(pid, pid)).collect();
    assert!(matches!(bad(&snapshot(&tower), 2), NoForecast::Snapshot(BadSnapshot::TooDeep(_))));
}
