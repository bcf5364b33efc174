//! `commits_at_end FILE`: reads its input to the end, then writes FILE, as if it had got all of it. Says on stderr that it is
//! reading.

use std::io::{Read, Write};

fn main() {
    let _unheard = std::io::stderr().lock().write_all(b"commits_at_end: reading\n");
    let mut everything = Vec::new();
    std::io::stdin().lock().read_to_end(&mut everything).expect("an input");
    let file = actors::argument(1).expect("the name of a file");
    std::fs::write(file, everything).expect("a file");
}
