//! `notify_ready [MS]`: says READY=1 by sd_notify after so many milliseconds; without a number when SIGUSR1 comes.
//! SIGHUP is a reload, told as RELOADING=1 and READY=1; SIGTERM ends it, told as STOPPING=1.

use actors::{Inbox, argument, millis, named, notify, say};

fn main() {
    let inbox = Inbox::holding(&["USR1", "HUP", "TERM", "INT"]);
    say("notify_ready: started");
    let mut before_ready = argument(1).map(|_| millis(1, 0));
    loop {
        let signal = inbox.wait(before_ready.take());
        if signal.is_none() || signal == Some(named("USR1")) {
            notify("READY=1\nSTATUS=at your service", &[]);
            say("notify_ready: ready");
        } else if signal == Some(named("HUP")) {
            notify("RELOADING=1", &[]);
            notify("READY=1\nSTATUS=reloaded", &[]);
            say("notify_ready: reloaded");
        } else {
            notify("STOPPING=1", &[]);
            return say("notify_ready: bye");
        }
    }
}
