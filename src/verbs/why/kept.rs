//! Jobs of a run with a journal, at work or not: for what each waits, or how each attempt at it ended, and how that is known.

use super::no_slot;
use crate::error::Failure;
use crate::ui::escape;
use crate::verbs::queue::{State, read};
use crate::verbs::run::{command_line, ended_so};
use doula_host::jobs::journal::{Attempt, End, Ended, Past, Task, now};
use doula_model::task::{self, TaskId};
use doula_model::words::Span;
use std::path::Path;
use std::time::Duration;

/// Tells it by the journal.
pub(super) fn tell(journal: &Path, job: u64) -> Result<String, Failure> {
    let (past, in_use) = read(journal)?;
    let id = TaskId(job);
    Ok(match past.tasks.get(&id) {
        Some(task) => told(id, task, &past, in_use),
        None => format!("job {id} was not begun: {}\n", not_begun(&past, in_use)),
    })
}

fn told(id: TaskId, task: &Task, past: &Past, in_use: bool) -> String {
    let state = State::of(task, in_use);
    let command = task.begin().map(command_line).unwrap_or_default();
    let mut text =
        format!("job {id} ({}) {}\n", escape(&command), escape(&sentence(state, task, past, in_use)));
    for attempt in &task.attempts {
        text.push_str(&format!(
            "  attempt {} of run {}: {}\n",
            attempt.number,
            attempt.run,
            escape(&if task.is_for_workers() { answer_to(attempt, task) } else { history(attempt) })
        ));
    }
    text
}

fn sentence(state: State, task: &Task, past: &Past, in_use: bool) -> String {
    match state {
        State::Waits if task.again => {
            "is run again by the next doula run --resume: doula queue retry said so".to_owned()
        }
        State::Waits => format!("waits: {}", not_begun(past, in_use)),
        State::Runs if task.is_for_workers() => {
            let slot = task.last().and_then(|last| last.begin.as_ref()).map_or(0, |begin| begin.slot);
            let worker = past.hired.iter().rfind(|hired| hired.slot == slot);
            let pid = worker.map(|hired| format!(", process {}", hired.worker.pid)).unwrap_or_default();
            format!("is with the worker of slot {slot}{pid}")
        }
        State::Runs => match task.last().and_then(|last| last.started.as_ref()) {
            Some(started) => format!("runs; process {} looks after it", started.pid),
            None => "is just being started".to_owned(),
        },
        State::Rests(until) => {
            let rest = Span(Duration::from_micros(until.saturating_sub(now())));
            let who = if in_use { "" } else { ", by the next doula run --resume" };
            format!("failed and waits for its next attempt, which is due in {rest}{who}")
        }
        State::Ended if in_use => "has ended, and is being judged".to_owned(),
        State::Ended => {
            "ended while no run was at work: the next doula run --resume takes it as it ended".to_owned()
        }
        State::Unknown => "began, and nobody knows how it ended: who looked after it is gone too".to_owned(),
        State::Done => "succeeded".to_owned(),
        State::Failed(failure) => format!("failed: it {failure}, and there were no more attempts"),
        State::Quarantined(failure) => format!("is in quarantine: it {failure}, again and again"),
        State::Cancelled => "was ended with its run: the next doula run --resume runs it again".to_owned(),
    }
}

/// Why a job that could begin does not.
fn not_begun(past: &Past, in_use: bool) -> String {
    if !in_use {
        return "no run is at work at the journal (doula run --resume)".to_owned();
    }
    if let Some(what) = &past.short {
        return format!("nothing is begun, for {what}");
    }
    let slots = past.head.as_ref().map_or(0, |head| head.slots);
    let run = past.tasks.values().filter(|task| State::of(task, true) == State::Runs).count();
    if u32::try_from(run).is_ok_and(|run| run >= slots) {
        return no_slot(slots);
    }
    "its turn has not come, or there is no such input".to_owned()
}

