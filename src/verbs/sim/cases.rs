//! Jobs that workers lease, on paper: one case of a seed, and seed after seed.

use super::tell::{self, Finding, events};
use crate::error::{Exit, Failure, Kind, Outcome};
use crate::ui::Ui;
use doula_sim::leases::{Case, Cut, Options, Report, run as play, shrink};
use serde::Serialize;
use std::collections::BTreeMap;

/// A case, and how it is played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Played {
    pub(super) seed: u64,
    /// Nothing goes wrong on the machine.
    pub(super) calm: bool,
    pub(super) cut: Cut,
    pub(super) options: Options,
}

/// How it went, for programs.
#[derive(Debug, Serialize)]
struct Answer {
    seed: u64,
    steps: u64,
    hash: String,
    verdicts: BTreeMap<usize, Option<String>>,
    fired: BTreeMap<&'static str, u32>,
    violation: Option<Finding>,
}

impl Played {
    /// The case of a seed.
    pub(super) fn of(seed: u64) -> Played {
        Played { seed, calm: false, cut: Cut::default(), options: Options::default() }
    }

    fn whole(&self) -> Case {
        let case = Case::of(self.seed);
        if self.calm { Case { troubles: Vec::new(), ..case } } else { case }
    }

    pub(super) fn play(&self) -> Report {
        play(&self.whole().without(&self.cut), &self.options)
    }

    /// What is wrong, in its smallest form; `None` when nothing is.
    pub(super) fn finding(&self) -> Option<Finding> {
        let options = Options { keep_lines: false, ..self.options };
        let small = shrink(&self.whole(), &options)?;
        let violation = small.report.violation?;
        let replay = Played { cut: small.cut, options: small.options, ..self.clone() }.command();
        Some(Finding { check: violation.check, text: violation.text, replay })
    }

    /// The command that plays it.
    pub(super) fn command(&self) -> String {
        let mut words = format!("doula sim run --leases --seed {}", self.seed);
        if self.calm {
            words += " --calm";
        }
        if let Some((step, slot)) = self.options.kill_at {
            words += &format!(" --kill-worker {step}:{slot}");
        }
        if let Some(step) = self.options.kill_run_at {
            words += &format!(" --kill-at {step}");
        }
        if !self.cut.is_empty() {
            words += &format!(" --without {}", self.cut);
        }
        words + " --trace"
    }
}

/// `doula sim run --leases`.
pub(super) fn run(played: &Played, json: bool, ui: &mut Ui) -> Outcome {
    if played.options.keep_lines && !json {
        introduce(&played.whole().without(&played.cut), ui)?;
    }
    let report = played.play();
    events(&report.lines, json, ui)?;
    let finding = report.violation.as_ref().and_then(|_| played.finding());
    let exit = if report.violation.is_some() { Kind::Ended.exit() } else { Exit::OK };
    if json {
        let verdict = |verdict: &Option<_>| verdict.map(|verdict| format!("{verdict:?}"));
        ui.json(&Answer {
            seed: played.seed,
            steps: report.steps,
            hash: format!("{:016x}", report.hash),
            verdicts: (1..).zip(report.verdicts.iter().map(verdict)).collect(),
            fired: report.fired.iter().map(|(trouble, times)| (trouble.name(), *times)).collect(),
            violation: finding,
        })?;
        return Ok(exit);
    }
    let tasks = report.verdicts.len();
    ui.line(&format!(
        "seed {}: {tasks} jobs, {} steps, hash {:016x}",
        played.seed, report.steps, report.hash
    ))?;
    tell::violation(report.violation.as_ref(), finding, ui)?;
    Ok(exit)
}

/// What happens to whom, and what goes wrong.
fn introduce(case: &Case, ui: &mut Ui) -> Result<(), Failure> {
    let Case { slots, policy, .. } = case;
    ui.line(&format!(
        "{slots} workers, {} jobs at once each, {} more attempts, in quarantine after {} deaths",
        policy.window, policy.retries, policy.deaths
    ))?;
    for (task, (deed, attempts)) in (1..).zip(&case.deeds).filter(|(_, (_, attempts))| *attempts > 0) {
        let often = if *attempts == u32::MAX { String::new() } else { format!(" ({attempts} times)") };
        ui.line(&format!("t{task}: {}: {}{often}", deed.name(), deed.what()))?;
    }
    case.troubles
        .iter()
        .try_for_each(|trouble| ui.line(&format!("trouble {}: {}", trouble.name(), trouble.what())))
}
