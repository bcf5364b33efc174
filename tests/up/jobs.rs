//! Scheduled jobs that really come due. The finest schedule is one minute, so this takes up to one.

use crate::family::{Family, count, place};
use serde_json::Value;
use std::time::{Duration, Instant};

/// How the job is when it waits for its next time: asked until it does.
fn at_rest(family: &Family, job: &str) -> Value {
    let end = Instant::now() + Duration::from_secs(40);
    loop {
        let status = family.status(job);
        if status["state"] == "scheduled" {
            return status;
        }
        assert!(Instant::now() < end, "it never rests: {status}");
    }
}

#[test]
fn a_job_runs_when_it_is_due_and_by_hand_and_waits_for_its_next_time() {
    let mut family = Family::up(
        "[service.job]\ncommand = \"ACTORS/exit_with 0\"\nschedule = \"* * * * *\"\n\
         [service.bad]\ncommand = \"ACTORS/exit_with 3\"\nschedule = \"* * * * * UTC\"\n\
         [service.never]\ncommand = \"ACTORS/exit_with 0\"\nschedule = \"0 0 29 2 *\"\n\
         [service.slow]\ncommand = \"ACTORS/polite\"\n\
         schedule = { cron = \"* * * * *\", overlap = \"skip\" }\n\
         [service.next]\ncommand = \"ACTORS/polite\"\n\
         schedule = { cron = \"* * * * *\", overlap = \"queue\" }\n\
         [service.other]\ncommand = \"ACTORS/polite\"\n",
    );
    family.expect("polite: ready");
    // By hand a job runs at once; these two still run when they are due.
    family.ask(&["start", "slow", "next", "--no-wait"]);
    let said = family.home.ctl(&["start", "job"]);
    assert_eq!(said.code, Some(0), "by hand it runs at once: {said:?}");
    family.expect("job exited cleanly");
    let status = at_rest(&family, "job");
    let next = status["next_start"].as_f64().unwrap_or_else(|| panic!("no next time: {status}"));
    assert!((0.0..=60.0).contains(&next), "{next}");
    family.expect_within("job started", Duration::from_secs(100));
    family.expect("job exited cleanly");
    let why = family.home.ctl(&["why", "job"]);
    assert!(why.out.contains("its schedule is due"), "{why:?}");
    // A run that still goes on leaves the next one out, or has it follow.
    family.ask(&["signal", "TERM", "slow", "next"]);
    family.expect("next exited cleanly");
    family.expect("next started");
    at_rest(&family, "slow");
    // A failure waits for the next time, as a success does.
    assert!(!at_rest(&family, "bad")["last_exit"].is_null(), "it was due in the same minute");
    let (code, lines) = family.shut_down();
    assert!(count(&lines, "job started") >= 2, "{}", lines.join("\n"));
    assert_eq!(count(&lines, "never started"), 0);
    place(&lines, "slow was due, but its last run still goes on: this run is left out");
    assert_eq!((count(&lines, "slow started"), count(&lines, "next started")), (1, 2));
    place(&lines, "bad exited with code 3");
    assert_eq!(code, Some(0));
}
