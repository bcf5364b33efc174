//! Ignores SIGTERM, SIGINT and SIGHUP: only SIGKILL ends it.

fn main() {
    for name in ["TERM", "INT", "HUP"] {
        doula_sys::signal::ignore(actors::named(name)).expect("a signal that can be ignored");
    }
    actors::say("ignore_term: ready");
    actors::forever();
}
