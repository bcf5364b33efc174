//! `log_flood [N [WIDTH]]`: writes so many numbered lines of this width as fast as it can (0, as unless told: until a signal ends
//! it; 80 bytes wide), then ends with 0.

use actors::number;
use std::io::{BufWriter, Write};

fn main() {
    let (count, width) = (number(1, 0), number(2, 80) as usize);
    let mut stdout = BufWriter::new(std::io::stdout().lock());
    let last = if count == 0 { u64::MAX } else { count };
    for line in 1..=last {
        if writeln!(stdout, "{line:>width$}").is_err() {
            return;
        }
    }
}
