//! `doula queue`: what a journal says to people and programs, and jobs that are run again.

use super::bounded::{end_of, line, lines};
use super::{DOULA, Said, Scratch, run, start};
use std::io::Write as _;
use std::process::{Command, Stdio};

fn queue(args: &[&str]) -> Said {
    let mut doula = Command::new(DOULA);
    doula.arg("queue").args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    end_of(doula.spawn().expect("doula starts"))
}

fn why(job: &str, journal: &str) -> Said {
    let mut doula = Command::new(DOULA);
    doula.args(["why", job, "--journal", journal]);
    doula.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    end_of(doula.spawn().expect("doula starts"))
}

/// A run of which one job fails as long as a file is missing, and one is killed.
fn ended(scratch: &Scratch) -> Vec<String> {
    let (journal, cured) = (scratch.path("journal"), scratch.path("cured"));
    let job = format!("case {{}} in 2) test -e {cured};; 3) kill -9 $$;; esac; exit $?");
    let args =
        ["-j1", "--journal", &journal, "--shell", &job, ":::", "1", "2", "3"].map(str::to_owned).to_vec();
    let said = run(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(said.code, Some(1), "{said:?}");
    args
}

#[test]
fn a_journal_tells_people_and_programs_what_became_of_each_job() {
    let scratch = Scratch::new("show");
    ended(&scratch);
    let journal = scratch.path("journal");
    let said = queue(&["show", &journal]);
    let rows: Vec<Vec<&str>> =
        said.out.lines().map(|line| line.split_whitespace().take(3).collect()).collect();
    assert_eq!(
        rows,
        [["JOB", "STATE", "TRIES"], ["1", "done", "1"], ["2", "failed", "1"], ["3", "failed", "1"]]
    );
    assert_eq!(said.err, "1 done, 2 failed: the run came to its end\n");
    let said = queue(&["show", "--json", "--state", "failed", &journal]);
    let values: Vec<serde_json::Value> =
        said.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(values.len(), 2);
    assert_eq!((&values[0]["task"], &values[0]["failure"]["code"]), (&2.into(), &1.into()));
    let said = why("3", &journal);
    assert!(
        said.out.contains("failed: it was killed by SIGKILL, and there were no more attempts"),
        "{said:?}"
    );
    assert!(said.out.contains("attempt 1 of run 1: it was killed by SIGKILL after "), "{said:?}");
    let said = why("9", &journal);
    assert_eq!(said.out, "job 9 was not begun: no run is at work at the journal (doula run --resume)\n");
    assert_eq!(queue(&["show", &scratch.path("none")]).code, Some(125));
}

#[test]
fn a_journal_is_exported_as_a_job_log_and_as_a_script_for_sqlite() {
    let scratch = Scratch::new("export");
    ended(&scratch);
    let journal = scratch.path("journal");
    let said = queue(&["export", "--joblog", &journal]);
    let rows: Vec<Vec<&str>> = said.out.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows[0].join(" "), "Seq Host Starttime JobRuntime Send Receive Exitval Signal Command");
    let ends: Vec<_> = rows[1..].iter().map(|row| (row[0], row[6], row[7])).collect();
    assert_eq!(ends, [("1", "0", "0"), ("2", "1", "0"), ("3", "0", "9")]);
    let said = queue(&["export", "--sql", &journal]);
    assert!(
        said.out.starts_with("BEGIN;\nCREATE TABLE jobs ") && said.out.ends_with("COMMIT;\n"),
        "{said:?}"
    );
    assert!(
        said.out.contains("INSERT INTO jobs VALUES (2, 'failed', 1, 'sh -c ''case 2 in"),
        "quoted: {said:?}"
    );
    let refused = queue(&["export", &journal]);
    assert!(refused.code == Some(2) && refused.err.contains("--joblog|--sql|--sqlite"), "{refused:?}");
    assert_eq!(queue(&["export", "--sql", "--joblog", &journal]).code, Some(2), "one of them");
}

#[test]
#[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
fn a_journal_becomes_a_new_database_or_the_reason_why_not_is_told() {
    let scratch = Scratch::new("sqlite");
    ended(&scratch);
    let (journal, database) = (scratch.path("journal"), scratch.path("jobs.db"));
    let export = |path: &str| {
        let mut command = Command::new(DOULA);
        command.args(["queue", "export", &journal, "--sqlite", &database]).env("PATH", path);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        end_of(command.spawn().expect("doula starts"))
    };
    let missing = export("/nonexistent");
    assert!(missing.code == Some(125) && missing.err.contains("install sqlite3"), "{missing:?}");
    let path = std::env::var("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|folder| folder.join("sqlite3").exists()) {
        println!("skipped: there is no sqlite3 here");
        return;
    }
    let made = export(&path);
    assert_eq!((made.code, made.out.as_str(), made.err.as_str()), (Some(0), "", ""));
    let query = "select job, state, attempts from jobs; select job, code, signal from attempts";
    let rows = Command::new("sqlite3").args([&database, query]).output().expect("sqlite3");
    let rows = String::from_utf8_lossy(&rows.stdout).into_owned();
    assert_eq!(rows, "1|done|1\n2|failed|1\n3|failed|1\n1|0|\n2|1|\n3||9\n");
    let again = export(&path);
    assert!(again.code == Some(125) && again.err.contains("exists"), "{again:?}");
}

#[test]
fn jobs_that_came_to_their_end_are_run_again_when_that_is_said() {
    let scratch = Scratch::new("retry");
    let args = ended(&scratch);
    let journal = scratch.path("journal");
    std::fs::write(scratch.path("cured"), "").expect("written");
    let again = |more: &[&str]| {
        let args: Vec<&str> = ["--resume"].into_iter().chain(args.iter().map(String::as_str)).collect();
        run(&[more, &args].concat())
    };
    assert!(queue(&["retry", &journal, "7"]).err.starts_with("error: job 7 did not come to its end yet"));
    let said = queue(&["retry", &journal, "--failed"]);
    assert_eq!(
        (said.code, said.err.as_str()),
        (Some(0), "2 jobs are run again by the next doula run --resume\n")
    );
    assert!(why("2", &journal).out.contains("is run again by the next doula run --resume"));
    let said = again(&[]);
    assert_eq!(said.code, Some(1), "the third dies again: {said:?}");
    let said = queue(&["show", &journal]);
    assert_eq!(said.err, "2 done, 1 failed: the run came to its end\n");
}

#[test]
fn a_run_at_work_is_looked_at_and_not_disturbed() {
    let scratch = Scratch::new("look");
    let ((said, both), (go, mut hold)) = (scratch.fifo("said"), scratch.fifo("go"));
    let journal = scratch.path("journal");
    let job = format!("echo begun >{said}; read x <{go}; : {{}}");
    let doula = start(&["-j1", "--journal", &journal, "--shell", &job, ":::", "1", "2"]);
    let mut reader = lines(both);
    assert_eq!(line(&mut reader), "begun\n");
    let shown = queue(&["show", &journal]);
    assert_eq!(shown.err, "1 runs: a run is at work\n");
    assert!(why("1", &journal).out.contains(" runs; process "));
    let said = why("2", &journal).out;
    assert_eq!(said, "job 2 was not begun: every place has a job that runs (-j 1)\n");
    let said = queue(&["retry", &journal, "1"]);
    assert!(said.code == Some(2) && said.err.contains("works at the journal"), "{said:?}");
    writeln!(hold, "on\non").expect("written");
    assert_eq!(end_of(doula).code, Some(0));
}
