//! Jobs of a run that is at work and keeps no journal: what it shows of them.

use super::no_slot;
use crate::error::Failure;
use crate::running::{Failed, Job, Resting, Running};
use crate::ui::escape;
use doula_model::words::Span;
use std::time::Duration;

/// Tells it, at this moment, in seconds since the start of the machine.
pub(super) fn tell(run: &Running, job: u64, now: f64) -> Result<String, Failure> {
    if let Some(total) = run.total.filter(|total| job > *total) {
        return Err(Failure::usage(format!("there is no job {job}: the run has {total}")));
    }
    if let Some(at_work) = run.jobs.iter().find(|it| it.number == job) {
        return Ok(in_work(at_work, run, now));
    }
    if let Some(resting) = run.resting.iter().find(|it| it.number == job) {
        return Ok(rests(resting, now));
    }
    if let Some(failed) = run.failures.iter().find(|it| it.number == job) {
        return Ok(failure(failed));
    }
    let text = match &run.queue {
        Some(queue) if run.slots.is_some() => {
            format!("is not in work here, and only who handed it in to the queue {queue} knows more")
        }
        _ if job > run.read && run.total.is_none() => {
            format!("was not begun: {}, or there is no such input", waits(run, "its turn has not come"))
        }
        _ if job > run.read => format!("was not begun: {}", waits(run, "its turn has not come")),
        None if run.waiting.contains(&job) && run.in_work > run.jobs.len() => {
            format!("is in work or waits: {} of the {} in work are shown", run.jobs.len(), run.in_work)
        }
        _ if run.waiting.contains(&job) => format!("waits: {}", waits(run, "it is begun next")),
        _ => ended(run),
    };
    Ok(format!("job {job} {text}\n"))
}

fn in_work(job: &Job, run: &Running, now: f64) -> String {
    let Job { slot, number, attempt, since, input } = job;
    let text =
        format!("job {number} ({}) is in work for {}, in slot {slot}", escape(input), span(now - since));
    let again = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
    let of = run.queue.as_ref().map(|queue| format!(", for the queue {queue}")).unwrap_or_default();
    format!("{text}{again}{of}\n")
}

fn rests(resting: &Resting, now: f64) -> String {
    let Resting { number, attempt, how, until } = resting;
    let left = until - now;
    format!(
        "job {number} {how} in attempt {attempt} and waits for the next one, which is due in {}\n",
        span(left)
    )
}

fn failure(failed: &Failed) -> String {
    let last = failed.last.iter().map(|last| format!("  {}\n", escape(last)));
    format!("{}\n{}", escape(&failed.how), last.collect::<String>())
}

/// Why a job that could begin does not; `next` if nothing is in its way.
fn waits(run: &Running, next: &str) -> String {
    if let Some(why) = &run.waits {
        return format!("nothing is begun, for {}", escape(why));
    }
    match (&run.queue, run.slots) {
        (Some(queue), None) => format!("it is in the queue {queue}, and no result of it has come"),
        (_, Some(slots)) if usize::try_from(slots).is_ok_and(|slots| run.in_work >= slots) => no_slot(slots),
        _ => next.to_owned(),
    }
}

/// It came to its end, and is not among the failures that are shown.
fn ended(run: &Running) -> String {
    let shown = run.failures.len() as u64;
    // Not all that are open are shown either.
    if run.forgotten == 0 && run.waiting.len() < crate::running::MOST {
        return "succeeded".to_owned();
    }
    format!("is not among the last {shown} that failed: it succeeded, or its end is too long ago to be known")
}

fn span(seconds: f64) -> Span {
    Span(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten jobs, two at a time: 1 failed, 2 succeeded, 3 rests, 4 and 5 are in work, 6 waits, the others were not looked at.
    fn run() -> Running {
        let job =
            |slot, number, attempt| Job { slot, number, attempt, since: 98.0, input: "a\x1b.jpg".to_owned() };
        Running {
            slots: Some(2),
            total: Some(10),
            failed: 1,
            done: 1,
            in_work: 2,
            read: 6,
            jobs: vec![job(1, 4, 1), job(2, 5, 2)],
            waiting: vec![6],
            resting: vec![Resting {
                number: 3,
                attempt: 1,
                how: "exited with code 3".to_owned(),
                until: 105.0,
            }],
            failures: vec![Failed {
                number: 1,
                how: "job 1 (x) took too long".to_owned(),
                last: Some("y".to_owned()),
            }],
            ..Running::default()
        }
    }

    fn said(run: &Running, job: u64) -> String {
        tell(run, job, 100.0).unwrap_or_else(|failure| failure.text)
    }

    #[test]
    fn each_state_has_its_sentence() {
        let run = run();
        assert_eq!(said(&run, 1), "job 1 (x) took too long\n  y\n");
        assert_eq!(said(&run, 2), "job 2 succeeded\n");
        assert_eq!(
            said(&run, 3),
            "job 3 exited with code 3 in attempt 1 and waits for the next one, which is due in 5.0 s\n"
        );
        assert_eq!(said(&run, 4), "job 4 (a\\x1b.jpg) is in work for 2.0 s, in slot 1\n");
        assert_eq!(said(&run, 5), "job 5 (a\\x1b.jpg) is in work for 2.0 s, in slot 2, attempt 2\n");
        assert_eq!(said(&run, 6), "job 6 waits: every place has a job that runs (-j 2)\n");
        assert_eq!(said(&run, 10), "job 10 was not begun: every place has a job that runs (-j 2)\n");
        assert_eq!(said(&run, 11), "there is no job 11: the run has 10");
    }

    #[test]
    fn what_keeps_all_from_being_begun_is_told_first() {
        let short = "less memory is available than --memfree asks for".to_owned();
        let run = Running { waits: Some(short.clone()), total: None, ..run() };
        assert_eq!(said(&run, 6), format!("job 6 waits: nothing is begun, for {short}\n"));
        let text =
            format!("job 12 was not begun: nothing is begun, for {short}, or there is no such input\n");
        assert_eq!(said(&run, 12), text);
    }

    #[test]
    fn who_handed_jobs_in_waits_for_results_and_a_worker_knows_its_own_only() {
        let queue = Some("thumbs".to_owned());
        let submitter = Running { slots: None, jobs: Vec::new(), queue: queue.clone(), ..run() };
        assert_eq!(
            said(&submitter, 6),
            "job 6 waits: it is in the queue thumbs, and no result of it has come\n"
        );
        let worker = Running { queue, total: None, failures: Vec::new(), resting: Vec::new(), ..run() };
        assert_eq!(
            said(&worker, 4),
            "job 4 (a\\x1b.jpg) is in work for 2.0 s, in slot 1, for the queue thumbs\n"
        );
        assert!(said(&worker, 9).starts_with("job 9 is not in work here, and only who handed it in"));
    }

    #[test]
    fn who_may_be_in_work_unseen_is_not_said_to_wait() {
        let run = Running { slots: Some(300), in_work: 300, ..run() };
        assert_eq!(said(&run, 6), "job 6 is in work or waits: 2 of the 300 in work are shown\n");
    }

    #[test]
    fn an_end_that_is_too_long_ago_is_not_invented() {
        let run = Running { failed: 300, forgotten: 299, ..run() };
        assert_eq!(
            said(&run, 2),
            "job 2 is not among the last 1 that failed: it succeeded, or its end is too long ago to be known\n"
        );
    }
}
