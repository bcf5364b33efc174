//! Ends as it should: says so and exits with 0 on SIGTERM or SIGINT. SIGHUP is taken as "reload".

use actors::{Inbox, say};

fn main() {
    let inbox = Inbox::holding(&["TERM", "INT", "HUP"]);
    say("polite: ready");
    while inbox.wait(None) == Some(actors::named("HUP")) {
        say("polite: reloaded");
    }
    say("polite: bye");
}
