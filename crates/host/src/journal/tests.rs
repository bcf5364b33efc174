//! Whatever is cut off or torn: what is read is what was written up to a certain line.

use super::line::put;
use super::read::Written;
use super::write::Journal;
use super::{Entry, Head, Place};
use crate::logs::test_directory::Scratch;
use doula_model::action::{Cause, State};
use doula_model::id::{Generation, Pid, Role, ServiceId};
use doula_model::recipe::SocketAddress;
use doula_model::record::{Child, Life, Record};
use doula_model::service::ServiceSpec;
use doula_model::time::Time;
use proptest::prelude::*;
use std::fs;
use std::sync::Arc;

fn head() -> Head {
    Head {
        version: super::VERSION,
        program: "1.0".to_owned(),
        pid: Pid::INIT,
        world: super::this_world(),
        token: "t.1.2".to_owned(),
        cgroup: Some("/cgroup/family".into()),
    }
}

fn life(generation: u32, state: State) -> Life {
    Record::newborn(Generation(generation), state).life
}

/// A record with little in it.
trait Newborn {
    fn newborn(generation: Generation, state: State) -> Record;
}

impl Newborn for Record {
    fn newborn(generation: Generation, state: State) -> Record {
        let json = serde_json::json!({
            "state": state, "since": 5, "cause": Cause::Autostart, "reason": Cause::Asked,
            "generation": generation, "extend-until": 9,
        });
        let life = serde_json::from_value(json).expect("what goes without saying is left out");
        Record { id: ServiceId(0), spec: Arc::new(ServiceSpec::new("web")), next: None, life }
    }
}

fn entry() -> impl Strategy<Value = Entry> {
    let states = prop::sample::select(vec![State::Up, State::Starting, State::BackingOff, State::Failed]);
    (0..5_u8, 0..4_u32, any::<u32>(), states, "\\PC{0,20}").prop_map(|(kind, id, number, state, text)| {
        let id = ServiceId(id);
        match kind {
            0 => Entry::Spec(id, Arc::new(ServiceSpec::new(text))),
            1 => {
                let mut life = life(number, state);
                let child = Child::Alive { pid: Pid::INIT, born: Time::from_nanos(u64::from(number)) };
                (life.status_text, life.children) = (text, vec![(Role::Main, child)]);
                Entry::Life(id, Box::new(life))
            }
            2 => Entry::Socket(number, SocketAddress::Tcp(text), Some(number)),
            3 => Entry::Stored(number, text),
            _ => Entry::Gone(id),
        }
    })
}

fn lines(entries: &[Entry]) -> Vec<Vec<u8>> {
    let line = |entry| {
        let mut line = Vec::new();
        put(&mut line, entry);
        line
    };
    entries.iter().map(line).collect()
}

