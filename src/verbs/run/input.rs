//! What the jobs get: lists on the command line, files, or a stream that is read no faster than it is worked at.

use super::template::{Inputs, Template};
use crate::error::Failure;
use doula_host::jobs::Next;
use regex::bytes::Regex;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Stdin, stdin};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// How inputs are told apart and put together.
#[derive(Debug)]
pub(super) struct Grouping {
    /// What ends an input.
    pub(super) end: u8,
    /// What stands between the columns of an input.
    pub(super) columns: Option<Regex>,
    /// At most so many inputs for each job.
    pub(super) most: usize,
    /// As many as fit, where that is asked for.
    pub(super) room: Option<Fit>,
}

/// How many inputs fit into one command.
#[derive(Clone, Debug)]
pub(super) struct Fit {
    /// So many bytes of them.
    pub(super) bytes: usize,
    /// What one of them takes, by its template.
    pub(super) template: Template,
    /// The last ones, where they are too few for one command, are spread over so many slots.
    pub(super) slots: usize,
}

impl Fit {
    fn of(&self, input: &[u8]) -> usize {
        self.template.weight(input.len())
    }
}

/// One list of inputs as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum List {
    /// `:::`
    Words(Vec<OsString>),
    /// `::::`; `-` is standard input.
    File(PathBuf),
}

/// A list, and whether it goes in step with the one before (`:::+`) instead of being combined with it.
pub(super) type Listed = (List, bool);

/// Takes the command and the lists apart.
pub(super) fn split(words: Vec<OsString>) -> (Vec<OsString>, Vec<Listed>) {
    let (mut command, mut lists): (Vec<OsString>, Vec<Listed>) = (Vec::new(), Vec::new());
    // Which separator we are behind: whether files follow, and in step.
    let mut behind: Option<(bool, bool)> = None;
    for word in words {
        let separator = match word.as_encoded_bytes() {
            b":::" => Some((false, false)),
            b":::+" => Some((false, true)),
            b"::::" => Some((true, false)),
            b"::::+" => Some((true, true)),
            _ => None,
        };
        if let Some((files, step)) = separator {
            if !files {
                lists.push((List::Words(Vec::new()), step));
            }
            behind = separator;
            continue;
        }
        match (behind, lists.last_mut()) {
            (None, _) => command.push(word),
            (Some((true, step)), _) => lists.push((List::File(word.into()), step)),
            (Some((false, _)), Some((List::Words(words), _))) => words.push(word),
            (Some((false, _)), _) => {}
        }
    }
    (command, lists)
}

/// Where inputs come from.
#[derive(Debug)]
enum Source {
    Stream(Stream),
    Product(Product),
}

/// The inputs of all jobs.
#[derive(Debug)]
pub(super) struct Input {
    source: Source,
    grouping: Grouping,
    /// Those of the next job, as far as they are known.
    part: Inputs,
    /// So many bytes of a command.
    weight: usize,
    /// One that did not fit.
    spare: Option<Vec<u8>>,
    /// The last ones, spread.
    last: VecDeque<Inputs>,
    ended: bool,
}

impl Input {
    /// From these lists; without any, from standard input.
    pub(super) fn new(lists: Vec<Listed>, grouping: Grouping) -> Result<Input, Failure> {
        let source = match lists.as_slice() {
            [] => Source::Stream(Stream::new(grouping.end)),
            [(List::File(path), _)] if path == Path::new("-") => Source::Stream(Stream::new(grouping.end)),
            lists => Source::Product(Product::new(lists, grouping.end)?),
        };
        let (part, last) = (Vec::new(), VecDeque::new());
        Ok(Input { source, grouping, part, weight: 0, spare: None, last, ended: false })
    }

    /// Gives the inputs of all jobs, with their numbers, from 1.
    pub(super) fn each(
        mut self,
        mut give: impl FnMut(u64, &Inputs) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut number = 0;
        loop {
            let (next, inputs) = self.next().map_err(|error| Failure::doula(error.to_string()))?;
            match next {
                // It is waited for by reading.
                Next::Wait | Next::Again(_) | Next::Behind(_) => continue,
                Next::End => return Ok(()),
                Next::Task => {}
            }
            number += 1;
            give(number, &inputs)?;
        }
    }

