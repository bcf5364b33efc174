//! `pid_eater [N]`: starts children that stay until there are so many (1000 unless told) or the system says no; says
//! how many there are and why it ended there. Ends on SIGTERM, its children by the signals they are sent.

use actors::{Inbox, again, argument, forever, number, say};

fn main() {
    if argument(1).as_deref() == Some("stay") {
        forever();
    }
    let inbox = Inbox::holding(&["TERM", "INT"]);
    let mut children = Vec::new();
    let mut why = "as asked".to_owned();
    for _ in 0..number(1, 1000) {
        match again("stay").spawn() {
            Ok(child) => children.push(child),
            Err(error) => {
                why = error.to_string();
                break;
            }
        }
    }
    say(&format!("pid_eater: {} children: {why}", children.len()));
    inbox.wait(None);
}
