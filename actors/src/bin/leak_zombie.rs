//! `leak_zombie [N]`: has so many children (1 unless told) that end at once, and never waits for them. Ends on SIGTERM.

use actors::{Inbox, again, argument, number, say};

fn main() {
    if argument(1).as_deref() == Some("end") {
        return;
    }
    let inbox = Inbox::holding(&["TERM", "INT"]);
    let forgotten: Vec<_> = (0..number(1, 1)).map(|_| again("end").spawn().expect("a child")).collect();
    say(&format!("leak_zombie: {} forgotten", forgotten.len()));
    inbox.wait(None);
}
