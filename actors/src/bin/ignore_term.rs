//! Ignores SIGTERM.
fn main() {}
