//! Who has which pipe, socket and FUSE connection open: a look at every descriptor that we may see.

use super::files::{descriptors, info, inode};
use crate::procfs::Reader;
use doula_model::id::Pid;
use doula_sys::diag::UnixPeers;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;

/// Who has which end of a pipe, each once, in ascending order.
#[derive(Debug, Default)]
struct Ends {
    readers: Vec<Pid>,
    writers: Vec<Pid>,
}

/// Who holds what.
#[derive(Debug, Default)]
pub(super) struct Holders {
    pipes: BTreeMap<u64, Ends>,
    /// In ascending order.
    sockets: BTreeMap<u64, Vec<Pid>>,
    /// Servers with the number of their connection; `None` where the kernel does not tell.
    servers: Vec<(Pid, Option<u32>)>,
}

impl Holders {
    pub(super) fn look(reader: &mut Reader) -> Holders {
        let mut holders = Holders::default();
        for pid in reader.numbers().unwrap_or_default() {
            for fd in descriptors(pid) {
                // Closed meanwhile: nobody holds it by this number.
                let _ = holders.add(pid, fd);
            }
        }
        holders
    }

    fn add(&mut self, pid: Pid, fd: i32) -> Option<()> {
        let path = format!("/proc/{pid}/fd/{fd}");
        let link = fs::read_link(&path).ok()?;
        let name = link.as_os_str().as_bytes();
        if let Some(inode) = inode(name, b"pipe:[") {
            // The mode of the link says how it is open.
            let mode = fs::symlink_metadata(&path).ok()?.mode();
            let ends = self.pipes.entry(inode).or_default();
            if mode & 0o400 != 0 {
                add_once(&mut ends.readers, pid);
            }
            if mode & 0o200 != 0 {
                add_once(&mut ends.writers, pid);
            }
        } else if let Some(inode) = inode(name, b"socket:[") {
            add_once(self.sockets.entry(inode).or_default(), pid);
        } else if name == b"/dev/fuse" {
            let number = info(&format!("/proc/{pid}"), fd, "fuse_connection:");
            self.servers.push((pid, number.and_then(|number| number.parse().ok())));
        }
        Some(())
    }

    pub(super) fn writers(&self, pipe: u64) -> &[Pid] {
        self.pipes.get(&pipe).map_or(&[], |ends| &ends.writers)
    }

    pub(super) fn readers(&self, pipe: u64) -> &[Pid] {
        self.pipes.get(&pipe).map_or(&[], |ends| &ends.readers)
    }

    /// Who has the other end of a Unix socket.
    pub(super) fn peers(&self, socket: u64) -> &[Pid] {
        let peer = || UnixPeers::open().ok()?.peer(u32::try_from(socket).ok()?).ok()?;
        peer().and_then(|peer| self.sockets.get(&u64::from(peer))).map_or(&[], Vec::as_slice)
    }

    /// Who serves the FUSE connection with this number: those who are known to, else whoever may.
    pub(super) fn servers(&self, connection: u32) -> Vec<Pid> {
        let with = |wanted: Option<u32>| self.servers.iter().filter(move |(_, number)| *number == wanted);
        let known = distinct(with(Some(connection)).map(|(pid, _)| *pid));
        if known.is_empty() { distinct(with(None).map(|(pid, _)| *pid)) } else { known }
    }
}

/// Processes are looked at one after the other: whoever is there already is the last.
fn add_once(pids: &mut Vec<Pid>, pid: Pid) {
    if pids.last() != Some(&pid) {
        pids.push(pid);
    }
}

fn distinct(pids: impl Iterator<Item = Pid>) -> Vec<Pid> {
    let mut pids: Vec<Pid> = pids.collect();
    pids.sort();
    pids.dedup();
    pids
}
