//! `notify_fd FD [MS]`: is ready after so many milliseconds, and says so by a newline on the descriptor FD (the way of
//! s6); without MS when SIGUSR1 comes. Ends on SIGTERM.

use actors::{Inbox, argument, millis, named, number, say};

fn main() {
    let inbox = Inbox::holding(&["USR1", "TERM", "INT"]);
    let fd = i32::try_from(number(1, 3)).expect("a descriptor");
    let fd = doula_sys::fd::inherited(fd).expect("an open descriptor");
    let signal = inbox.wait(argument(2).map(|_| millis(2, 0)));
    if signal.is_none() || signal == Some(named("USR1")) {
        doula_sys::fd::write(&fd, b"\n").expect("a descriptor to write to");
        drop(fd);
        say("notify_fd: ready");
        inbox.wait(None);
    }
    say("notify_fd: bye");
}
