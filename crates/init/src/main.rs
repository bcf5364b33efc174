//! The init for containers: one small static file that needs nothing, not even a C library.
//!
//! All it does is in `doula-core` (what is decided) and `doula-host` (what is done), and is the same as `doula
//! init`. How it can begin without a library is told in `doula_sys::start`.

#![no_std]
#![no_main]

use doula_sys::start::Start;

doula_sys::entry!(run);

fn run(start: Start) -> u8 {
    doula_host::init::run(&start.args, start.env)
}