    /// Gathers the inputs of the next job.
    pub(super) fn next(&mut self) -> io::Result<(Next, Inputs)> {
        while !self.is_full() {
            match self.one()? {
                (Next::Task, inputs) => self.take(inputs),
                (Next::Wait | Next::Again(_) | Next::Behind(_), _) => return Ok((Next::Wait, Vec::new())),
                (Next::End, _) => {
                    self.ended = true;
                    self.spread();
                    break;
                }
            }
        }
        let inputs = self.last.pop_front().unwrap_or_else(|| std::mem::take(&mut self.part));
        self.weight = 0;
        if let Some(spare) = self.spare.take() {
            self.take(vec![spare]);
        }
        let next = if inputs.is_empty() { Next::End } else { Next::Task };
        Ok((next, inputs))
    }

    /// Whether a job may have several inputs.
    pub(super) fn is_many(&self) -> bool {
        let combined = matches!(&self.source, Source::Product(product) if product.lists.len() > 1);
        combined || self.grouping.columns.is_some() || self.grouping.most > 1
    }

    /// How many jobs there will be, if that is known.
    pub(super) fn total(&self) -> Option<u64> {
        match &self.source {
            Source::Stream(_) => None,
            Source::Product(product) if self.grouping.room.is_none() => {
                let most = u64::try_from(self.grouping.most).unwrap_or(u64::MAX);
                Some(product.count.div_ceil(most))
            }
            Source::Product(_) => None,
        }
    }

    pub(super) fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        match &self.source {
            Source::Stream(stream) => Some(stream.from.as_fd()),
            Source::Product(_) => None,
        }
    }

    fn is_full(&self) -> bool {
        self.ended || self.spare.is_some() || self.part.len() >= self.wanted()
    }

    /// Of combined lists or columns, one combination is one job.
    fn wanted(&self) -> usize {
        let combined = matches!(&self.source, Source::Product(product) if product.lists.len() > 1);
        if combined || self.grouping.columns.is_some() { 1 } else { self.grouping.most }
    }

    fn take(&mut self, inputs: Inputs) {
        if let (Some(fit), [one]) = (&self.grouping.room, inputs.as_slice()) {
            let weight = self.weight + fit.of(one);
            if !self.part.is_empty() && weight > fit.bytes {
                self.spare = Some(one.clone());
                return;
            }
            self.weight = weight;
        }
        self.part.extend(inputs);
    }

    /// The last inputs are one for each slot at least, as GNU parallel has it, so that none is idle while another has all.
    fn spread(&mut self) {
        let slots = self.grouping.room.as_ref().map_or(1, |fit| fit.slots);
        if slots > 1 && self.wanted() > 1 && !self.part.is_empty() {
            let inputs = std::mem::take(&mut self.part);
            self.last.extend(inputs.chunks(inputs.len().div_ceil(slots)).map(<[_]>::to_vec));
        }
    }

    /// One input, in its columns.
    fn one(&mut self) -> io::Result<(Next, Inputs)> {
        let (next, inputs) = match &mut self.source {
            Source::Stream(stream) => stream.next()?,
            Source::Product(product) => product.next(),
        };
        let Some(columns) = &self.grouping.columns else { return Ok((next, inputs)) };
        let split = inputs.iter().flat_map(|input| columns.split(input).map(<[u8]>::to_vec));
        Ok((next, split.collect()))
    }
}

/// A stream of inputs.
#[derive(Debug)]
struct Stream {
    from: Stdin,
    end: u8,
    buffer: Vec<u8>,
    /// So far it was looked at for the end of an input.
    seen: usize,
    /// We said that we wait: by now it can be read.
    waited: bool,
    over: bool,
}

/// So much is read at once.
const PIECE: usize = 64 << 10;

