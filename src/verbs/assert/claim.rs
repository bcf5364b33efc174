//! The small language of `doula assert`: `zombies(under=1234, age>3s) == 0 within 5s for 1s`.
//!
//! A claim is a kind of processes to be counted, conditions that they must meet, a comparison with a number, and times. Conditions are
//! those of `doula ps`, and two more: `under` and `lasting`.

use crate::config;
use crate::processes::Condition;
use doula_model::id::Pid;
use doula_model::process::{ProcState, Stat};
use std::cmp::Ordering;
use std::time::Duration;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Processes,
    Threads,
    Zombies,
    Blocked,
    Stopped,
    Running,
}

/// Each with its name.
const KINDS: [(&str, Kind); 6] = [
    ("processes", Kind::Processes),
    ("threads", Kind::Threads),
    ("zombies", Kind::Zombies),
    ("blocked", Kind::Blocked),
    ("stopped", Kind::Stopped),
    ("running", Kind::Running),
];

/// Whether a number stands so to another.
type Holds = fn(Ordering) -> bool;

/// The longest first, so that `>=` is not taken for `>`.
const OPERATORS: [(&str, Holds); 7] = [
    ("==", Ordering::is_eq),
    ("!=", Ordering::is_ne),
    ("<=", Ordering::is_le),
    (">=", Ordering::is_ge),
    ("=", Ordering::is_eq),
    ("<", Ordering::is_lt),
    (">", Ordering::is_gt),
];

/// What shall be so.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) kind: Kind,
    /// Only this process and whoever descends from it.
    pub(super) under: Option<Pid>,
    /// Only those that have been so for this long.
    pub(super) lasting: Duration,
    pub(super) conditions: Vec<Condition>,
    holds: Holds,
    number: u64,
    /// It may take so long to become true.
    pub(super) within: Duration,
    /// It must stay true for so long.
    pub(super) during: Duration,
}

impl Claim {
    /// Reads one; says what is wrong, and where.
    pub(super) fn parse(text: &str) -> Result<Claim, String> {
        let text = text.trim();
        let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let kind = KINDS.iter().find(|(known, _)| *known == name).ok_or_else(|| {
            let known: Vec<&str> = KINDS.iter().map(|(known, _)| *known).collect();
            format!("`{name}` cannot be counted; what can: {}", known.join(", "))
        })?;
        let (filters, rest) = filters(rest.trim_start())?;
        let rest = rest.trim_start();
        let (operator, holds) = OPERATORS
            .iter()
            .find(|(operator, _)| rest.starts_with(operator))
            .ok_or_else(|| format!("`{rest}` begins with none of == != < <= > >=, as in `{name} == 0`"))?;
        let mut words = rest[operator.len()..].split_ascii_whitespace();
        let number = words.next().unwrap_or_default();
        let number = number.parse().map_err(|_| format!("`{number}` behind {operator} is no number"))?;
        let mut claim = Claim {
            kind: kind.1,
            under: None,
            lasting: Duration::ZERO,
            conditions: Vec::new(),
            holds: *holds,
            number,
            within: Duration::ZERO,
            during: Duration::ZERO,
        };
        filters.iter().try_for_each(|filter| claim.filter(filter))?;
        claim.times(words)?;
        Ok(claim)
    }

    fn filter(&mut self, text: &str) -> Result<(), String> {
        if let Some(pid) = text.strip_prefix("under=") {
            let number = pid.trim().parse().ok().and_then(Pid::new);
            self.under = Some(number.ok_or_else(|| format!("`{pid}` is no number of a process"))?);
        } else if let Some(time) = text.strip_prefix("lasting=") {
            self.lasting = config::duration(time.trim())?;
        } else {
            self.conditions.push(Condition::parse(text)?);
        }
        Ok(())
    }

    fn times<'a>(&mut self, mut words: impl Iterator<Item = &'a str>) -> Result<(), String> {
        while let Some(word) = words.next() {
            let time = match word {
                "within" => &mut self.within,
                "for" => &mut self.during,
                other => return Err(format!("`{other}` is neither `within` nor `for`")),
            };
            let text =
                words.next().ok_or_else(|| format!("`{word}` is followed by a time, as in `{word} 5s`"))?;
            *time = config::duration(text)?;
        }
        Ok(())
    }

    /// Whether so many are as claimed.
    pub(super) fn holds(&self, count: u64) -> bool {
        (self.holds)(count.cmp(&self.number))
    }
}

impl Kind {
    /// For how many a process counts.
    pub(super) fn count(self, stat: &Stat) -> u64 {
        let is = match self {
            Kind::Processes => !stat.is_zombie(),
            Kind::Threads => return if stat.is_zombie() { 0 } else { u64::from(stat.threads) },
            Kind::Zombies => stat.is_zombie(),
            Kind::Blocked => stat.state == ProcState::Blocked,
            Kind::Stopped => matches!(stat.state, ProcState::Stopped | ProcState::Traced),
            Kind::Running => stat.state == ProcState::Running,
        };
        u64::from(is)
    }
}

/// What stands between the parentheses, if there are any, and what follows. A value in which a comma stands (`state=D,Z`) goes on behind it when no
/// condition begins there.
fn filters(text: &str) -> Result<(Vec<String>, &str), String> {
    let Some(inner) = text.strip_prefix('(') else { return Ok((Vec::new(), text)) };
    let mut depth = 1;
    let close = inner.char_indices().find(|(_, c)| {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        depth == 0
    });
    let (close, _) = close.ok_or_else(|| format!("`{text}` lacks its `)`"))?;
    let mut filters: Vec<String> = Vec::new();
    for part in inner[..close].split(',') {
        let begins = part.contains(['=', '<', '>', '~']);
        match filters.last_mut().filter(|_| !begins) {
            Some(last) => last.extend([",", part]),
            None => filters.push(part.trim().to_owned()),
        }
    }
    filters.retain(|filter| !filter.is_empty());
    Ok((filters, &inner[close + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_claim_has_a_kind_conditions_a_comparison_and_times() {
        let claim =
            Claim::parse("zombies(under=12, age>3s, state=D,Z) <= 2 within 5s for 100ms").expect("a claim");
        assert_eq!((claim.kind, claim.under, claim.conditions.len()), (Kind::Zombies, Pid::new(12), 2));
        assert_eq!((claim.within, claim.during), (Duration::from_secs(5), Duration::from_millis(100)));
        assert!(claim.holds(2) && claim.holds(0) && !claim.holds(3));
        let claim = Claim::parse("blocked(name~(a|b), lasting=3s)==0").expect("a claim");
        assert_eq!((claim.conditions.len(), claim.lasting), (1, Duration::from_secs(3)));
    }

    #[test]
    fn what_is_wrong_with_a_claim_is_said_with_what_was_read() {
        for (text, part) in [
            ("ghosts == 0", "`ghosts` cannot be counted"),
            ("zombies", "begins with none of =="),
            ("zombies == x", "`x` behind == is no number"),
            ("zombies(under=x) == 0", "`x` is no number of a process"),
            ("zombies(under=1 == 0", "lacks its `)`"),
            ("zombies(colour=red) == 0", "no column `colour`"),
            ("zombies == 0 within", "`within` is followed by a time"),
            ("zombies == 0 within 5", "`5` is not a duration"),
            ("zombies == 0 soon", "`soon` is neither `within` nor `for`"),
        ] {
            let error = Claim::parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(zombies|blocked)?[ (),=<>~a-z0-9é]{0,40}") {
            let _ = Claim::parse(&text);
        }
    }
}
