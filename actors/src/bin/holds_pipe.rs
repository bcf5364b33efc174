//! `holds_pipe [MS]`: ends at once with 0, but its child keeps stdout open so long (forever unless told), writing one
//! more line at the end.

use actors::{abandon, again, argument, forever, millis, pass, say};

fn main() {
    if argument(1).as_deref() != Some("hold") {
        let mut child = again("hold");
        child.args(argument(1));
        abandon(child);
        return say("holds_pipe: bye");
    }
    if argument(2).is_none() {
        forever();
    }
    pass(millis(2, 0));
    say("holds_pipe: last word");
}
