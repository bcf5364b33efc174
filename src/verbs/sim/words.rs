//! A forecast as sentences for people.

use crate::processes::printable;
use crate::ui::escape;
use doula_model::forecast::{Adoption, Burial, Fate, Forecast, HangUp, Note, Why, Zombie};
use doula_model::signal::Signal;
use doula_model::snapshot::Snapshot;
use std::fmt::Write;

/// The whole answer, a sentence a line.
pub(crate) fn tell(snapshot: &Snapshot, forecast: &Forecast) -> String {
    let told = Teller { snapshot, text: String::new() };
    told.all(forecast)
}

struct Teller<'a> {
    snapshot: &'a Snapshot,
    text: String,
}

impl Teller<'_> {
    fn all(mut self, forecast: &Forecast) -> String {
        self.fate(forecast);
        for group in &forecast.hung_up {
            self.hang_up(group);
        }
        self.adoptions(&forecast.adopted);
        for end in &forecast.ended {
            let (who, how) = (self.who(end.pid), how(end.status));
            self.line(&format!("{who} dies too: {how}."));
        }
        for heard in &forecast.heard {
            let (who, signals) = (self.who(heard.pid), signals(&heard.signals));
            self.line(&format!("{who} catches {signals}; what it does then is its own matter."));
        }
        if !forecast.continued.is_empty() {
            let who = self.all_of(&forecast.continued);
            self.line(&format!("{who}: stopped before, and running then."));
        }
        for zombie in &forecast.zombies {
            self.zombie(*zombie);
        }
        if !forecast.vanished.is_empty() {
            let who = self.all_of(&forecast.vanished);
            self.line(&format!("No zombie of {who}: whose child it is ignores SIGCHLD, or dies with it."));
        }
        for note in &forecast.notes {
            self.note(*note);
        }
        self.text
    }

    fn line(&mut self, text: &str) {
        let written = writeln!(self.text, "{text}");
        debug_assert!(written.is_ok(), "writing into a String cannot fail");
    }

    /// `812 (nginx)`.
    fn who(&self, pid: i32) -> String {
        match self.snapshot.find(pid) {
            Some(process) => format!("{pid} ({})", escape(&printable(&process.name))),
            None if pid == 0 => "somebody outside of this PID namespace".to_owned(),
            None => pid.to_string(),
        }
    }

    fn all_of(&self, pids: &[i32]) -> String {
        let all: Vec<String> = pids.iter().map(|pid| self.who(*pid)).collect();
        all.join(", ")
    }

    fn fate(&mut self, forecast: &Forecast) {
        let who = self.who(forecast.pid);
        let text = match forecast.fate {
            Fate::Dies(status) => format!("If {who} dies ({}):", how(status)),
            Fate::Ignores => format!("{who} ignores this signal: nothing happens."),
            Fate::Catches => format!("{who} catches this signal: what it does then is its own matter."),
            Fate::Blocks => {
                format!("{who} has blocked this signal: nothing happens before it lets it in or reads it.")
            }
            Fate::IsInit => {
                format!("{who} is the init of its PID namespace: this signal does not reach it from inside.")
            }
            Fate::IsDead => format!("{who} is dead already: a zombie that waits for its parent."),
            Fate::Survives => format!("{who} does not die of this signal."),
            Fate::IsStopped => format!("{who} is stopped: before SIGCONT only SIGKILL ends it."),
        };
        self.line(&text);
    }

    fn hang_up(&mut self, group: &HangUp) {
        let (members, signals) = (self.all_of(&group.members), signals(&group.signals));
        let why = match group.why {
            Why::Foreground => "is in the foreground of the terminal that its session loses",
            Why::Orphaned => "has a stopped member, and nobody is left who could continue it",
        };
        self.line(&format!("Group {} {why}: {members} gets {signals}.", group.pgid));
    }

    /// One sentence for all who come to the same parent on the same condition.
    fn adoptions(&mut self, adopted: &[Adoption]) {
        let mut rest: Vec<&Adoption> = adopted.iter().collect();
        while let Some(first) = rest.first().copied() {
            let same = |other: &Adoption| other.by == first.by && other.unless == first.unless;
            let group: Vec<i32> = rest.iter().filter(|other| same(other)).map(|other| other.pid).collect();
            rest.retain(|other| !same(other));
            let (who, by) = (self.all_of(&group), self.who(first.by));
            let unless = match first.unless.as_slice() {
                [] => String::new(),
                [one] => format!(", unless {} is a subreaper", self.who(*one)),
                several => format!(", unless one of these is a subreaper: {}", self.all_of(several)),
            };
            self.line(&format!("{by} adopts {who}{unless}."));
        }
    }

    fn zombie(&mut self, zombie: Zombie) {
        let (who, parent) = (self.who(zombie.pid), self.who(zombie.parent));
        self.line(&match zombie.burial {
            Burial::Waits => format!("{who} is a zombie for a moment: {parent} sleeps in wait(2)."),
            Burial::Hears => format!("{who} is a zombie until {parent} buries it, which listens to SIGCHLD."),
            Burial::Silent => {
                format!("{who} is a zombie until {parent} asks for it, which does nothing about SIGCHLD.")
            }
            Burial::Unknown => {
                format!("{who} is a zombie until {parent} buries it: whether it will is not known.")
            }
        });
    }

    fn note(&mut self, note: Note) {
        let text = match note {
            Note::Subreaper { pid, child } => format!(
                "Known: {} is a subreaper, for it was never in the session of its child {}.",
                self.who(pid),
                self.who(child)
            ),
            Note::DeathSignals { children } => {
                format!(
                    "Open: whether its children ({children}) get a signal at its death (PR_SET_PDEATHSIG)."
                )
            }
            Note::InD => "Open: when. It is in D, and dies as soon as the kernel lets it.".to_owned(),
            Note::Threads { count } => format!("Its {count} threads die with it."),
            Note::NoNamespace { pid } => {
                format!("Open: in which PID namespace {} is; it is taken to be in this one.", self.who(pid))
            }
            Note::NoSignals { pid } => {
                format!("Open: what {} does about signals; it is taken to do nothing.", self.who(pid))
            }
        };
        self.line(&text);
    }
}

/// A wait status in words.
fn how(status: i32) -> String {
    match (status & 0x7f, status >> 8 & 0xff) {
        (0, code) => format!("exit code {code}"),
        (signal, _) => {
            Signal::new(signal).map_or_else(|| format!("signal {signal}"), |signal| signal.to_string())
        }
    }
}

fn signals(all: &[Signal]) -> String {
    let names: Vec<String> = all.iter().map(ToString::to_string).collect();
    names.join(" and ")
}
