//! A case from the first task to the last burial: one run, or one that is killed and another one that goes on by its journal.

use super::case::{Case, Cut, Trouble};
use super::paper::{Over, Paper};
use super::shop::Shop;
use crate::shrink::smallest;
use crate::world::{Line, Violation};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use doula_core::queue::SlotId;
use doula_model::task::{Failure, TaskId, Verdict};

/// How a case is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether the events are kept as lines.
    pub keep_lines: bool,
    /// The step before which the worker of this slot gets SIGKILL.
    pub kill_at: Option<(u64, SlotId)>,
    /// The step before which the run itself gets SIGKILL; another one goes on.
    pub kill_run_at: Option<u64>,
    /// How the loop is broken on purpose.
    pub broken: Option<Breakage>,
}

/// A loop that is wrong, to see that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breakage {
    /// Workers are not waited for.
    NeverBuries,
    /// Ends of pipes are inherited by the workers that are born later.
    PipesInherited,
    /// Who closed its pipe and lives is waited for.
    EndlessPatience,
    /// The queue is not told that a worker died.
    ForgetsDeaths,
    /// A death is never the fault of a task.
    BlamesNobody,
    /// A death is always the fault of the tasks that were in the pipe.
    BlamesEverybody,
    /// Only the worker itself is killed, not what descends from it.
    LeavesTree,
    /// A group is killed once, and whom that misses lives on.
    KillsOnce,
    /// What a worker had said when it died is not read.
    DeafToLastWords,
    /// Answers are taken to be in the order of the tasks.
    BelievesOrder,
}

impl Breakage {
    /// All of them.
    pub const ALL: &[Breakage] = &[
        Breakage::NeverBuries,
        Breakage::PipesInherited,
        Breakage::EndlessPatience,
        Breakage::ForgetsDeaths,
        Breakage::BlamesNobody,
        Breakage::BlamesEverybody,
        Breakage::LeavesTree,
        Breakage::KillsOnce,
        Breakage::DeafToLastWords,
        Breakage::BelievesOrder,
    ];
}

/// What of a journal matters here: a task is begun, failed, or came to its end.
#[derive(Clone, Debug, Default)]
pub(super) struct Book {
    /// The last attempt at each, and how many workers died of it.
    pub(super) begun: BTreeMap<TaskId, (u32, u32)>,
    pub(super) settled: BTreeSet<TaskId>,
}

impl Book {
    pub(super) fn begins(&mut self, task: TaskId, attempt: u32) {
        self.begun.entry(task).or_default().0 = attempt;
    }

    pub(super) fn fails(&mut self, task: TaskId, attempt: u32, failure: Failure) {
        let known = self.begun.entry(task).or_default();
        known.0 = attempt;
        known.1 += u32::from(failure.ends_worker());
    }
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How many steps all took together; before each a worker or the run can be killed.
    pub steps: u64,
    /// A hash over all that happened.
    pub hash: u64,
    /// What became of each task, from the first.
    pub verdicts: Vec<Option<Verdict>>,
    /// What must not be, and was.
    pub violation: Option<Violation>,
    /// How often each trouble came.
    pub fired: Vec<(Trouble, u32)>,
    /// The events, if they were to be kept.
    pub lines: Vec<Line>,
}

/// Plays a case.
#[must_use]
pub fn run(case: &Case, options: &Options) -> Report {
    let mut paper = Paper::new(case, options);
    let mut book = Book::default();
    loop {
        let ended = paper.boot().and_then(|()| Shop::new(&mut paper, &mut book).run());
        match ended {
            Ok(()) => {
                look_around(&mut paper);
                paper.checks.ends();
                break;
            }
            Err(Over) if paper.checks.has_failed() => break,
            Err(Over) if paper.run_lives() => {
                paper.checks.fail("lost", "the run cannot go on".into());
                break;
            }
            Err(Over) => paper.checks.begins_again(),
        }
    }
    let verdicts = (1..=case.deeds.len() as u64).map(|task| paper.checks.verdict(task)).collect();
    Report {
        steps: paper.steps,
        hash: paper.log.hash(),
        verdicts,
        violation: paper.checks.into_violation(),
        fired: paper.fired,
        lines: paper.log.into_lines(),
    }
}

/// Nobody is left of a run that came to its end, alive or dead, and no descriptor but those that it began with.
fn look_around(paper: &mut Paper<'_>) {
    let left = paper.kernel.children_of(paper.run).count();
    if left > 0 {
        paper.checks.fail("left", alloc::format!("{left} children of the run are left, alive or as zombies"));
    }
    // What a killed run leaves behind is not for the next one to find.
    let init = paper.kernel.init();
    let kernel = &paper.kernel;
    let stray = kernel.tasks().filter(|task| ![init, paper.run].contains(task)).count();
    if stray > 0 && paper.options.kill_run_at.is_none() {
        paper.checks.fail("left", alloc::format!("{stray} processes live on that descend from workers"));
    }
    let open = paper.kernel.descriptors(paper.run).len();
    if open > 3 {
        paper
            .checks
            .fail("descriptors", alloc::format!("{open} descriptors are open at the end instead of 3"));
    }
}

/// The smallest case that was found.
pub type Smallest = crate::shrink::Smallest<Cut, Options, Report>;

/// Makes a case small that ends with a violation; `None` if it does not.
#[must_use]
pub fn shrink(case: &Case, options: &Options) -> Option<Smallest> {
    let report = run(case, options);
    let check = report.violation.as_ref()?.check;
    let first = Smallest { cut: Cut::default(), options: *options, report };
    let fails = |cut: &Cut, options: &Options| {
        let report = run(&case.without(cut), options);
        report.violation.as_ref().is_some_and(|violation| violation.check == check).then_some(report)
    };
    Some(smallest(first, |best| smaller(case, best), Cut::and, fails))
}

/// One thing less, in every way.
fn smaller(case: &Case, best: &Smallest) -> Vec<(Cut, Options)> {
    let tasks = (1..=case.deeds.len() as u32).filter(|task| !best.cut.tasks.contains(task));
    let tasks = tasks.map(|task| Cut { tasks: Vec::from([task]), troubles: Vec::new() });
    let troubles = case.troubles.iter().filter(|trouble| !best.cut.troubles.contains(trouble));
    let troubles = troubles.map(|trouble| Cut { tasks: Vec::new(), troubles: Vec::from([*trouble]) });
    let mut all: Vec<_> = tasks.chain(troubles).map(|cut| (cut, best.options)).collect();
    let calm = [Options { kill_at: None, ..best.options }, Options { kill_run_at: None, ..best.options }];
    all.extend(calm.into_iter().filter(|calm| *calm != best.options).map(|calm| (Cut::default(), calm)));
    all
}

impl Cut {
    fn and(&self, more: Cut) -> Cut {
        let mut cut = self.clone();
        cut.tasks.extend(more.tasks.into_iter().filter(|task| !self.tasks.contains(task)));
        cut.troubles.extend(more.troubles.into_iter().filter(|trouble| !self.troubles.contains(trouble)));
        cut
    }
}
