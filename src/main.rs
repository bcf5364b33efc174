//! The whole life of a Linux process.
fn main() {}
