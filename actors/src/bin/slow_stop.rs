//! `slow_stop [MS]`: needs so long to end after SIGTERM (1000 unless told), whatever else it is sent.

use actors::{Inbox, millis, pass, say};

fn main() {
    let inbox = Inbox::holding(&["TERM", "INT"]);
    say("slow_stop: ready");
    inbox.wait(None);
    say("slow_stop: tidying up");
    pass(millis(1, 1000));
    say("slow_stop: bye");
}
