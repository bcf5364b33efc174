//! Workers that live and die in their ways, written in sh. Each run has a bounded wait.

use super::*;
use crate::jobs::{Failure, Next, Policy, Settings, Timeout, Verdict};
use crate::signals::Held;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::mpsc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// Asks `1`, `2` …, and wants the same back.
#[derive(Debug, Default)]
struct Numbers {
    program: String,
    tasks: u64,
    begun: u64,
    settled: BTreeMap<u64, (Verdict, u32)>,
    deaths: Vec<Death>,
    hopeless: Vec<Death>,
    said: Vec<String>,
    hired: usize,
}

impl Flow for Numbers {
    fn next(&mut self) -> io::Result<Next> {
        self.begun += 1;
        Ok(if self.begun <= self.tasks { Next::Task } else { Next::End })
    }

    fn settled(&mut self, task: TaskId, verdict: Verdict, attempts: u32) -> io::Result<()> {
        assert_eq!(self.settled.insert(task.0, (verdict, attempts)), None);
        Ok(())
    }
}

impl Tasks for Numbers {
    fn worker(&mut self, _slot: SlotId) -> Command {
        self.hired += 1;
        let mut command = Command::new("sh");
        command.args(["-c", &self.program]);
        command
    }

    fn ask(&mut self, task: TaskId, line: &mut Vec<u8>) {
        line.extend_from_slice(format!("{task}\n").as_bytes());
    }

    fn answer(&mut self, task: TaskId, line: &[u8]) -> Result<Answer, NoAnswer> {
        let of = std::str::from_utf8(line).ok().and_then(|line| line.parse().ok()).map(TaskId);
        match of {
            Some(of) if of == task => Ok(Answer::Done),
            of => Err(NoAnswer { of, ..NoAnswer::garbage(line) }),
        }
    }

    fn said(&mut self, _slot: SlotId, _task: Option<TaskId>, line: &[u8]) -> io::Result<()> {
        self.said.push(String::from_utf8_lossy(line).into_owned());
        Ok(())
    }

    fn died(&mut self, death: &Death) {
        self.deaths.push(death.clone());
    }

    fn hopeless(&mut self, death: &Death) {
        self.hopeless.push(death.clone());
    }
}

fn rules(slots: SlotId) -> Rules {
    let policy = Policy { deaths: 2, ..Policy::PLAIN };
    Rules::new(Settings { slots, policy, ..Settings::default() })
}

/// Twenty tasks for workers that run this in a loop, with the task in `$n`.
fn each(slots: SlotId, line: &str) -> Numbers {
    whole(rules(slots), &format!("while read n; do {line}; done"))
}

fn whole(rules: Rules, program: &str) -> Numbers {
    let program = program.to_owned();
    let (counts, numbers) = bounded(move || {
        let mut numbers = Numbers { program, tasks: 20, ..Numbers::default() };
        let counts = run(rules, &mut numbers, &Held::back(&[]).expect("a signalfd"));
        (counts.expect("a run"), numbers)
    });
    let ended = counts.done + counts.failed + counts.dropped;
    assert_eq!(ended, numbers.settled.len() as u64);
    assert!(ended == 20 || !numbers.hopeless.is_empty(), "{numbers:?}");
    numbers
}

impl Numbers {
    /// Those that did not succeed at once.
    fn odd(&self) -> Vec<(u64, Verdict, u32)> {
        let odd = self.settled.iter().filter(|(_, settled)| **settled != (Verdict::Done, 1));
        odd.map(|(task, (verdict, attempts))| (*task, *verdict, *attempts)).collect()
    }
}

#[test]
fn who_answers_and_says_nonsense_behind_it_costs_no_task_that_it_was_never_given() {
    let mut rules = rules(1);
    rules.settings.policy.window = 2;
    // It has read of 8 then, so that it has both.
    let program = r"while read n; do if [ $n = 7 ]; then read n; printf '7\nhm\n'; else echo $n; fi; done";
    assert_eq!(whole(rules, program).odd(), [(8, Verdict::Failed(Failure::Protocol), 1)]);
}

#[test]
fn a_task_that_kills_two_workers_is_the_only_one_that_fails_however_it_kills_them() {
    let ends = [
        ("kill -KILL $$", Failure::Signal(crate::Signal::KILL)),
        ("kill -SEGV $$", Failure::Signal(crate::Signal::SEGV)),
        ("exit 0", Failure::Lost),
        ("exit 3", Failure::Code(3)),
        ("exec >&-; sleep 1000", Failure::Lost),
        // A child of it has the pipe open still.
        ("sleep 1000 & exec >&-; sleep 1000", Failure::Lost),
        ("printf half; exit 0", Failure::Lost),
    ];
    for (end, failure) in ends {
        let numbers = each(2, &format!("[ $n = 7 ] && {{ {end}; }}; echo $n"));
        assert_eq!(numbers.odd(), [(7, Verdict::Quarantined(failure), 2)], "{end}");
        assert_eq!(numbers.deaths.len(), 2, "{end}");
    }
}

