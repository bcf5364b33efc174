//! The page of pools: what the workers of doula's own families do, as Apache's server-status shows it.
//!
//! Supervisors are asked, and the memory of workers is counted, in a process of its own ([`ask`] is its side): a
//! family that does not answer, and a worker whose memory map is locked, stop no screen.

use crate::error::{Exit, Failure, Outcome};
use crate::scoreboard::{self, Before, Line};
use crate::ui::{Style, Ui, escape};
use doula_host::control::place::{Bases, Found};
use doula_host::control::{Connection, ConnectionError};
use doula_host::usage;
use doula_model::control::{FamilyStatus, Reply, Request};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// How a copy of us is asked.
pub(super) const QUESTION: [&str; 2] = ["top", "--ask-pools"];

/// What all families say at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// When, on the clock of the machine.
    at: Duration,
    families: Vec<FamilyStatus>,
    /// Who does not answer, and why.
    silent: Vec<(String, String)>,
}

/// Asks every family that runs here, and prints what they say.
pub(super) fn ask(ui: &mut Ui) -> Outcome {
    let bases = Bases::from_env();
    let mut answer = Answer::default();
    for found in bases.running().into_iter().chain(bases.of_others()) {
        match status(&found) {
            Ok(status) if status.pools.is_empty() => {}
            Ok(status) => answer.families.push(status),
            Err(error) => answer.silent.push((found.name, error.to_string())),
        }
    }
    answer.at = doula_host::procfs::Machine::now().uptime;
    let value = serde_json::to_value(&answer).map_err(|error| Failure::doula(error.to_string()))?;
    ui.json(&value)?;
    Ok(Exit::OK)
}

fn status(found: &Found) -> Result<FamilyStatus, ConnectionError> {
    let mut connection = Connection::open(&found.socket, concat!("doula top ", env!("CARGO_PKG_VERSION")))?;
    let id = connection.ask(Request::Status { names: Vec::new() })?;
    loop {
        let answer = connection.next(None)?.ok_or(ConnectionError::Silent)?;
        if answer.id != id {
            continue;
        }
        return match answer.reply {
            Reply::Status(mut status) => {
                if connection.is_of_our_namespace() {
                    usage::fill(&mut status.services);
                    scoreboard::measure(&mut status);
                }
                Ok(status)
            }
            Reply::Hello { .. }
            | Reply::Settled { .. }
            | Reply::Changes { .. }
            | Reply::Log(_)
            | Reply::Event(_)
            | Reply::Missed { .. }
            | Reply::Why(_)
            | Reply::Upgraded { .. }
            | Reply::Output { .. }
            | Reply::End
            | Reply::Error(_) => Err(ConnectionError::Closed),
        };
    }
}

/// What is known of pools.
#[derive(Clone, Debug, Default)]
pub(super) struct Pools {
    answer: Option<Answer>,
    /// For each family, what its workers had at the answer before.
    before: BTreeMap<String, Before>,
    /// Why nothing is known.
    failed: Option<String>,
}

impl Pools {
    pub(super) fn sees(&mut self, answer: Result<Answer, String>) {
        let now = match answer {
            Ok(now) => now,
            Err(why) => {
                self.failed = Some(why);
                return;
            }
        };
        self.failed = None;
        if let Some(last) = self.answer.take() {
            let ago = now.at.saturating_sub(last.at);
            let one = |family: &FamilyStatus| (key(family), Before::of(family, ago));
            self.before = last.families.iter().map(one).collect();
        }
        self.answer = Some(now);
    }

    /// All pools, one below the other.
    pub(super) fn lines(&self, columns: usize) -> Vec<Line> {
        let one = |text: String, style| vec![vec![(text, style)]];
        if let Some(why) = &self.failed {
            return one(why.clone(), Style::Bad);
        }
        let Some(answer) = &self.answer else { return one("asking …".to_owned(), Style::Dim) };
        let mut parts = Vec::new();
        for (name, why) in &answer.silent {
            parts.push(one(format!("{}: {why}", escape(name)), Style::Bad));
        }
        for family in &answer.families {
            let before = self.before.get(&key(family));
            parts.extend(family.pools.iter().map(|pool| scoreboard::lines(family, pool, before, columns)));
        }
        if parts.is_empty() {
            let none = "no family with a pool runs here: see [pool.NAME] in the configuration of `doula up`";
            return one(none.to_owned(), Style::Plain);
        }
        parts.join(&Vec::new())
    }
}

/// Two users may have a family of one name.
fn key(family: &FamilyStatus) -> String {
    format!("{} {}", family.pid, family.name)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What a family with a pool says, a second after another look, and that another one is silent.
    pub(in crate::verbs::top) fn answer(at: u64, requests: u64) -> Answer {
        let mut family = scoreboard::tests::family();
        family.pools[0].workers[0].requests = Some(requests);
        let silent = vec![("gone\x1b[2J".to_owned(), "does not answer".to_owned())];
        Answer { at: Duration::from_secs(at), families: vec![family], silent }
    }

    #[test]
    fn an_answer_that_is_no_answer_says_so_and_the_next_one_counts_again() {
        let mut pools = Pools::default();
        let text = |pools: &Pools| pools.lines(80).concat().into_iter().map(|it| it.0).collect::<String>();
        assert_eq!(text(&pools), "asking …");
        pools.sees(Err("nobody could be asked".to_owned()));
        assert_eq!(text(&pools), "nobody could be asked");
        pools.sees(Ok(Answer::default()));
        assert!(text(&pools).starts_with("no family with a pool"), "{}", text(&pools));
        pools.sees(Ok(answer(10, 10)));
        assert!(!text(&pools).contains("/S"), "no rate before there is another look");
        pools.sees(Ok(answer(12, 30)));
        assert!(text(&pools).contains("30 requests, 10.0/s"), "{}", text(&pools));
        assert!(!text(&pools).contains('\x1b'));
    }

    #[test]
    fn what_a_copy_of_us_prints_is_what_is_read() {
        let told = answer(10, 10);
        let text = serde_json::to_vec(&told).expect("JSON");
        assert_eq!(serde_json::from_slice::<Answer>(&text).expect("an answer"), told);
    }
}
