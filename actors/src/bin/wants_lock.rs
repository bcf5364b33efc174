//! `wants_lock OWN NEXT`: takes the lock of a file (flock(2)), says `taken`, and when it has read a line wants that of another one.

use actors::{argument, say};
use std::fs::File;
use std::io::stdin;

fn main() {
    let file = |number, what| File::create(argument(number).expect(what)).expect("to open the file");
    let own = file(1, "its own file");
    own.lock().expect("its lock");
    say("taken");
    stdin().read_line(&mut String::new()).expect("a line");
    file(2, "the next file").lock().expect("the next lock");
}
