//! `fdstore [NAME]`: tells which descriptors it was given (LISTEN_FDS, LISTEN_FDNAMES) and what is in them; gives one
//! with the text `kept by PID` to the supervisor's FDSTORE under this name (`memory` unless told). Ends on SIGTERM.

use actors::{Inbox, argument, notify, say};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;

fn main() {
    let inbox = Inbox::holding(&["TERM", "INT"]);
    let name = argument(1).unwrap_or_else(|| "memory".to_owned());
    tell_what_was_given();
    let mut file = File::from(doula_sys::fd::memory(c"fdstore").expect("a file in memory"));
    write!(file, "kept by {}", std::process::id()).expect("text in the file");
    let told = notify(&format!("FDSTORE=1\nFDNAME={name}"), &[file.as_fd()]);
    notify("READY=1", &[]);
    say(if told { "fdstore: stored" } else { "fdstore: no NOTIFY_SOCKET" });
    inbox.wait(None);
}

fn tell_what_was_given() {
    let read = |key: &str| std::env::var(key).unwrap_or_default();
    let count: i32 = read("LISTEN_FDS").parse().unwrap_or(0);
    let names = read("LISTEN_FDNAMES");
    let names: Vec<&str> = names.split(':').collect();
    for index in 0..count {
        let fd = doula_sys::fd::inherited(3 + index).expect("an open descriptor");
        let mut text = String::new();
        let mut file = File::from(fd);
        let _no_file = file.rewind().and_then(|()| file.read_to_string(&mut text));
        let name = names.get(index as usize).unwrap_or(&"");
        say(&format!("fdstore: given {name}: {text}"));
    }
}
