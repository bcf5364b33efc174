//! The pool of a textbook, as it stands (`actors/chapter_pool.c`), beside ours: each of its flaws happens, and not here.

use super::harness::{Folder, compile};
use super::{failed, pool};
use doula_host::jobs::Failure;
use doula_host::pool::Protocol;
use doula_host::{Child, Command, ExitStatus, Signal, Stdio};
use doula_sys::poll;
use std::fs;
use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter, Read as _};
use std::time::{Duration, Instant};

const SOURCE: &str = include_str!("../../../../actors/chapter_pool.c");
/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(60);

/// How a story ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It came to its end.
    Ended(ExitStatus),
    /// Everybody who has one of its pipes waits at it for somebody else: for ever.
    Hung,
}

struct Story {
    child: Child,
    told: PipeReader,
    printed: PipeReader,
    input: PipeWriter,
}

impl Story {
    fn begin(folder: &Folder, words: &[&str]) -> Story {
        let mut command = Command::new(folder.path().join("chapter_pool"));
        command.args(words).stdin(Stdio::pipe_in()).stdout(Stdio::pipe_out()).stderr(Stdio::pipe_out());
        let mut child = command.contained().spawn().expect("a birth");
        let missing = "a pipe";
        let (told, printed) = (child.stderr.take().expect(missing), child.stdout.take().expect(missing));
        let input = child.stdin.take().expect(missing);
        Story { child, told, printed, input }
    }

    /// Its children that live.
    fn workers(&self) -> Vec<String> {
        let pid = self.child.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        children.split_whitespace().map(str::to_owned).filter(|pid| state(pid) != Some('Z')).collect()
    }

    fn end(&mut self) -> End {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.child.wait_timeout(LOOK) {
                return End::Ended(status);
            }
            let all = [self.workers(), vec![self.child.pid().to_string()]].concat();
            if all.iter().all(|pid| waits_at_a_pipe(pid)) {
                return End::Hung;
            }
        }
        panic!("it neither ends nor hangs");
    }

    /// What it said of each result; of one that hung, until it is killed.
    fn results(self) -> Vec<String> {
        let Story { mut child, mut told, printed, input } = self;
        drop((input, printed));
        child.kill_tree(PATIENCE).expect("nobody is left");
        let mut text = String::new();
        told.read_to_string(&mut text).expect("text");
        text.lines().map(str::to_owned).collect()
    }
}

fn state(pid: &str) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn waits_at_a_pipe(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|place| place.contains("pipe_"))
}

/// The textbook's pool for tasks of this many bytes; `None`, said aloud, where it cannot be watched.
fn textbook(name: &str, bytes: usize) -> Option<Folder> {
    let source = format!("#define BODY {}\n{SOURCE}", bytes - 4);
    // What is not known where a process waits, nobody can say that it hangs.
    let own = fs::read_to_string("/proc/self/wchan").is_ok_and(|place| !place.is_empty());
    if !own {
        println!("skipped: /proc/PID/wchan cannot be read");
        return None;
    }
    compile_as(name, &source)
}

fn compile_as(name: &str, source: &str) -> Option<Folder> {
    let folder = compile(name, source)?;
    fs::rename(folder.path().join(name), folder.path().join("chapter_pool")).expect("its program");
    Some(folder)
}

pub(crate) fn the_textbook_hangs_when_both_pipes_are_full_and_ours_does_not() {
    let Some(folder) = textbook("flaw-full", 64) else { return };
    let mut story = Story::begin(&folder, &["plain", "4", "2048"]);
    assert!(matches!(story.end(), End::Ended(status) if status.success()));
    let mut story = Story::begin(&folder, &["plain", "4", "4200"]);
    assert_eq!(story.end(), End::Hung);
    assert_eq!(story.results().len(), 0, "no result was ever read");
    let inputs = (0..4200_u64).map(|number| number.to_string().into_bytes());
    let mut ours = pool("square", (Protocol::Frames, 64, 1));
    assert_eq!(ours.map(inputs).expect("a pool").filter(Result::is_ok).count(), 4200);
}

pub(crate) fn the_textbook_mixes_records_that_are_longer_than_a_pipe_keeps_whole_and_ours_does_not() {
    let Some(folder) = textbook("flaw-mixed", 5000) else { return };
    let is_wrong = |_: &u32| {
        let mut story = Story::begin(&folder, &["plain", "4", "20"]);
        let hung = story.end() == End::Hung;
        hung || story.results().iter().any(|line| line == "mixed")
    };
    assert!((0..40).any(|run| is_wrong(&run)), "two tasks in one record, or a torn one that ends a worker");
    let inputs: Vec<Vec<u8>> = (0..200_u32).map(|number| vec![(number % 251) as u8; 5000]).collect();
    let mut ours = pool("echo", (Protocol::Frames, 8, 1));
    let answers = ours.map(inputs.clone()).expect("a pool").collect::<Result<Vec<_>, _>>().expect("answers");
    assert!(answers == inputs);
}

