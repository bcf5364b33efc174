//! `torn_lines [MS]`: writes two lines byte by byte, one on stdout and one on stderr by turns, with so long a pause
//! between (1 unless told); then one without its newline, and ends.

use actors::{millis, pass};
use std::io::Write;

fn main() {
    let pause = millis(1, 1);
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    for (a, b) in b"torn on stdout\n".iter().zip(b"torn on stderr\n") {
        let _gone = out.write_all(&[*a]).and_then(|()| out.flush());
        let _gone = err.write_all(&[*b]);
        pass(pause);
    }
    let _gone = out.write_all(b"no newline at the end").and_then(|()| out.flush());
}
