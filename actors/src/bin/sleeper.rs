//! Does nothing until a signal ends it; takes as little memory and time to start as a Rust program can.

fn main() {
    actors::forever();
}
