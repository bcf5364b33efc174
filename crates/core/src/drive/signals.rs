//! What a signal to the supervisor means.

use doula_model::event::{Command, Event, Haste};
use doula_model::signal::Signal;

/// Remembers how often somebody asked to end: each time the family has less patience.
#[derive(Debug, Default)]
pub(super) struct Signals {
    asked: u32,
}

impl Signals {
    /// SIGINT and SIGTERM: stop in order, the second hurries, the third kills. SIGQUIT kills at once.
    /// Everything else is the world's own business.
    pub(super) fn meaning(&mut self, signal: Signal) -> Option<Event> {
        let haste = match signal {
            Signal::INT | Signal::TERM => {
                self.asked = self.asked.saturating_add(1);
                match self.asked {
                    1 => Haste::Orderly,
                    2 => Haste::Hurried,
                    _ => Haste::Kill,
                }
            }
            Signal::QUIT => Haste::Kill,
            _ => return None,
        };
        Some(Event::Command(Command::Shutdown(haste)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn haste(event: Option<Event>) -> Option<Haste> {
        match event {
            Some(Event::Command(Command::Shutdown(haste))) => Some(haste),
            _ => None,
        }
    }

    #[test]
    fn each_further_request_to_end_is_less_patient() {
        let mut signals = Signals::default();
        let asked =
            [Signal::INT, Signal::TERM, Signal::INT, Signal::INT].map(|signal| signals.meaning(signal));
        let expected = [Haste::Orderly, Haste::Hurried, Haste::Kill, Haste::Kill].map(Some);
        assert_eq!(asked.map(haste), expected);
    }

    #[test]
    fn other_signals_do_not_end_the_family() {
        let mut signals = Signals::default();
        assert_eq!(signals.meaning(Signal::WINCH), None);
        assert_eq!(signals.meaning(Signal::HUP), None);
    }
}
