//! `double_fork [stay]`: makes a daemon of the old school: a grandchild in a session of its own, whose parent is gone.
//! It ends then, or with `stay` lives on until SIGTERM. The grandchild says its pid, and lives until a signal ends it.

use actors::{abandon, again, argument, forever, say};

fn main() {
    match argument(1).as_deref() {
        Some("middle") => {
            doula_sys::group::setsid().expect("a session of its own");
            abandon(again("daemon"));
        }
        Some("daemon") => {
            say(&format!("double_fork: daemon {}", std::process::id()));
            forever();
        }
        part => {
            again("middle").status().expect("the one in the middle");
            if part == Some("stay") {
                forever();
            }
        }
    }
}