/// What a worker made of an attempt.
fn answer_to(attempt: &Attempt, task: &Task) -> String {
    if let Some(failed) = &attempt.failed {
        return format!("it {}", failed.failure);
    }
    let settled = task.settled.as_ref().filter(|settled| settled.attempts == attempt.number);
    let is_last = task.last().is_some_and(|last| last.run == attempt.run);
    match settled.and_then(|settled| settled.answer.as_ref()).filter(|_| is_last) {
        Some(answer) => {
            let took = Span(Duration::from_micros(answer.took));
            let told = answer.told.as_deref().unwrap_or(" was answered");
            format!("it{told}, after {took} in slot {}", answer.slot)
        }
        None if is_last => "it was given to a worker".to_owned(),
        None => "its run ended before it was answered: it was done again".to_owned(),
    }
}

/// What is known of an attempt.
fn history(attempt: &Attempt) -> String {
    let Some(Ended { end, took, cpu, max_rss_kb, oom_kills, .. }) = &attempt.ended else {
        return match (&attempt.started, &attempt.failed) {
            (_, Some(failed)) => format!("it {}", failed.failure),
            (Some(_), None) => "it began".to_owned(),
            (None, None) => "it never ran: its run ended before".to_owned(),
        };
    };
    let micros = Duration::from_micros;
    let how = match end {
        End::NotStarted(code, why) => return format!("it could not be started ({code}): {why}"),
        End::Status(status) => status,
    };
    let killed = oom_kills.filter(|count| *count > 0);
    let killed = killed
        .map(|count| format!("; its cgroup counts {count} killed for want of memory"))
        .unwrap_or_default();
    // More than its status says: that its time was over, say.
    let judged = attempt.failed.as_ref().map(|failed| failed.failure);
    let judged = judged.filter(|failure| task::Failure::of(*how) != Some(*failure));
    let judged = judged.map(|failure| format!("; it {failure}")).unwrap_or_default();
    let end = ended_so(&how.to_string(), micros(*took), micros(cpu.0 + cpu.1), *max_rss_kb);
    format!("it {end}{killed}{judged}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use doula_host::jobs::journal::Failed;
    use doula_model::exit::ExitStatus;
    use doula_model::task::Failure;

    #[test]
    fn a_job_that_rests_says_for_how_long_and_after_what() {
        let failed = Failed { task: TaskId(1), attempt: 1, failure: Failure::TimedOut, until: u64::MAX };
        let attempt = Attempt { run: 1, number: 1, failed: Some(failed), ..Attempt::default() };
        let task = Task { attempts: vec![attempt], ..Task::default() };
        let text = told(TaskId(1), &task, &Past::default(), true);
        assert!(text.contains("waits for its next attempt, which is due in "), "{text}");
        assert!(text.ends_with("attempt 1 of run 1: it took too long\n"), "{text}");
    }

    #[test]
    fn what_was_made_of_an_end_is_told_when_its_status_does_not_say_it() {
        let ended = |failure| {
            let failed = Failed { task: TaskId(1), attempt: 1, failure, until: 0 };
            let end = End::Status(ExitStatus::code(7));
            let (task, attempt, run, pid, oom_kills) = (TaskId(1), 1, 1, None, None);
            let (began, took, cpu, max_rss_kb) = (0, 4, (0, 0), 1);
            let ended = Some(Ended { task, attempt, run, end, pid, began, took, cpu, max_rss_kb, oom_kills });
            history(&Attempt { ended, failed: Some(failed), ..Attempt::default() })
        };
        let same = ended(Failure::Code(7));
        assert!(same.starts_with("it exited with code 7 after ") && same.ends_with(" KiB)"), "{same}");
        assert!(
            ended(Failure::TimedOut).ends_with(" KiB); it took too long"),
            "{}",
            ended(Failure::TimedOut)
        );
    }

    #[test]
    fn a_job_that_was_not_begun_waits_for_the_machine_or_the_next_run() {
        let mut past = Past::default();
        assert!(not_begun(&past, false).starts_with("no run is at work"));
        past.short = Some("less memory is available than --memfree asks for".to_owned());
        assert_eq!(
            not_begun(&past, true),
            "nothing is begun, for less memory is available than --memfree asks for"
        );
    }
}
