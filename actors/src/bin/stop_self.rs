//! `stop_self`: stops itself with SIGSTOP at once; says `continued` whenever it is continued, and stops again.

fn main() {
    loop {
        actors::say("stop_self: stopping");
        doula_sys::signal::raise(actors::named("STOP")).expect("a signal sent to myself");
        actors::say("stop_self: continued");
    }
}
