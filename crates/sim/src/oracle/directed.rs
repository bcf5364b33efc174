//! Directed programs: for each rule of processes that Linux can show one that shows it, with what comes back.
//!
//! A line is `p1 kill p2 TERM = 0`: who, the call, and after ` = ` what is said; `-> p3` names who is born.

use super::script::{PLACE, Script, Step};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

const TEXT: &str = include_str!("directed.txt");

/// A program with its name, that begins with the number of its rule.
#[derive(Clone, Debug)]
pub struct Directed {
    /// The rule, in a sentence.
    pub name: String,
    /// The program.
    pub script: Script,
}

/// All of them.
///
/// # Panics
/// When a line of theirs cannot be read.
pub fn directed() -> Vec<Directed> {
    let parts = TEXT.split("# ").skip(1);
    parts
        .map(|part| {
            let mut lines = part.lines();
            let name = lines.next().unwrap_or_default().to_string();
            let steps = lines.filter(|line| !line.is_empty()).enumerate();
            let steps =
                steps.map(|(at, line)| step(line, NAMELESS + at).unwrap_or_else(|| panic!("{name}: {line}")));
            Directed { script: Script::of(steps.collect()), name }
        })
        .collect()
}

/// The places of steps that bear nobody.
const NAMELESS: usize = 20;

fn step(line: &str, nameless: usize) -> Option<Step> {
    let (line, expected) = match line.split_once(" = ") {
        Some((line, expected)) => (line, Some(expected.to_string())),
        None => (line, None),
    };
    let (line, place) = match line.split_once(" -> ") {
        Some((line, child)) => (line, place_of(child)?),
        None => (line, nameless),
    };
    let (by, call) = line.split_once(' ')?;
    let words = call.split(' ').map(|word| match place_of(word) {
        Some(place) => format!("{}", PLACE + place as i32),
        None => word.to_string(),
    });
    let call = words.collect::<Vec<_>>().join(" ").parse().ok()?;
    let mut step = Step::new(place, place_of(by)?, call);
    step.expected = expected;
    Some(step)
}

/// `p3`, and nothing else.
pub(super) fn place_of(word: &str) -> Option<usize> {
    word.strip_prefix('p')?.parse().ok()
}
