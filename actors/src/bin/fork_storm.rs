//! `fork_storm [N]`: has so many children (100; 2000 at most) that live until a signal ends them, every second of them
//! in a session of its own. On SIGTERM it ends and leaves them all behind.

use actors::{Inbox, again, argument, forever, number, say};

const MOST: u64 = 2000;

fn main() {
    match argument(1).as_deref() {
        Some("stay") => forever(),
        Some("leave") => {
            doula_sys::group::setsid().expect("a session of its own");
            forever();
        }
        _ => {}
    }
    let inbox = Inbox::holding(&["TERM", "INT"]);
    let count = number(1, 100).min(MOST);
    let part = |index| if index % 2 == 0 { "stay" } else { "leave" };
    let children: Vec<_> = (0..count).map(|index| again(part(index)).spawn().expect("a child")).collect();
    say(&format!("fork_storm: {} children", children.len()));
    inbox.wait(None);
}
