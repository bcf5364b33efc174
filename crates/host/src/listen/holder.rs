//! Who has an address that we want: the kernel's tables of sockets, then the fds of all processes.
//!
//! Best effort, for the text of an error: without the right to look into other processes it finds nobody.

use crate::holder::{self, Holder};
use crate::listening;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

pub(super) fn of_tcp(places: &[SocketAddr]) -> Option<Holder> {
    process_with(&listening::tcp(places))
}

pub(super) fn of_udp(places: &[SocketAddr]) -> Option<Holder> {
    process_with(&listening::udp(places))
}

pub(super) fn of_unix(path: &str) -> Option<Holder> {
    let table = fs::read_to_string("/proc/net/unix").ok()?;
    // Num RefCount Protocol Flags Type St Inode Path
    let inodes = table.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let inode = words.nth(6)?;
        (line.ends_with(path) && words.next()?.len() <= path.len()).then(|| listening::name(inode))
    });
    process_with(&inodes.collect::<Vec<_>>())
}

/// The first process that has one of these sockets open.
fn process_with(sockets: &[PathBuf]) -> Option<Holder> {
    holder::of(sockets, |_| true).next()
}
