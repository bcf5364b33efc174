//! `execs_slowly`: serves a file, at `/proc/PID/root/dev/fuse`, that is this same program; of one page of it the server does
//! not answer until it is told to. Says `ready`; and `held` when somebody who executes it is so far that he has the new
//! memory map, and no environment in it yet. A line of standard input lets him go on; its end ends the server, and with it
//! everybody who waits for the page.
//!
//! The page is the last one of the program's data: the kernel clears the rest of it, which belongs to no file, in the
//! middle of execve(2).
//!
//! The file does not look at its arguments when it is executed by that name: it lives until it is killed. Needs root.

use actors::say;
use doula_sys::stuck;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, Read as _, Write as _};
use std::ops::Range;
use std::sync::mpsc::{Receiver, channel};

const PAGE: u64 = 4096;
const ATTRIBUTES: u32 = 3;
const READS: u32 = 15;
const OPENS: u32 = 14;
const BEGINS: u32 = 26;
const FORGETS: u32 = 2;
const NOT_KNOWN: i32 = -38;

fn main() {
    let first = std::env::args().next().unwrap_or_default();
    if first.ends_with("/dev/fuse") {
        loop {
            std::thread::park();
        }
    }
    stuck::own_mounts().expect("a mount namespace");
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").expect("/dev/fuse");
    // Over any file that exists; in our mount namespace nobody needs this one again.
    stuck::serve_file(&device, c"/dev/fuse").expect("a mount");
    let (go_on, told) = channel();
    std::thread::spawn(move || serve(device, &told));
    say("ready");
    for _line in std::io::stdin().lock().lines().map_while(Result::ok) {
        go_on.send(()).expect("the server");
    }
}

fn serve(mut device: File, told: &Receiver<()>) {
    let program = std::fs::read("/proc/self/exe").expect("this program");
    let held = page_that_is_cleared(&program);
    let mut request = vec![0; 1 << 20];
    while let Ok(length) = device.read(&mut request) {
        answer(&mut device, &request[..length], &program, || {
            if held == wanted(&request).start {
                say("held");
                let _ended = told.recv();
            }
        });
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// What a request to read asks for.
fn wanted(request: &[u8]) -> Range<u64> {
    let (from, length) = (long(request, 48), u64::from(word(request, 56)));
    from..from + length
}

fn answer(device: &mut File, request: &[u8], program: &[u8], before_a_page: impl FnOnce()) {
    let (error, body) = match word(request, 4) {
        // Nothing is read ahead.
        BEGINS => {
            (0, [7_u32, 31, 0, 0, 0, 4096, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].map(u32::to_ne_bytes).concat())
        }
        ATTRIBUTES => (0, attributes(program.len() as u64)),
        OPENS => (0, vec![0; 16]),
        READS => {
            before_a_page();
            let within = |at: u64| (at as usize).min(program.len());
            let wanted = wanted(request);
            (0, program[within(wanted.start)..within(wanted.end)].to_vec())
        }
        FORGETS => return,
        _ => (NOT_KNOWN, Vec::new()),
    };
    let head = [(16 + body.len() as u32).to_ne_bytes(), i32::to_ne_bytes(error)].concat();
    // Whoever asked may be gone.
    let _gone = device.write(&[&head, &request[8..16], &body].concat());
}

/// `struct fuse_attr_out`: a file of this length that everybody may execute.
fn attributes(length: u64) -> Vec<u8> {
    let long = [3600, 0, 1, length, length.div_ceil(512), 0, 0, 0].map(u64::to_ne_bytes).concat();
    let short = [0, 0, 0, 0o100_755, 1, 0, 0, 0, 4096, 0].map(u32::to_ne_bytes).concat();
    [long, short].concat()
}

/// Where the page begins in the file behind whose bytes the kernel clears memory: the end of a segment that is longer in
/// memory than in the file (elf(5), `Elf64_Phdr`).
fn page_that_is_cleared(program: &[u8]) -> u64 {
    const LOADED: u32 = 1;
    let half = |at: usize| usize::from(u16::from_ne_bytes([program[at], program[at + 1]]));
    let heads = (0..half(56)).map(|number| long(program, 32) as usize + number * half(54));
    let end = heads.into_iter().find_map(|at| {
        let (offset, in_file, in_memory) =
            (long(program, at + 8), long(program, at + 32), long(program, at + 40));
        (word(program, at) == LOADED && in_memory > in_file).then_some(offset + in_file)
    });
    let end = end.expect("a program has variables that are zero at first");
    assert!(end % PAGE != 0, "a page that is cleared to its end");
    end / PAGE * PAGE
}
