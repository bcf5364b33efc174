//! Whatever is cut off or torn: what is read is what was written, and a run goes on with it.

use super::write::append;
use super::{Begin, Entry, Head, Journal, JournalError, Past, Settled, Started, Text, VERSION, now};
use crate::journal::{line, this_world};
use crate::logs::test_directory::Scratch;
use doula_model::id::Pid;
use doula_model::task::{TaskId, Verdict};
use proptest::prelude::*;
use std::fs;
use std::path::Path;

const TASK: TaskId = TaskId(1);

fn head(run: u32) -> Entry {
    let (pid, template) = (Pid::INIT, "true".to_owned());
    let (version, world, at) = (VERSION, this_world(), now());
    Entry::Head(Head { version, run, world, pid, start: 7, at, template, slots: 1, damaged: 0 })
}

fn begin(attempt: u32) -> Entry {
    let words = vec![Text::from(b"true".to_vec()), Text::from(vec![0xff, b'a'])];
    Entry::Begin(Begin { task: TASK, attempt, slot: 1, at: now(), inputs: words.clone(), words })
}

fn started(run: u32, leaf: &str) -> Entry {
    let leaf = Some(Path::new("/cgroup").join(leaf));
    let mark = Some("5.1.2.3".to_owned());
    Entry::Started(Started { task: TASK, attempt: 1, run, pid: Pid::INIT, start: 9, leaf, mark })
}

fn settled() -> Entry {
    Entry::Settled(Settled { task: TASK, verdict: Verdict::Done, attempts: 1, at: now(), answer: None })
}

fn text(entries: &[Entry]) -> Vec<u8> {
    let mut text = Vec::new();
    entries.iter().for_each(|entry| line::put(&mut text, entry));
    text
}

fn past(text: &[u8]) -> Past {
    let mut past = Past::default();
    past.read(text);
    past
}

#[test]
fn who_started_before_the_next_run_counts_and_who_came_later_does_not() {
    let before = past(&text(&[head(1), begin(1), started(1, "doula-command-0.1.7.9"), head(2)]));
    let attempt = &before.tasks[&TASK].attempts[0];
    let started_as = attempt.started.as_ref().expect("it started");
    assert!(attempt.here && started_as.leaf.is_some());
    assert_eq!(started_as.mark, None, "of whoever began the run: it is not the job's alone");
    let after = past(&text(&[head(1), begin(1), head(2), started(1, "doula-command-0.1.7.9")]));
    assert_eq!(after.tasks[&TASK].attempts[0].started, None);
    assert_eq!(after.next_run(), 3);
}

#[test]
fn a_cgroup_of_another_is_not_taken_for_a_jobs_own() {
    let past = past(&text(&[head(1), begin(1), started(1, "doula-command-0.8.7.9")]));
    assert_eq!(past.tasks[&TASK].attempts[0].started.as_ref().and_then(|started| started.leaf.clone()), None);
}

#[test]
fn a_task_that_begins_again_is_open_again() {
    let mut entries = vec![head(1), begin(1), settled(), Entry::Shown(TASK)];
    let task = |entries: &[Entry]| past(&text(entries)).tasks[&TASK].clone();
    assert!(task(&entries).settled.is_some() && task(&entries).shown);
    entries.push(Entry::Retry(TASK));
    assert!(task(&entries).again);
    entries.extend([head(2), begin(1)]);
    let open = task(&entries);
    assert!(open.settled.is_none() && !open.shown && !open.again);
    assert_eq!(open.attempts.len(), 2, "one of each run");
}