pub(crate) fn the_textbook_loses_the_task_of_a_dead_worker_and_waits_for_it_for_ever() {
    let Some(folder) = textbook("flaw-lost", 64) else { return };
    let mut story = Story::begin(&folder, &["kills-one", "4", "20"]);
    assert_eq!(story.end(), End::Hung);
    // Nobody takes the dead one's place, nor buries it.
    assert_eq!(story.workers().len(), 3);
    let pid = story.child.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("its children");
    let zombies = children.split_whitespace().filter(|pid| state(pid) == Some('Z')).count();
    assert_eq!(zombies, 1);
    let results = story.results();
    assert!(results.len() == 19 && !results.contains(&"7".to_owned()), "{results:?}");
    let failed = failed(&mut pool("touchy", (Protocol::Frames, 1, 1)), "-KILL");
    assert!(matches!(failed.as_slice(), [(7, Failure::Signal(Signal::KILL), _)]), "{failed:?}");
}

pub(crate) fn the_textbook_makes_up_results_when_all_workers_are_dead() {
    let Some(folder) = textbook("flaw-garbage", 64) else { return };
    let mut story = Story::begin(&folder, &["kills-all", "4", "20"]);
    assert!(matches!(story.end(), End::Ended(status) if status.success()), "it says that all is well");
    let results = story.results();
    let right: std::collections::BTreeSet<_> = results.iter().collect();
    assert!(results.len() == 20 && right.len() < 20, "twenty results, of which most are none: {results:?}");
    // Ours: what cannot be done is said of each, and nothing is made up.
    let mut ours = pool("touchy", (Protocol::Frames, 1, 1));
    let inputs = (0..20).map(|number| if number < 5 { number.to_string() } else { "7 -KILL".to_owned() });
    let answers: Vec<_> = ours.map(inputs.map(String::into_bytes)).expect("a pool").collect();
    assert_eq!(answers.len(), 20);
    for (answer, number) in answers.iter().zip(0..) {
        match answer {
            Ok(answer) => assert_eq!(answer, number.to_string().as_bytes()),
            Err(error) => assert!(number >= 5 && error.to_string().contains("SIGKILL"), "{number}: {error}"),
        }
    }
}

pub(crate) fn the_textbook_dies_with_its_last_worker_and_loses_one_to_any_signal() {
    let Some(folder) = textbook("flaw-pipe", 64) else { return };
    for story in ["loses-all", "interrupts"] {
        let mut story = Story::begin(&folder, &[story, "2", "20"]);
        assert!(matches!(story.end(), End::Ended(status) if status.killed_by() == Some(Signal::PIPE)));
        assert_eq!(story.results().len(), 0);
    }
    // Ours: a_worker_that_is_killed_between_two_tasks_costs_none_and_nobody_is_blamed.
}

pub(crate) fn the_textbook_prints_once_for_each_worker_what_it_printed_once() {
    let Some(folder) = textbook("flaw-twice", 64) else { return };
    let mut story = Story::begin(&folder, &["plain", "4", "20"]);
    assert!(matches!(story.end(), End::Ended(_)));
    let mut text = String::new();
    // Until the last worker is gone.
    story.printed.read_to_string(&mut text).expect("text");
    assert_eq!(text.matches("===").count() / 2, 5, "{text}");
}

pub(crate) fn the_textbook_leaves_its_workers_behind_when_somebody_else_has_its_pipe() {
    let Some(folder) = textbook("flaw-left", 64) else { return };
    let mut story = Story::begin(&folder, &["leaves-somebody", "4", "20"]);
    // It says who its workers are, and then its results.
    let mut lines = BufReader::new(&story.told).lines().map(|line| line.expect("text"));
    let workers: Vec<String> = lines.by_ref().take(4).collect();
    assert_eq!(lines.by_ref().take(20).count(), 20);
    drop(lines);
    assert!(story.child.wait().success());
    let begun = Instant::now();
    while !workers.iter().all(|pid| waits_at_a_pipe(pid)) {
        assert!(begun.elapsed() < PATIENCE, "they wait for an end that does not come");
        poll::readable(&story.told, Some(LOOK)).expect("a pipe");
    }
    drop(story.results());
    // Ours hands nobody an fd, and waits until its workers are gone: a_pool_beside_threads_… shows it.
}
