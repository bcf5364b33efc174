//! What becomes of a signal that reaches us: which one is passed on instead, and to whom.

use super::Face;
use doula_model::service::Scope;
use doula_model::signal::Signal;

/// Whom signals go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// SIGTERM to everybody, so that also those hear of the end who left the group and the session; every
    /// other signal to the main process, which alone knows what, say, SIGHUP means.
    Auto,
    /// Always the same.
    Always(Scope),
}

/// One signal on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Which.
    pub signal: Signal,
    /// To whom.
    pub scope: Scope,
    /// Whether SIGSTOP takes its place when the main process leaves it to its default action: for the kernel
    /// drops SIGTSTP, SIGTTIN and SIGTTOU of the leader of a session, whom nobody above could continue.
    pub or_stop: bool,
}

/// The table of all signals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    /// By number: what it becomes. 0 drops it, [`AS_IT_IS`] leaves it.
    rewritten: [u8; 65],
    to: To,
    /// How the three stop signals of terminals are treated unless they are rewritten.
    stops: Stops,
}

/// How SIGTSTP, SIGTTIN and SIGTTOU are passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stops {
    AsTheyAre,
    OrStop,
    AlwaysStop,
}

/// Above every signal number.
const AS_IT_IS: u8 = 255;

impl Routes {
    pub(super) const fn of(face: Face) -> Routes {
        let (to, stops) = match face {
            Face::Native => (To::Auto, Stops::OrStop),
            Face::Tini => (To::Always(Scope::Main), Stops::AsTheyAre),
            Face::DumbInit => (To::Always(Scope::Group), Stops::AlwaysStop),
        };
        Routes { rewritten: [AS_IT_IS; 65], to, stops }
    }

    /// Sends all signals to the same processes.
    pub(super) fn send_to(&mut self, to: To) {
        self.to = to;
    }

    /// Passes stop signals on unchanged: for a main process that does not lead a session.
    pub(super) fn keep_stops(&mut self) {
        self.stops = Stops::AsTheyAre;
    }

    /// From now on `from` becomes `to`; `None` drops it.
    pub(super) fn rewrite(&mut self, from: Signal, to: Option<Signal>) {
        self.rewritten[from.number() as usize] = to.map_or(0, |signal| signal.number() as u8);
    }

    /// What becomes of a signal; `None` when it is dropped.
    pub fn route(&self, signal: Signal) -> Option<Delivery> {
        let rewritten = self.rewritten[signal.number() as usize];
        let stops = matches!(signal, Signal::TSTP | Signal::TTIN | Signal::TTOU) && rewritten == AS_IT_IS;
        let (signal, or_stop) = match (stops, self.stops) {
            (true, Stops::AlwaysStop) => (Signal::STOP, false),
            (true, Stops::OrStop) => (signal, true),
            (true, Stops::AsTheyAre) => (signal, false),
            (false, _) if rewritten == AS_IT_IS => (signal, false),
            (false, _) => (Signal::new(i32::from(rewritten))?, false),
        };
        let scope = match self.to {
            To::Always(scope) => scope,
            To::Auto if signal == Signal::TERM => Scope::Tree,
            To::Auto => Scope::Main,
        };
        Some(Delivery { signal, scope, or_stop })
    }
}