#[test]
fn an_answer_that_is_none_fails_its_task_and_a_new_worker_goes_on() {
    for answer in ["echo garbage", "echo 99", "printf '7\\n7\\n'", "head -c 100 /dev/zero; echo"] {
        let numbers = each(2, &format!("[ $n = 7 ] && {{ {answer}; continue; }}; echo $n"));
        assert_eq!(numbers.odd(), [(7, Verdict::Failed(Failure::Protocol), 1)], "{answer}");
        let [death] = &numbers.deaths[..] else { panic!("{:?}", numbers.deaths) };
        assert_eq!(death.task, Some((TaskId(7), 1)));
        assert!(death.why.is_some());
    }
}

#[test]
fn a_worker_that_leaves_between_two_tasks_costs_none_and_no_attempt() {
    let numbers = whole(rules(2), "read n; echo $n");
    assert_eq!(numbers.odd(), []);
    assert!(numbers.hired >= 20 && numbers.deaths.iter().all(|death| death.task.is_none()));
    // The same of one that closed its end, or was killed while it slept.
    let numbers = whole(rules(1), "read n; exec <&-; echo $n; sleep 1000");
    assert_eq!(numbers.odd(), []);
}

#[test]
fn a_task_that_nobody_reads_because_a_child_of_its_worker_has_the_pipe_is_done_by_another_one() {
    for window in [1, 3] {
        let mut rules = rules(1);
        rules.settings.policy.window = window;
        // What a shell starts behind it has another standard input than the shell.
        let line =
            "[ $n = 7 ] && { exec 5<&0; sleep 1000 <&5 & exec 5<&- <&-; echo 7; sleep 1000; }; echo $n";
        let numbers = whole(rules, &format!("while read n; do {line}; done"));
        assert_eq!(numbers.odd(), [], "{window}");
        let [death] = &numbers.deaths[..] else { panic!("{:?}", numbers.deaths) };
        let why = death.why.as_deref().expect("a reason");
        assert_eq!(why, "it closed its standard input, which another process has open still");
        assert_eq!(death.task, None);
    }
}

#[test]
fn who_closes_an_end_and_answers_all_the_same_is_let_to_work() {
    // It wants no more after the seventh, and takes longer over that one than nobody looks.
    let line = "[ $n = 7 ] && { @exec <&-; sleep 0.4; echo $n; exit; }; echo $n";
    for shares in ["", "exec 5<&0; sleep 1000 <&5 & exec 5<&-; "] {
        let numbers = each(2, &line.replace('@', shares));
        let deaths = &numbers.deaths;
        assert_eq!((numbers.odd(), deaths.as_slice()), (Vec::new(), &[][..]), "{shares}");
    }
    // It gives its ends to a child, which works when it has them alone.
    let child = "while [ -e /proc/$$/fd/3 ]; do :; done; while read n <&3; do [ $n = 7 ] && sleep 0.4; echo $n >&4; done";
    let program = format!("exec 3<&0 4>&1; ({child}) & exec 3<&- 4>&- </dev/null >/dev/null; wait");
    assert_eq!(whole(rules(1), &program).odd(), []);
}

#[test]
fn who_closes_its_input_behind_an_answer_costs_no_task_at_whatever_moment_it_does() {
    let line = "echo $n; [ $n = 7 ] && { @exec <&-; sleep 1000; }";
    // The next task is in the pipe, or is not yet.
    for waits in ["", "sleep 0.1; "] {
        let numbers = each(2, &line.replace('@', waits));
        assert_eq!(numbers.odd(), [], "{waits}");
        let [death] = &numbers.deaths[..] else { panic!("{:?}", numbers.deaths) };
        assert_eq!(death.why.as_deref(), Some("it closed its standard input"));
    }
}

#[test]
fn an_answer_that_comes_a_second_time_and_late_is_not_held_against_the_next_task() {
    let line = "echo $n; [ $n = 7 ] && { read m; echo $n; }";
    let numbers = each(1, line);
    assert_eq!(numbers.odd(), []);
    assert_eq!(numbers.deaths.len(), 1);
}

