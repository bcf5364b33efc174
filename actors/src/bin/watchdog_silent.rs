//! `watchdog_silent [BEATS]`: says READY=1 and so many times WATCHDOG=1 (3 unless told), twice as often as asked for in
//! WATCHDOG_USEC; then it hangs without a word.

use actors::{forever, notify, number, pass, say};
use std::time::Duration;

fn main() {
    let asked = std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok());
    let period = Duration::from_micros(asked.unwrap_or(1_000_000) / 2);
    notify("READY=1", &[]);
    for beat in 1..=number(1, 3) {
        pass(period);
        notify("WATCHDOG=1", &[]);
        say(&format!("watchdog_silent: beat {beat}"));
    }
    say("watchdog_silent: hanging");
    forever();
}
