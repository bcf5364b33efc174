//! `locks_memory`: one thread takes a dirty page of a file out of the memory map whose server never answers writes, and
//! another one changes the map meanwhile. From then on whoever asks for its arguments waits, until standard input ends.
//! Says `locked` when the first thread hangs; the second follows at once. Nothing before Linux 6.16: there FUSE writes pages
//! back from copies that it makes, and munmap(2) does not wait.
//!
//! `locks_memory reads`: only one thread reads the file, and waits for an answer that never comes.
//!
//! `locks_memory shares`: so does a cat(1) at the same time: one of both waits for the answer, the other one for the page.
//!
//! The server is a child of it (`locks_memory serve`, with `/dev/fuse` as its standard error), which ends with standard
//! input. Needs root.

use actors::{again, argument, say};
use doula_sys::stuck;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};

/// The file is so long.
const LENGTH: u64 = 4096;
const LOOKS: u32 = 3;
const OPENS: u32 = 14;
const READS: u32 = 15;
const WRITES: u32 = 16;
const BEGINS: u32 = 26;
const FORGETS: u32 = 2;
const NOT_KNOWN: i32 = -38;

fn main() {
    if argument(1).as_deref() == Some("serve") {
        std::thread::spawn(serve);
        let mut rest = Vec::new();
        let _end = std::io::stdin().read_to_end(&mut rest);
        return;
    }
    let how = argument(1).unwrap_or_default();
    assert!(!how.is_empty() || pages_are_written_in_place(), "this kernel writes copies of pages");
    stuck::own_mounts().expect("a mount namespace");
    let open = || OpenOptions::new().read(true).write(true).open("/dev/fuse");
    let device = open().expect("/dev/fuse");
    // Over any file that exists; in our mount namespace nobody needs this one again.
    stuck::serve_file(&device, c"/dev/fuse").expect("a mount");
    // The device is the server's alone from here on: with it, all that it was asked ends.
    let mut server = again("serve").arg(&how).stderr(Stdio::from(device)).spawn().expect("a server");
    let mut file = open().expect("the file of the server");
    // The kernel asks for the length now; before that, there is no page to write to.
    file.metadata().expect("the attributes of the file");
    if how == "shares" {
        // Opened before anybody reads: to open it waits for the page as well.
        let theirs = open().expect("the file of the server");
        let mut cat = Command::new("cat").stdin(theirs).stdout(Stdio::null()).spawn().expect("cat");
        let _error = file.read(&mut [0]);
        drop(cat.wait());
        return drop(server.wait());
    }
    if how == "reads" {
        // The end of the server is an error here.
        let _error = file.read(&mut [0]);
        return drop(server.wait());
    }
    let hangs = std::thread::spawn(move || stuck::dirty_a_page(file.as_fd()));
    while !hangs.is_finished() {
        stuck::change_the_map().expect("a page");
    }
    // The server is gone, so the page could not be written, which munmap(2) does not say.
    hangs.join().expect("a thread that ends well").expect("a page");
    server.wait().expect("our child");
}

/// Whether this is Linux 6.16 or later.
fn pages_are_written_in_place() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("/proc");
    let mut numbers = release.split(['.', '-']).map_while(|part| part.trim().parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(16))
}

/// Answers what has to be answered until the page comes, and from then on nothing.
fn serve() {
    let mut device = File::from(std::io::stderr().as_fd().try_clone_to_owned().expect("the device"));
    let mut request = vec![0; 1 << 20];
    while let Ok(length) = device.read(&mut request) {
        let word = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().expect("four bytes"));
        let (operation, unique) = (word(4), request[8..16].to_vec());
        assert!(length >= 40, "a request has a head");
        let (error, body) = match operation {
            BEGINS => {
                (0, [7_u32, 31, 0, 0, 0, 4096, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].map(u32::to_ne_bytes).concat())
            }
            LOOKS => (0, attributes()),
            OPENS => (0, vec![0; 16]),
            READS if matches!(argument(2).as_deref(), Some("reads" | "shares")) => {
                say("locked");
                continue;
            }
            READS => (0, vec![0; LENGTH as usize]),
            WRITES => {
                say("locked");
                continue;
            }
            FORGETS => continue,
            _ => (NOT_KNOWN, Vec::new()),
        };
        let head = [(16 + body.len() as u32).to_ne_bytes(), i32::to_ne_bytes(error)].concat();
        // Whoever asked may be gone.
        let _gone = device.write(&[head, unique, body].concat());
    }
}

/// `struct fuse_attr_out`: a file of one page that root may read and write.
fn attributes() -> Vec<u8> {
    let long = [3600, 0, 1, LENGTH, 8, 0, 0, 0].map(u64::to_ne_bytes).concat();
    let short = [0, 0, 0, 0o100_644, 1, 0, 0, 0, 4096, 0].map(u32::to_ne_bytes).concat();
    [long, short].concat()
}