#[test]
fn workers_that_end_before_they_take_a_task_are_tried_again_and_then_no_more() {
    let numbers = whole(rules(2), "echo no such module >&2; exit 3");
    assert!(
        numbers.odd().iter().all(|(_, verdict, attempts)| (*verdict, *attempts) == (Verdict::Skipped, 0))
    );
    let [death] = &numbers.hopeless[..] else { panic!("{:?}", numbers.hopeless) };
    assert_eq!(death.status.and_then(|status| status.exit_code()), Some(3));
    assert!((5..=10).contains(&numbers.hired), "{}", numbers.hired);
    assert_eq!(numbers.said[0], "no such module\n");
}

#[test]
fn a_task_that_takes_too_long_costs_its_worker_and_nobody_else() {
    let mut rules = rules(2);
    rules.settings.policy.timeout = Some(Timeout::After(Duration::from_millis(200)));
    rules.settings.policy.grace = Duration::from_millis(50);
    let numbers = whole(rules, "trap '' TERM; while read n; do [ $n = 7 ] && sleep 1000; echo $n; done");
    assert_eq!(numbers.odd(), [(7, Verdict::Failed(Failure::TimedOut), 1)]);
    assert!(numbers.hired <= 3);
}

#[test]
fn a_worker_is_replaced_after_so_many_tasks() {
    let mut rules = rules(1);
    rules.max_tasks = NonZeroU64::new(5);
    let numbers = whole(rules, "while read n; do echo $n; done");
    assert_eq!((numbers.odd(), numbers.hired), (Vec::new(), 4));
    assert_eq!(numbers.deaths, []);
}

#[test]
fn tasks_and_answers_larger_than_a_pipe_go_through() {
    let mut rules = rules(2);
    rules.skips_blank = true;
    let blank = "head -c 300000 /dev/zero | tr '\\0' ' '; echo";
    let line = format!("while read n; do {blank}; head -c 200000 /dev/zero >&2; echo $n; done");
    let numbers = whole(rules, &line);
    assert_eq!(numbers.odd(), []);
}

/// In a thread that may not take for ever.
fn bounded<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    let runs = std::thread::spawn(move || tell.send(work()));
    let result = told.recv_timeout(PATIENCE).expect("it comes to its end");
    runs.join().expect("no panic").expect("somebody waits");
    result
}

/// Workers that answer with what they were asked, and tell by a pipe when the last of them is gone.
fn echoes() -> (pool::Pool<impl FnMut() -> Command>, io::PipeReader) {
    let (reader, writer) = io::pipe().expect("a pipe");
    let writer = std::sync::Arc::new(doula_sys::fd::OwnedFd::from(writer));
    let pool = pool::Pool::new(2, move || {
        let mut command = Command::new("sh");
        command
            .args(["-c", "sleep 1000 & while read n; do echo $n; done"])
            .fd(9, std::sync::Arc::clone(&writer));
        command
    });
    (pool, reader)
}

#[test]
fn a_pool_takes_no_more_inputs_than_it_can_work_at_and_leaves_nobody() {
    bounded(|| {
        let (mut pool, mut reader) = echoes();
        let taken = std::cell::Cell::new(0_u64);
        let endless = std::iter::repeat_with(|| {
            taken.set(taken.get() + 1);
            taken.get().to_string().into_bytes()
        });
        let mut answers = pool.map(endless).expect("a pool");
        for number in 1..=100_u64 {
            let answer = answers.next().expect("there is one more").expect("an answer");
            assert_eq!(answer, number.to_string().into_bytes());
            assert!(taken.get() <= number + pool::AHEAD as u64 + 3);
        }
        drop(answers);
        // An empty line is an answer too.
        let mut answers = pool.map_unordered([b"".to_vec()]).expect("a pool");
        assert!(matches!(answers.next(), Some((0, Ok(answer))) if answer.is_empty()));
        assert!(answers.next().is_none());
        drop(answers);
        drop(pool);
        assert_eq!(io::Read::read(&mut reader, &mut [0]).expect("its end"), 0, "nobody has it open");
    });
}

#[test]
fn whatever_a_pool_cannot_do_comes_as_its_last_answer() {
    bounded(|| {
        let last = |command: &'static str, input: &str| {
            let mut pool = pool::Pool::new(2, move || Command::new(command));
            let answers: Vec<_> = pool.map([b"a".to_vec(), input.into()]).expect("a pool").collect();
            answers.last().expect("an error").as_ref().expect_err("an error").to_string()
        };
        assert_eq!(last("cat", "a\nb"), "input 1 has an end of a line in it");
        assert!(last("/nowhere/at-all", "b").contains("`/nowhere/at-all` does not exist"));
        assert!(last("true", "b").starts_with("workers end before they take a task"));
    });
}