impl Stream {
    fn new(end: u8) -> Stream {
        Stream { from: stdin(), end, buffer: Vec::new(), seen: 0, waited: false, over: false }
    }

    fn next(&mut self) -> io::Result<(Next, Inputs)> {
        loop {
            if let Some(input) = self.buffered() {
                // As xargs does: an empty line is no input.
                if input.is_empty() && self.end == b'\n' {
                    continue;
                }
                return Ok((Next::Task, vec![input]));
            }
            if self.over {
                return Ok((Next::End, Vec::new()));
            }
            if !self.waited {
                self.waited = true;
                return Ok((Next::Wait, Vec::new()));
            }
            self.waited = false;
            self.read()?;
        }
    }

    /// The next input that is here already.
    fn buffered(&mut self) -> Option<Vec<u8>> {
        let rest = self.buffer.get(self.seen..)?;
        match rest.iter().position(|byte| *byte == self.end) {
            Some(length) => {
                let input = rest[..length].to_vec();
                self.seen += length + 1;
                Some(input)
            }
            None if self.over && !rest.is_empty() => {
                let input = rest.to_vec();
                self.seen = self.buffer.len();
                Some(input)
            }
            None => None,
        }
    }

    fn read(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.seen);
        self.seen = 0;
        let before = self.buffer.len();
        self.buffer.resize(before + PIECE, 0);
        let mut from = File::from(self.from.as_fd().try_clone_to_owned()?);
        let read = from.read(&mut self.buffer[before..]);
        self.buffer.truncate(before + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => self.over = true,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io::Error::new(error.kind(), format!("standard input: {error}"))),
        }
        Ok(())
    }
}

/// All combinations of lists; those in step count as one.
#[derive(Debug)]
struct Product {
    /// Lists that go in step.
    lists: Vec<Vec<Vec<Vec<u8>>>>,
    /// The next combination.
    turn: u64,
    count: u64,
}

impl Product {
    fn new(lists: &[Listed], end: u8) -> Result<Product, Failure> {
        let mut groups: Vec<Vec<Vec<Vec<u8>>>> = Vec::new();
        for (list, step) in lists {
            let inputs = read_list(list, end)?;
            match groups.last_mut().filter(|_| *step) {
                Some(group) => group.push(inputs),
                None => groups.push(vec![inputs]),
            }
        }
        let lengths = groups.iter().map(|group| length(group));
        let count = lengths.fold(1_u64, |all, length| all.saturating_mul(length as u64));
        Ok(Product { lists: groups, turn: 0, count })
    }

    fn next(&mut self) -> (Next, Inputs) {
        if self.turn >= self.count {
            return (Next::End, Vec::new());
        }
        let mut rest = self.turn;
        self.turn += 1;
        let mut inputs = Vec::new();
        // The last list turns fastest.
        for group in self.lists.iter().rev() {
            let length = length(group) as u64;
            let at = usize::try_from(rest % length).unwrap_or_default();
            rest /= length;
            inputs.extend(group.iter().rev().map(|list| list.get(at).cloned().unwrap_or_default()));
        }
        inputs.reverse();
        (Next::Task, inputs)
    }
}

/// The longest of lists that go in step; the others end with empty inputs.
fn length(group: &[Vec<Vec<u8>>]) -> usize {
    group.iter().map(Vec::len).max().unwrap_or(0)
}