/// What is read of the first so many lines alone.
fn up_to(lines: &[Vec<u8>], count: usize) -> Written {
    Written::read(&lines[..count].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_journal_that_ends_anywhere_is_read_up_to_its_last_whole_line(entries in prop::collection::vec(entry(), 1..12), end: prop::sample::Index) {
        let lines = lines(&entries);
        let text = lines.concat();
        let end = end.index(text.len() + 1);
        let whole = (0..=lines.len()).rev().find(|count| lines[..*count].concat().len() <= end).expect("none is one");
        let mut expected = up_to(&lines, whole);
        expected.cut = end - lines[..whole].concat().len();
        prop_assert_eq!(Written::read(&text[..end]), expected);
    }

    #[test]
    fn one_wrong_byte_costs_its_line_and_what_follows_and_nothing_else(entries in prop::collection::vec(entry(), 1..12), at: prop::sample::Index, flip in 1..=255_u8) {
        let lines = lines(&entries);
        let mut text = lines.concat();
        let at = at.index(text.len());
        text[at] ^= flip;
        let whole = (0..lines.len()).rev().find(|count| lines[..*count].concat().len() <= at).expect("none is one");
        let read = Written::read(&text);
        let start = lines[..whole].concat().len();
        let mut expected = up_to(&lines, whole);
        expected.cut = text.len() - start;
        // Only the digits of the checksum can be written in two ways.
        let same_digits = at < start + 8 && text[at].eq_ignore_ascii_case(&(text[at] ^ flip));
        prop_assert!(read == expected || same_digits, "{read:?}\n{expected:?}");
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let read = Written::read(&bytes);
        prop_assert!(read.cut <= bytes.len());
    }
}

fn read(path: &std::path::Path) -> Written {
    Written::read(&fs::read(path).expect("it is there"))
}

#[test]
fn what_was_written_last_of_each_service_is_what_is_read() {
    let scratch = Scratch::new();
    let path = scratch.path("state");
    let mut journal = Journal::new(path.clone(), head());
    let mut web = Record::newborn(Generation(1), State::Starting);
    let db = Record { id: ServiceId(1), spec: Arc::new(ServiceSpec::new("db")), ..web.clone() };
    journal.note(Entry::Socket(7, SocketAddress::Tcp("*:80".to_owned()), None));
    journal.begin(vec![web.clone(), db.clone()]).expect("to write");
    web.life.state = State::Up;
    web.next = Some(Arc::new(ServiceSpec::new("web")));
    journal.write([web.clone(), db.clone()].into_iter()).expect("to write");
    let size = fs::metadata(&path).expect("it is there").len();
    journal.write([web.clone(), db].into_iter()).expect("to write");
    assert_eq!(fs::metadata(&path).expect("it is there").len(), size, "the same is not written twice");
    journal.forget(ServiceId(1));
    journal.write(std::iter::empty()).expect("to write");
    let written = read(&path);
    assert_eq!((written.records(), written.cut), (vec![web], 0));
    assert_eq!(written.sockets[&7], (SocketAddress::Tcp("*:80".to_owned()), None));
    assert_eq!(written.head, Some(head()));
}

#[test]
fn a_journal_that_has_grown_is_written_anew_with_the_same_in_it() {
    let scratch = Scratch::new();
    let path = scratch.path("state");
    let mut journal = Journal::new(path.clone(), head());
    let mut web = Record::newborn(Generation(1), State::Up);
    let place = Place { generation: Generation(1), token: "old.1.2".to_owned(), leaf: None };
    journal.note(Entry::Held(ServiceId(0), place.clone()));
    journal.begin(vec![web.clone()]).expect("to write");
    while !journal.is_full() {
        web.life.restarts.total += 1;
        journal.write([web.clone()].into_iter()).expect("to write");
    }
    let (before, size) = (read(&path), fs::metadata(&path).expect("it is there").len());
    journal.begin(vec![web.clone()]).expect("to write");
    assert!(fs::metadata(&path).expect("it is there").len() < size / 4);
    assert_eq!(read(&path), before);
    assert_eq!(before.place_of(ServiceId(0)), Some(place));
    web.life.generation = Generation(2);
    journal.write([web].into_iter()).expect("to write");
    let place = read(&path).place_of(ServiceId(0)).expect("known");
    assert_eq!((place.token, place.leaf), ("t.1.2".to_owned(), Some("/cgroup/family/web".into())));
}

/// A directory in which no file can be made stands for a disk without room.
#[test]
fn what_found_no_room_is_written_with_all_others_as_soon_as_there_is_room() {
    let scratch = Scratch::new();
    let directory = scratch.path("later");
    let mut journal = Journal::new(directory.join("state"), head());
    let web = Record::newborn(Generation(1), State::Up);
    journal.begin(vec![web.clone()]).expect_err("there is no such directory");
    assert!(journal.is_full(), "it is to be begun at the next news");
    fs::create_dir(&directory).expect("room");
    journal.begin(vec![web.clone()]).expect("to write");
    assert!(!journal.is_full());
    assert_eq!(read(&directory.join("state")).records(), vec![web]);
}

/// A directory where the new file should be stands for a disk without room.
#[test]
fn a_journal_that_is_behind_says_so_until_all_is_written_anew() {
    let scratch = Scratch::new();
    let (path, new) = (scratch.path("state"), scratch.path("state.new"));
    let mut journal = Journal::new(path.clone(), head());
    let mut web = Record::newborn(Generation(1), State::Up);
    journal.begin(vec![web.clone()]).expect("to write");
    let before = read(&path);
    fs::create_dir(&new).expect("room");
    web.life.generation = Generation(2);
    journal.begin(vec![web.clone()]).expect_err("a directory is in the way");
    assert_eq!(read(&path).records(), before.records(), "what it says was so");
    assert_eq!((before.cut, read(&path).cut), (0, 1), "and it is not all");
    journal.write([web.clone()].into_iter()).expect("nothing is done before all is written anew");
    assert_eq!(read(&path).cut, 1);
    fs::remove_dir(&new).expect("to remove it");
    assert!(journal.is_full());
    journal.begin(vec![web.clone()]).expect("to write");
    assert_eq!((read(&path).records(), read(&path).cut), (vec![web], 0));
}

/// A life that goes on where an earlier supervisor began it, and of which only children of children are left: nobody has a mark.
#[test]
fn who_lives_in_a_group_of_an_earlier_supervisor_is_not_overlooked() {
    let scratch = Scratch::new();
    let leaf = scratch.path("leaf");
    fs::create_dir(&leaf).expect("room");
    let mut journal = Journal::new(scratch.path("state"), head());
    let place = Place { generation: Generation(1), token: "old.1.2".to_owned(), leaf: Some(leaf.clone()) };
    journal.note(Entry::Held(ServiceId(0), place));
    journal.begin(vec![Record::newborn(Generation(1), State::Up)]).expect("to write");
    let written = read(&scratch.path("state"));
    for (events, populated) in [("populated 1\n", true), ("populated 0\n", false)] {
        fs::write(leaf.join("cgroup.events"), events).expect("room");
        assert_eq!(written.is_populated(), populated);
    }
}
