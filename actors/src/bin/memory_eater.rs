//! `memory_eater [MIB]`: takes and touches so much memory (64 unless told; 4096 at most), in steps of one mebibyte, and
//! then keeps it until a signal ends it.

use actors::{forever, number, say};

const MIB: usize = 1 << 20;
const MOST: u64 = 4096;

fn main() {
    let mut eaten = Vec::new();
    for _ in 0..number(1, 64).min(MOST) {
        eaten.push(std::hint::black_box(vec![1_u8; MIB]));
    }
    say(&format!("memory_eater: {} MiB", eaten.len()));
    forever();
}
