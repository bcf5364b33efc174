//! This machine, look by look, with as little work as what is shown needs.

use super::meters::Meters;
use super::rows::View;
use super::short::Ended;
use super::state::Look;
use crate::processes::{Context, total_memory};
use doula_host::lives::Lives;
use doula_host::procfs::{Answer, Live, Machine, Spare, Want};
use doula_model::process::{Identity, Process};
use std::io;
use std::time::{Duration, Instant};

/// Looks at this machine.
pub(super) struct Watcher {
    live: Live,
    memory: Option<u64>,
    last: Option<Instant>,
    /// Nothing where nobody tells us of births and ends.
    lives: Option<Lives>,
}

impl Watcher {
    pub(super) fn new() -> io::Result<Watcher> {
        Ok(Watcher { live: Live::open()?, memory: total_memory(), last: None, lives: Lives::listen().ok() })
    }

    /// Who tells of births and ends, if somebody does.
    pub(super) fn lives(&mut self) -> Option<&mut Lives> {
        self.lives.as_mut()
    }

    pub(super) fn live(&mut self) -> &mut Live {
        &mut self.live
    }

    /// Looks at all, asking of each what conditions and the order need.
    /// `copy` is an earlier list, whose room is used again; `whole` is for those who keep it.
    pub(super) fn look(&mut self, view: &View, copy: Vec<Process>, whole: bool) -> io::Result<Look> {
        let mut want = view.wants();
        if whole {
            want.spare = Spare::default();
        }
        self.look_with(&want, copy)
    }

    /// Looks at all, asking this of each.
    pub(super) fn look_with(&mut self, want: &Want, copy: Vec<Process>) -> io::Result<Look> {
        self.live.look(want)?;
        let now = Instant::now();
        let interval = self.last.replace(now).map(|before| now - before);
        let mut processes = copy;
        self.live.copy_into(&mut processes);
        let before = processes.iter().enumerate().filter_map(|(at, process)| {
            let ticks = process.stat.cpu.0 + process.stat.cpu.1;
            Some((process.stat.identity(), ticks.saturating_sub(self.live.spent(at)?)))
        });
        let interval = interval.filter(|interval| *interval > Duration::ZERO);
        let context = Context::measured(Machine::now(), self.memory, interval, before.collect());
        let live = &self.live;
        let ended = self.lives.as_mut().map(|lives| {
            lives.hear();
            let (mut lives, missing) = lives.take(|pid| live.place(pid).is_some());
            // Copies of us that ask for arguments tell nothing of the machine.
            lives.retain(|life| life.parent.get().unsigned_abs() != std::process::id());
            Ended { lives, missing }
        });
        Ok(Look { processes, asked: *want, context, meters: Meters::now(), ended })
    }

    /// Asks more of these, as far as the columns need it and it is not known.
    pub(super) fn more(&mut self, visible: &[Identity], view: &View) -> io::Result<Vec<Process>> {
        let mut want = Want::default();
        view.columns.iter().for_each(|column| column.want(&mut want));
        // Arguments stay what they are until another program runs, which `Live` notices by the name.
        let args = Want { args: std::mem::take(&mut want.args), ..Want::default() };
        let unasked = |of: &&Identity| {
            let known = self.live.place(of.pid).map(|at| &self.live.processes()[at].args);
            matches!(known, Some(Answer::Unasked))
        };
        let whom: Vec<Identity> = visible.iter().filter(unasked).copied().collect();
        if args.args && !whom.is_empty() {
            self.live.refresh(&whom, &args)?;
        }
        self.live.refresh(visible, &want)?;
        let known =
            visible.iter().filter_map(|of| Some(self.live.processes()[self.live.place(of.pid)?].clone()));
        Ok(known.collect())
    }
}
