//! Workers that do not answer are looked at: whether they have the ends themselves by which they are asked and answer. The end of a file
//! does not tell that while another process has that end too, a child that inherited it.
//!
//! What `/proc/PID/fd` says is read, and no file touched. Where it says nothing (a program that changed its user, no `/proc`)
//! nobody is blamed. Neither is anybody before one of these workers was seen to have both ends while it said something: a command
//! may give its own away, before anything is answered, to a child that does the work.

use super::Tasks;
use super::drive::Shop;
use super::worker::Worker;
use doula_core::queue::{Closed, Ends, Event, SlotId};
use doula_model::id::Pid;
use doula_sys::{poll, time};
use std::fs;
use std::io;
use std::ops::DerefMut;
use std::os::fd::{AsFd, AsRawFd as _};
use std::path::{Path, PathBuf};

impl<W> Shop<W>
where
    W: DerefMut<Target: Tasks>,
{
    /// A worker says something: whether it has its ends itself is seen once.
    pub(super) fn meet(&mut self, slot: SlotId) {
        let first = self.workers.get(&slot).filter(|worker| !self.own_ends && worker.desk.answered == 0);
        self.own_ends |= first.is_some_and(|worker| worker.wire.ends(worker.child.pid()) == Some(Ends::BOTH));
    }

    /// Looks at those that have not answered for a while.
    pub(super) fn look_at_quiet(&mut self) -> io::Result<()> {
        let now = time::monotonic();
        let is_due = |worker: &mut Worker| worker.waits() && worker.quiet.is_due(now, worker.desk.answered);
        let due = self.workers.iter_mut().filter_map(|(slot, worker)| is_due(worker).then_some(*slot));
        for slot in due.collect::<Vec<_>>() {
            self.look_at(slot)?;
        }
        Ok(())
    }

    fn look_at(&mut self, slot: SlotId) -> io::Result<()> {
        let unread = self.is_unread(slot);
        let Some(worker) = self.workers.get_mut(&slot) else { return Ok(()) };
        let Some(ends) = worker.wire.ends(worker.child.pid()) else { return Ok(()) };
        // Who ends closes its ends first: of that is told elsewhere.
        if ends == Ends::BOTH || !self.own_ends || worker.child.try_wait().is_some() {
            return Ok(());
        }
        if let Some(closed) = ends.closed(unread) {
            let what = worker.wire.called(closed);
            worker.took_nothing |= unread;
            worker.blame(&format!("it closed its {what}, which another process has open still"));
        }
        worker.wants_no_more = true;
        worker.desk.worn = true;
        self.tell(Event::Leaves(slot));
        Ok(())
    }

    /// Something may have happened where a worker is asked: if nobody can read there any more, it gets nothing more.
    pub(super) fn input_may_be_closed(&mut self, slot: SlotId) {
        let unread = self.is_unread(slot);
        let Some(worker) = self.workers.get_mut(&slot) else { return };
        if !worker.wire.is_lines()
            || !worker.wire.input().is_some_and(|input| poll::is_broken(input) == Ok(true))
        {
            return;
        }
        if unread {
            worker.took_nothing = true;
            worker.blame(&format!("it closed its {}", worker.wire.called(Closed::Input)));
        }
        // It may answer what it has read.
        worker.wants_no_more = true;
        worker.desk.worn = true;
        self.tell(Event::Leaves(slot));
    }

    /// Whether a worker has not read any of the tasks that it has, or has none.
    fn is_unread(&mut self, slot: SlotId) -> bool {
        let Some(worker) = self.workers.get(&slot) else { return false };
        let mut asked = Vec::new();
        for task in worker.desk.hands.tasks() {
            self.work.ask(task, &mut asked);
        }
        worker.wire.has_read_nothing_of(asked.len(), worker.desk.hands.single().is_some())
    }
}

/// How `/proc` calls a file of ours.
pub(super) fn name(file: impl AsFd) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()))
}

/// Whether a process has this file open, most likely as this fd. `None`: nobody knows.
pub(super) fn has_open(pid: Pid, file: &Path, likely: u32) -> Option<bool> {
    let directory = format!("/proc/{pid}/fd");
    if fs::read_link(format!("{directory}/{likely}")).is_ok_and(|link| link == file) {
        return Some(true);
    }
    let mut any = false;
    for entry in fs::read_dir(directory).ok()? {
        any = true;
        match fs::read_link(entry.ok()?.path()) {
            Ok(link) if link == file => return Some(true),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return None,
            Ok(_) | Err(_) => {}
        }
    }
    // The first of several threads may have ended, and what it had open is shown no more.
    (any || !has_ended(pid)).then_some(false)
}

fn has_ended(leader: Pid) -> bool {
    let stat = fs::read(format!("/proc/{leader}/stat")).unwrap_or_default();
    let name_ends = stat.iter().rposition(|byte| *byte == b')');
    let state = name_ends.and_then(|at| stat.get(at + 2));
    state.is_none_or(|state| b"ZX".contains(state))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Command, Stdio};

    #[test]
    fn a_file_is_found_whatever_number_it_has_and_of_who_has_ended_nothing_is_said() {
        let own = Pid::new(std::process::id().cast_signed()).expect("a process");
        let (reader, writer) = io::pipe().expect("a pipe");
        let file = name(&reader).expect("/proc");
        assert_eq!(has_open(own, &file, 0), Some(true));
        drop((reader, writer));
        assert_eq!(has_open(own, &file, 0), Some(false));
        let mut child =
            Command::new("sh").args(["-c", "read x"]).stdin(Stdio::pipe_in()).spawn().expect("sh");
        let (pid, input) = (child.pid(), child.stdin.take().expect("a pipe"));
        let file = name(&input).expect("/proc");
        assert_eq!(has_open(pid, &file, 0), Some(true));
        drop(input);
        while !has_ended(pid) {
            std::thread::yield_now();
        }
        assert_eq!(has_open(pid, &file, 0), None);
        child.wait();
    }
}