#[test]
fn a_journal_that_ends_at_any_byte_goes_on_and_loses_its_last_line_alone() {
    let scratch = Scratch::new();
    let path = scratch.path("journal");
    let entries = [head(1), begin(1), started(1, "x"), settled(), Entry::Shown(TASK), Entry::Over];
    let whole = text(&entries);
    let ends: Vec<usize> = (1..=entries.len()).map(|count| text(&entries[..count]).len()).collect();
    for end in 0..=whole.len() {
        fs::write(&path, &whole[..end]).expect("written");
        let lines = ends.iter().filter(|line| **line <= end).count();
        let mut journal = Journal::open(&path, true).unwrap_or_else(|error| panic!("at {end}: {error}"));
        assert_eq!(journal.past().tasks.len(), usize::from(lines >= 2), "at {end}");
        let past = journal.begin("true", 1).unwrap_or_else(|error| panic!("at {end}: {error}")).clone();
        let run = if lines == 0 { 1 } else { 2 };
        assert_eq!((past.head.as_ref().map(|head| head.run), past.over), (Some(run), false), "at {end}");
        let torn = u64::from(end > 0 && !ends.contains(&end));
        assert_eq!((past.damaged, past.head.map(|head| head.damaged)), (torn, Some(torn)), "at {end}");
        // Only the end of the line was missing, and is there now.
        let is_settled = past.tasks.get(&TASK).is_some_and(|task| task.settled.is_some());
        assert_eq!(is_settled, end + 1 >= ends[3], "at {end}");
    }
}

#[test]
fn a_damaged_line_hides_itself_alone_and_is_counted() {
    let lines = [head(1), begin(1), started(1, "x"), settled()].map(|entry| text(&[entry]));
    for damaged in 0..lines.len() {
        let mut lines = lines.clone();
        // Behind the word that tells what it is.
        lines[damaged][25] ^= 1;
        let past = past(&lines.concat());
        assert_eq!(past.damaged, 1);
        assert_eq!(past.hides_starts, damaged == 2, "only a start can have been hidden by {damaged}");
        assert_eq!(past.tasks[&TASK].settled.is_some(), damaged != 3);
    }
}

#[test]
fn a_line_behind_a_torn_one_is_whole() {
    let scratch = Scratch::new();
    let path = scratch.path("journal");
    let whole = text(&[head(1)]);
    fs::write(&path, [&whole[..], &text(&[begin(1)])[..20]].concat()).expect("written");
    let file = fs::OpenOptions::new().read(true).append(true).open(&path).expect("opens");
    append(&file, &settled()).expect("written");
    let past = past(&fs::read(&path).expect("it is there"));
    assert!(past.tasks[&TASK].settled.is_some() && past.damaged == 1);
}

#[test]
fn what_is_not_ours_or_too_new_or_not_wanted_is_refused() {
    let scratch = Scratch::new();
    let path = scratch.path("journal");
    let open = |text: &[u8], resume| {
        fs::write(&path, text).expect("written");
        Journal::open(&path, resume).map(drop)
    };
    assert!(matches!(open(b"#!/bin/sh\necho\n", true), Err(JournalError::NotOurs(_))));
    assert!(matches!(open(b"hello", true), Err(JournalError::NotOurs(_))));
    let mut newer = head(1);
    if let Entry::Head(head) = &mut newer {
        head.version = VERSION + 1;
    }
    assert!(matches!(open(&text(&[newer]), true), Err(JournalError::Newer(_, version)) if version > VERSION));
    assert!(matches!(open(&text(&[head(1)]), false), Err(JournalError::Exists(_))));
    assert!(open(b"", false).is_ok(), "an empty file is a new journal");
}

#[test]
fn a_journal_has_one_writer_and_any_readers() {
    let scratch = Scratch::new();
    let path = scratch.path("journal");
    let mut journal = Journal::open(&path, false).expect("new");
    journal.begin("true", 1).expect("written");
    let us = doula_sys::group::pid().get();
    assert!(matches!(Journal::open(&path, true), Err(JournalError::InUse(_, Some(pid))) if pid == us));
    assert!(Journal::is_in_use(&path).expect("it is there"));
    assert!(Journal::read(&path).is_ok());
    drop(journal);
    assert!(!Journal::is_in_use(&path).expect("it is there"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_reader_panic_in_whatever_pieces_they_come(bytes in prop::collection::vec(any::<u8>(), 0..200), at: prop::sample::Index) {
        let at = at.index(bytes.len() + 1);
        let mut pieces = Past::default();
        pieces.read(&bytes[..at]);
        pieces.read(&bytes[at..]);
        prop_assert_eq!(pieces, past(&bytes));
    }

    #[test]
    fn bytes_of_any_kind_are_written_and_read_back(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let json = serde_json::to_string(&Text::from(bytes.clone())).expect("JSON");
        let text: Text = serde_json::from_str(&json).expect("ours");
        prop_assert_eq!(text.bytes(), &bytes[..]);
    }
}
