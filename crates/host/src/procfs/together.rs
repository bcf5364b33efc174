//! A long list read by several threads at once. Three system calls a process have nothing to do with those of the next one, so that
//! each CPU takes its share. Absent on purpose: threads that stay; they end with the list.

use super::{Reader, Want};
use doula_model::id::Pid;
use doula_model::process::Process;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

/// Fewer are read sooner than others have begun to help.
const WORTH: usize = 1000;
/// So many are claimed at once: a tenth of a millisecond or more, beside which the handing over is nothing.
const SHARE: usize = 128;
/// More would mostly wait for each other in the kernel.
const MOST: usize = 4;

/// How many threads should help to read a list that is so long.
pub(super) fn helpers(length: usize) -> usize {
    if length < WORTH {
        return 0;
    }
    thread::available_parallelism().map_or(0, |cpus| cpus.get().min(MOST) - 1)
}

/// Reads these and gives them in this order, with so many threads that help. Where no thread can be made, it goes on without.
pub(super) fn read(
    reader: &mut Reader,
    pids: &[Pid],
    want: &Want,
    helpers: usize,
    mut take: impl FnMut(Process),
) {
    let shares = Shares { pids, next: AtomicUsize::new(0) };
    let (send, receive) = mpsc::sync_channel(2 * MOST);
    thread::scope(|scope| {
        let help = |_| {
            let (proc, send, shares) = (reader.proc.clone(), send.clone(), &shares);
            let work = move || {
                let mut reader = Reader::of_files(proc);
                while let Some((number, pids)) = shares.claim() {
                    if send.send((number, reader.gather(pids, want))).is_err() {
                        break;
                    }
                }
            };
            thread::Builder::new().spawn_scoped(scope, work).ok()
        };
        let helpers: Vec<_> = (0..helpers).filter_map(help).collect();
        drop(send);
        shares.in_order(reader, want, &receive, &mut take);
        drop(receive);
        // Not only their work, they themselves are over then: whoever forks next is alone.
        helpers.into_iter().for_each(|helper| drop(helper.join()));
    });
}

/// The list, and from where on nobody has claimed it.
struct Shares<'a> {
    pids: &'a [Pid],
    next: AtomicUsize,
}

type Read = (usize, Vec<Process>);

impl<'a> Shares<'a> {
    fn claim(&self) -> Option<(usize, &'a [Pid])> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.pids.chunks(SHARE).nth(number).map(|pids| (number, pids))
    }

    /// Gives what others have read, and reads itself while the next share is not there.
    fn in_order(
        &self,
        reader: &mut Reader,
        want: &Want,
        others: &mpsc::Receiver<Read>,
        take: &mut impl FnMut(Process),
    ) {
        let mut early: BTreeMap<usize, Vec<Process>> = BTreeMap::new();
        for (number, pids) in self.pids.chunks(SHARE).enumerate() {
            while !early.contains_key(&number) {
                let read = others.try_recv().ok();
                let read = read.or_else(|| self.claim().map(|(at, pids)| (at, reader.gather(pids, want))));
                // It is on its way, or lost with whoever had claimed it.
                let read = read.or_else(|| others.recv().ok());
                let (at, read) = read.unwrap_or_else(|| (number, reader.gather(pids, want)));
                early.insert(at, read);
            }
            early.remove(&number).into_iter().flatten().for_each(&mut *take);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doula_sys::group;

    #[test]
    fn whoever_helps_all_are_given_once_and_in_order() {
        let mut reader = Reader::open().expect("/proc");
        let pids = [Pid::INIT, group::pid()].repeat(5 * SHARE + 7);
        for want in [Want::default(), Want { status: true, wchan: true, ..Want::default() }] {
            for helpers in [0, 1, 3] {
                let mut given = Vec::new();
                read(&mut reader, &pids, &want, helpers, |process| given.push(process));
                assert!(given.iter().map(|process| process.stat.pid).eq(pids.iter().copied()), "{helpers}");
                assert!(given.iter().all(|process| process.status.known().is_some() == want.status));
            }
        }
    }

    #[test]
    fn who_is_gone_is_left_out_and_the_rest_is_whole() {
        let mut reader = Reader::open().expect("/proc");
        // Above every number that the kernel gives.
        let nobody = Pid::new(i32::MAX).expect("a number");
        let pids = [nobody, group::pid(), nobody].repeat(SHARE);
        let mut count = 0;
        read(&mut reader, &pids, &Want::default(), 2, |process| {
            count += usize::from(process.stat.pid == group::pid());
        });
        assert_eq!(count, SHARE);
    }

    #[test]
    fn a_short_list_needs_no_help() {
        assert_eq!(helpers(WORTH - 1), 0);
        assert!(helpers(WORTH) < MOST);
    }
}