fn read_list(list: &List, end: u8) -> Result<Vec<Vec<u8>>, Failure> {
    let path = match list {
        List::Words(words) => return Ok(words.iter().cloned().map(OsString::into_vec).collect()),
        List::File(path) => path,
    };
    let mut bytes = Vec::new();
    let read = match path == Path::new("-") {
        true => stdin().lock().read_to_end(&mut bytes),
        false => File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)),
    };
    read.map_err(|error| {
        Failure::usage(format!("failed to read inputs from `{}`: {error}", path.display()))
    })?;
    if bytes.last() == Some(&end) {
        bytes.pop();
    }
    let inputs = bytes.split(|byte| *byte == end).map(<[u8]>::to_vec);
    Ok(inputs.filter(|input| !input.is_empty() || end != b'\n').collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(words: &[&str], most: usize) -> Vec<Vec<String>> {
        grouped(words, Grouping { end: b'\n', columns: None, most, room: None })
    }

    fn grouped(words: &[&str], grouping: Grouping) -> Vec<Vec<String>> {
        let (_, lists) = split(words.iter().map(OsString::from).collect());
        let mut input = Input::new(lists, grouping).expect("lists");
        let mut all = Vec::new();
        while let (Next::Task, inputs) = input.next().expect("no files") {
            all.push(inputs.into_iter().map(|input| String::from_utf8(input).expect("UTF-8")).collect());
        }
        all
    }

    #[test]
    fn lists_are_combined_or_go_in_step() {
        assert_eq!(all(&["c", ":::", "a", "b"], 1), [["a"], ["b"]]);
        assert_eq!(
            all(&["c", ":::", "a", "b", ":::", "1", "2"], 1),
            [["a", "1"], ["a", "2"], ["b", "1"], ["b", "2"]]
        );
        assert_eq!(all(&["c", ":::", "a", "b", ":::+", "1", "2"], 1), [["a", "1"], ["b", "2"]]);
        assert_eq!(
            all(&["c", ":::", "x", "y", ":::", "a", "b", ":::+", "1"], 1),
            [["x", "a", "1"], ["x", "b", ""], ["y", "a", "1"], ["y", "b", ""]]
        );
        assert!(all(&["c", ":::", "a", ":::"], 1).is_empty());
    }

    #[test]
    fn several_inputs_make_one_job() {
        assert_eq!(all(&["c", ":::", "a", "b", "c"], 2), [vec!["a", "b"], vec!["c"]]);
    }

    #[test]
    fn as_many_as_fit_make_one_job_and_the_last_are_spread() {
        let fitting = |bytes, slots, most, places: &[&str]| {
            let words: Vec<OsString> = places.iter().map(OsString::from).collect();
            let room = Some(Fit { bytes, slots, template: Template::new(&words, "{}", false).repeated() });
            let grouping = Grouping { end: b'\n', columns: None, most, room };
            grouped(&["c", ":::", "1", "2", "3", "4", "5", "6", "7"], grouping)
        };
        let jobs = |jobs: &[&str]| {
            jobs.iter().map(|job| job.chars().map(String::from).collect()).collect::<Vec<Vec<_>>>()
        };
        assert_eq!(fitting(100, 1, usize::MAX, &["c"]), jobs(&["1234567"]));
        assert_eq!(fitting(100, 3, usize::MAX, &["c"]), jobs(&["123", "456", "7"]));
        assert_eq!(fitting(100, 99, usize::MAX, &["c"]), jobs(&["1", "2", "3", "4", "5", "6", "7"]));
        // Four fit; the rest is spread.
        assert_eq!(fitting(8, 2, usize::MAX, &["c"]), jobs(&["1234", "56", "7"]));
        assert_eq!(fitting(8, 2, usize::MAX, &["c", "{}", "{}"]), jobs(&["12", "34", "56", "7"]));
        assert_eq!(fitting(8, 1, usize::MAX, &["c", "abc{}"]), jobs(&["1", "2", "3", "4", "5", "6", "7"]));
        assert_eq!(fitting(100, 2, 3, &["c"]), jobs(&["123", "456", "7"]));
    }

    #[test]
    fn the_command_ends_where_the_lists_begin() {
        let words = ["echo", "-n", "{}", ":::", "a", "::::", "f", "g", ":::+", "b"];
        let (command, lists) = split(words.iter().map(OsString::from).collect());
        assert_eq!(command, ["echo", "-n", "{}"]);
        let file = |name: &str| (List::File(name.into()), false);
        assert_eq!(
            lists,
            [
                (List::Words(vec!["a".into()]), false),
                file("f"),
                file("g"),
                (List::Words(vec!["b".into()]), true)
            ]
        );
    }
}
