//! `runaway [N]`: begins so many lines of descendants (8; 64 at most) and waits. Each member of a line bears the next and
//! ends at once, every second one in a session of its own: somebody always lives, and nobody for longer than a birth takes.

use actors::{abandon, again, argument, forever, number, say};

const MOST: u64 = 64;

fn main() {
    match argument(1).as_deref() {
        Some("stay") => abandon(again("leave")),
        Some("leave") => {
            doula_sys::group::setsid().expect("a session of its own");
            abandon(again("stay"));
        }
        _ => {
            let lines = number(1, 8).min(MOST);
            (0..lines).for_each(|_| abandon(again("stay")));
            say(&format!("runaway: {lines} lines"));
            forever();
        }
    }
}
