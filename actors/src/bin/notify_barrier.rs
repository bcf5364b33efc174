//! `notify_barrier`: says READY=1 and a STATUS, then BARRIER=1, and tells when the supervisor hung up: when it has heard
//! all that was said before. Ends on SIGTERM.

use actors::{Inbox, notify, say};
use doula_sys::{fd, poll};
use std::os::fd::AsFd;

fn main() {
    let inbox = Inbox::holding(&["TERM", "INT"]);
    let (ours, theirs) = fd::pipe().expect("a pipe");
    notify("READY=1\nSTATUS=before the barrier", &[]);
    if notify("BARRIER=1", &[theirs.as_fd()]) {
        drop(theirs);
        poll::readable(&ours, None).expect("the end of the pipe");
        assert_eq!(fd::read(&ours, &mut [0]), Ok(0), "nobody writes into it");
        say("notify_barrier: passed");
    }
    inbox.wait(None);
}
