//! One program on both sides.

use super::paper::{MOST_ENDS, Observed, Paper};
use super::script::Script;
use crate::kernel::call::Call;
use crate::kernel::version::Config;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write as _;

/// How a comparison ended.
#[derive(Clone, Debug)]
pub enum Comparison {
    /// All that Linux did is allowed.
    Same(Tally),
    /// So much may happen from some call on that it was not followed.
    TooWide(Tally),
    /// Linux did what is not allowed: what, and what is.
    Different(String),
}

/// What was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many calls were made.
    pub calls: usize,
    /// How many of them may end in more than one way.
    pub open: usize,
    /// The most ways that one may end in.
    pub widest: usize,
}

/// Where programs are played that are compared with the model.
pub trait World {
    /// What kind of kernel it has.
    fn config(&self) -> Config {
        Config::default()
    }

    /// Everybody but init is gone: the number that comes next.
    fn begin(&mut self) -> i32;

    /// The number of the process of a place.
    fn number(&self, place: usize) -> Option<i32>;

    /// Lets the process of a place make a call, and looks when all are at rest again. A child gets the place
    /// `place`.
    fn perform(&mut self, by: usize, place: usize, call: &Call) -> Observed;
}

/// The smallest program that still differs, found by leaving calls out, and how. What depends on chance has to differ at
/// one of a few tries.
pub fn shrink(world: &mut impl World, mut script: Script, mut report: String) -> (Script, String) {
    const TRIES: usize = 3;
    if script.is_directed() {
        return (script, report);
    }
    let mut at = script.len();
    while at > 0 {
        at -= 1;
        let smaller = script.without(at);
        let again = (0..TRIES).find_map(|_| match compare(world, &smaller) {
            Comparison::Different(report) => Some(report),
            Comparison::Same(_) | Comparison::TooWide(_) => None,
        });
        if let Some(found) = again {
            (script, report) = (smaller, found);
        }
    }
    (script, report)
}

/// Plays a program on both sides, until its end or the first difference.
pub fn compare(stage: &mut impl World, script: &Script) -> Comparison {
    let next = stage.begin();
    let mut paper = Paper::new(stage.config(), next);
    let mut tally = Tally::default();
    for step in script.steps() {
        let Some(by) = stage.number(step.by).filter(|by| paper.may_call(*by)) else { continue };
        let call = step.call(|place| stage.number(place));
        let Ok(mut allowed) = paper.follow(by, &call) else { return Comparison::TooWide(tally) };
        let real = stage.perform(step.by, step.place, &call);
        tally.calls += 1;
        tally.open += usize::from(allowed.len() > 1);
        tally.widest = tally.widest.max(allowed.len());
        if let Some(expected) = step.expected(|place| stage.number(place)) {
            // A thread that executed a program has another number now.
            let now = stage.number(step.by).unwrap_or(by);
            let said = real.said.get(&now).map_or("nothing", String::as_str);
            if said != expected {
                let text = format!("at `{step}`, `{said}` came back and not `{expected}`\n");
                return Comparison::Different(text);
            }
        }
        match allowed.remove(&real) {
            Some(states) => paper.keep(states),
            None => {
                return Comparison::Different(report(&step.to_string(), &call.to_string(), &real, &allowed));
            }
        }
        if paper.width() > MOST_ENDS {
            return Comparison::TooWide(tally);
        }
    }
    Comparison::Same(tally)
}

/// What was seen, and the nearest of what is allowed.
fn report<T>(step: &str, call: &str, real: &Observed, allowed: &BTreeMap<Observed, T>) -> String {
    let mut text = format!("at `{step}` ({call}), {} outcomes are allowed\n", allowed.len());
    let nearest = allowed.keys().min_by_key(|one| differences(real, one).len());
    match nearest {
        None => text.push_str("none\n"),
        Some(nearest) => {
            for line in differences(real, nearest) {
                let _ = writeln!(text, "  {line}");
            }
        }
    }
    text
}

fn differences(real: &Observed, paper: &Observed) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |number: i32, one: Option<String>, other: Option<String>| {
        if one != other {
            let text = |side: Option<String>| side.unwrap_or_else(|| "nothing".into());
            lines.push(format!("{number}: Linux {}, paper {}", text(one), text(other)));
        }
    };
    for number in real.said.keys().chain(paper.said.keys()) {
        let said = |side: &Observed| side.said.get(number).map(|text| format!("says `{text}`"));
        line(*number, said(real), said(paper));
    }
    for number in real.seen.keys().chain(paper.seen.keys()) {
        let seen = |side: &Observed| side.seen.get(number).map(|seen| format!("{seen:?}"));
        line(*number, seen(real), seen(paper));
    }
    lines.dedup();
    lines
}
