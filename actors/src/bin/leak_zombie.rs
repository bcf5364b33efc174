//! `leak_zombie [N] [CODE]`: has so many children (1 unless told) that end at once with this code (0 unless told), and
//! never waits for them. Ends on SIGTERM.

use actors::{Inbox, again, argument, number, say};
use std::process::ExitCode;

fn main() -> ExitCode {
    if argument(1).as_deref() == Some("end") {
        return ExitCode::from(u8::try_from(number(2, 0)).expect("a code"));
    }
    let inbox = Inbox::holding(&["TERM", "INT"]);
    let code = number(2, 0).to_string();
    let forgotten: Vec<_> =
        (0..number(1, 1)).map(|_| again("end").arg(&code).spawn().expect("a child")).collect();
    say(&format!("leak_zombie: {} forgotten", forgotten.len()));
    inbox.wait(None);
    ExitCode::SUCCESS
}
