//! `doula why`: for what a job waits, or how it ended, as long as its run is at work.

use super::Scratch;
use super::bounded::{Said, end_of, line, lines};
use super::looked_at::{doula, wait_for};
use serde_json::Value;
use std::io::Write as _;
use std::process::Child;

/// What is told of a job of this run: root sees those of other tests too.
fn why(scratch: &Scratch, run: u32, job: &str) -> Said {
    end_of(doula(scratch, &["why", job, "--run", &run.to_string()]))
}

/// How many there are in this list of what a run shows.
fn count(run: &Value, list: &str) -> usize {
    run[list].as_array().map_or(0, Vec::len)
}

fn interrupt(run: &Child) {
    let pid = rustix::process::Pid::from_child(run);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it was not waited for yet");
}

/// Ends a run that nothing else would end.
fn end(run: Child) {
    interrupt(&run);
    assert_eq!(end_of(run).code, Some(130));
}

#[test]
fn a_run_at_work_tells_of_each_of_its_jobs_why_it_is_as_it_is() {
    let scratch = Scratch::new("why");
    let (path, mut gate) = scratch.fifo("gate");
    let script = format!("case {{}} in a) kill -SEGV $$;; b) ;; c) exit 4;; *) read line <{path};; esac");
    let args = ["--retries", "1", "--retry-on", "4", "--retry-delay", "1000h", "--shell", &script];
    let inputs = [":::", "a", "b", "c", "d", "e", "f"];
    let run = doula(&scratch, &[&["run", "-j2"], args.as_slice(), inputs.as_slice()].concat());
    let is_so = |run: Option<&Value>| {
        run.is_some_and(|run| run["in_work"] == 2 && run["done"] == 1 && count(run, "resting") == 1)
    };
    wait_for(&scratch, run.id(), is_so).expect("there");
    let said = why(&scratch, run.id(), "1");
    assert!(
        said.out.contains(") was killed by SIGSEGV") && said.out.contains("attempt 1, in slot "),
        "{said:?}"
    );
    assert!(said.out.contains(", process ") && said.out.contains(", waited for by its parent ("), "{said:?}");
    assert_eq!(why(&scratch, run.id(), "2").out, "job 2 succeeded\n");
    let said = why(&scratch, run.id(), "3");
    let rests = "job 3 exited with code 4 in attempt 1 and waits for the next one, which is due in ";
    assert!(said.out.starts_with(rests), "{said:?}");
    let said = why(&scratch, run.id(), "4");
    assert!(said.out.starts_with("job 4 (d) is in work for ") && said.out.contains(", in slot "), "{said:?}");
    let said = why(&scratch, run.id(), "6");
    assert_eq!(said.out, "job 6 was not begun: every place has a job that runs (-j 2)\n");
    let said = why(&scratch, run.id(), "7");
    assert_eq!((said.code, said.err.as_str()), (Some(2), "error: there is no job 7: the run has 6\n"));
    let said = why(&scratch, run.id(), "web");
    assert!(said.code == Some(2) && said.err.contains("doula ctl why web"), "{said:?}");
    writeln!(gate, "go\ngo\ngo").expect("room in a pipe");
    end(run);
}

#[test]
fn a_job_that_was_ended_with_its_run_is_not_said_to_have_succeeded() {
    let scratch = Scratch::new("given-up");
    let ((path, _gate), (deaf, told)) = (scratch.fifo("gate"), scratch.fifo("deaf"));
    let script = format!("test {{}} = b || {{ trap '' TERM; echo deaf >{deaf}; }}; read line <{path}");
    let run = doula(&scratch, &["run", "-j2", "--grace", "1h", "--shell", &script, ":::", "a", "b"]);
    assert_eq!(line(&mut lines(told)), "deaf\n");
    wait_for(&scratch, run.id(), |run| run.is_some_and(|run| run["in_work"] == 2)).expect("there");
    interrupt(&run);
    wait_for(&scratch, run.id(), |run| run.is_some_and(|run| run["in_work"] == 1)).expect("one is deaf");
    let said = why(&scratch, run.id(), "2");
    assert!(said.out.starts_with("job 2 was given up with its run\n"), "{said:?}");
    end(run);
}

#[test]
fn a_job_that_waits_for_memory_is_told_so() {
    let scratch = Scratch::new("short");
    let run = doula(&scratch, &["run", "--memfree", "1000000G", "true", ":::", "a"]);
    wait_for(&scratch, run.id(), |run| run.is_some_and(|run| !run["waits"].is_null())).expect("there");
    let said = why(&scratch, run.id(), "1");
    assert!(
        said.out.contains("nothing is begun, for less memory is available than --memfree asks for"),
        "{said:?}"
    );
    end(run);
}

#[test]
fn a_run_with_a_journal_is_found_and_asked_by_it() {
    let scratch = Scratch::new("found");
    let (path, mut gate) = scratch.fifo("gate");
    let journal = scratch.path("journal");
    let script = format!("read line <{path}");
    let run = doula(&scratch, &["run", "--journal", &journal, "--shell", &script, ":::", "a"]);
    wait_for(&scratch, run.id(), |run| run.is_some_and(|run| run["in_work"] == 1)).expect("there");
    let said = why(&scratch, run.id(), "1");
    assert!(said.out.contains(" runs; process "), "{said:?}");
    writeln!(gate, "go").expect("room in a pipe");
    let pid = run.id();
    assert_eq!(end_of(run).code, Some(0));
    let said = why(&scratch, pid, "1");
    assert!(
        said.code == Some(2)
            && said.err.contains(&format!("process {pid} is no run of yours that is at work")),
        "{said:?}"
    );
    let said = end_of(doula(&scratch, &["why", "1", "--journal", &journal]));
    assert!(
        said.out.contains("succeeded") && said.out.contains("attempt 1 of run 1: it exited cleanly"),
        "{said:?}"
    );
}

#[test]
fn of_two_runs_at_work_the_one_that_is_named_is_asked() {
    let scratch = Scratch::new("two");
    let runs = ["1001", "1002"].map(|time| doula(&scratch, &["run", "sleep", ":::", time]));
    for run in &runs {
        wait_for(&scratch, run.id(), |run| run.is_some_and(|run| run["in_work"] == 1)).expect("there");
    }
    let said = end_of(doula(&scratch, &["why", "1"]));
    assert!(said.code == Some(2) && said.err.contains(" runs are at work: "), "{said:?}");
    assert!(runs.iter().all(|run| said.err.contains(&format!("{} (doula run sleep)", run.id()))), "{said:?}");
    let said = why(&scratch, runs[1].id(), "1");
    assert!(said.out.starts_with("job 1 (1002) is in work for "), "{said:?}");
    runs.into_iter().for_each(end);
}
