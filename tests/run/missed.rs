//! A kill of a cgroup can miss one who is being born: who is left of a job or a worker is killed again.

use super::bounded::{end_of, line, lines};
use super::ending::signal;
use super::freezer::{Freezer, Newcomer, newcomer};
use super::{Scratch, start};
use rustix::process::Signal;
use std::io::Write as _;

fn freezer(name: &str) -> Option<Freezer> {
    Freezer::new(&format!("doula-run-{}-{name}", std::process::id()))
}

#[test]
fn who_is_missed_by_the_kill_of_a_job_is_killed_again() {
    let Some(freezer) = freezer("job") else { return };
    let scratch = Scratch::new("missed");
    let (fifo, both) = scratch.fifo("fifo");
    let job = format!("trap '' TERM; echo $$ >{fifo}; exec sleep 1000");
    let doula = start(&["--grace", "100ms", "--shell", &job, ":::", "1"]);
    let job = line(&mut lines(both)).trim().parse().expect("a number");
    freezer.freeze(job);
    signal(&doula, Signal::INT);
    let missed = freezer.one_is_missed(job);
    assert!(missed.is_none_or(|missed| missed.end() == Some(9)));
    let said = end_of(doula);
    assert_eq!(said.code, Some(130), "{said:?}");
}

#[test]
fn who_is_missed_by_the_kill_of_what_a_worker_left_is_killed_again() {
    let Some(freezer) = freezer("worker") else { return };
    let scratch = Scratch::new("missed-worker");
    let ((told, both), (go, mut hold)) = (scratch.fifo("told"), scratch.fifo("go"));
    let worker = format!(
        "read l; id=${{l#*:}}; id=${{id%%,*}}; echo $$ >{told}; read x <{go}; echo \"{{\\\"id\\\":$id,\\\"output\\\":$id}}\"; read l"
    );
    let doula = start(&["-j1", "--workers", "lines", "sh", "-c", &worker, ":::", "1"]);
    let worker = line(&mut lines(both)).trim().parse().expect("a number");
    // It outlives the worker, so that it is killed with the cgroup when that has ended.
    let stays = newcomer(worker);
    stays.iter().for_each(|stays| freezer.freeze(stays.pid()));
    writeln!(hold, "on").expect("written");
    let missed = stays.as_ref().and_then(|stays| freezer.one_is_missed(stays.pid()));
    let ends: Vec<_> = stays.into_iter().chain(missed).map(Newcomer::end).collect();
    let said = end_of(doula);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "1\n"), "{said:?}");
    assert!(ends.iter().all(|signal| *signal == Some(9)), "{ends:?}");
}
