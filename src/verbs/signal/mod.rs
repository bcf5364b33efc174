//! `doula signal`, `stop`, `cont` and `kill`: signals for processes that are meant, and no others.
//!
//! Who is meant is looked up once ([`whom`]); each of them is then a handle whose identity was checked, so that a number that
//! passes to somebody else meanwhile hits nobody.

mod whom;

use crate::config;
use crate::error::{Exit, Failure, Outcome};
use crate::processes::printable;
use crate::ui::{Style, Ui, escape};
use doula_host::aim::{self, Missed, Target, Tree};
use doula_host::diagnosis::{Doctor, Kill};
use doula_host::procfs::{ProcState, Reader, Stat, Want};
use doula_host::{Pid, Signal};
use serde_json::json;
use std::time::{Duration, Instant};
use whom::Whom;

/// How long whoever was killed may take to be gone: what a busy machine may need for it.
const GONE_WITHIN: Duration = Duration::from_secs(5);
/// How often a tree that is asked to end is looked through for those that were born meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a tree that forks may keep us from seeing all of it.
const FROZEN_WITHIN: Duration = Duration::from_secs(10);

/// Sends a signal to processes
///
/// To those with these numbers, or whose name matches a regular expression. Each is signalled by a handle whose identity
/// was checked, so that no other process can be hit that got its number meanwhile. We and those above us are left out
/// unless named by number.
///
/// Exit code 1 when nobody was found, or one of them could not be signalled.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  doula signal HUP nginx --dry-run
  doula signal USR1 1234
  doula signal TERM --group 1234")]
pub(crate) struct SignalArgs {
    /// Which, such as TERM, SIGHUP, 9, RTMIN+1
    #[arg(value_name = "SIGNAL", value_parser = signal)]
    signal: Signal,

    #[command(flatten)]
    whom: Whom,
}

/// Stops processes (SIGSTOP) until they are continued
///
/// A tree (`--tree`) is stopped as a whole: until a look sees nobody new and all of them stopped.
#[derive(Debug, clap::Args)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    whom: Whom,
}

/// Lets stopped processes go on (SIGCONT)
#[derive(Debug, clap::Args)]
pub(crate) struct ContArgs {
    #[command(flatten)]
    whom: Whom,
}

/// Ends processes, and tells how each ended
///
/// First by SIGTERM (and SIGCONT, so that the stopped hear it too); whoever is there after the grace by SIGKILL. With
/// `--tree`, whoever descends from them is meant too: before SIGKILL the whole tree is stopped, so that nobody is born and
/// missed, and only then killed.
///
/// Exit code 1 when nobody was found, or somebody is left: that one and why is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  doula kill 1234
  doula kill --tree 1234 --grace 30s
  doula kill --now '^worker'")]
pub(crate) struct KillArgs {
    #[command(flatten)]
    whom: Whom,

    /// How long they may take to end by themselves
    #[arg(long, value_parser = config::duration, default_value = "5s", value_name = "DURATION")]
    grace: Duration,

    /// SIGKILL at once
    #[arg(long, conflicts_with = "grace")]
    now: bool,
}

fn signal(text: &str) -> Result<Signal, String> {
    let unknown = |error: doula_model::signal::UnknownSignal| {
        format!("{error}: write it as TERM, SIGHUP, 9 or RTMIN+1 (`kill -l` lists them)")
    };
    text.parse().map_err(unknown)
}

/// `doula signal`.
pub(crate) fn send(args: SignalArgs, ui: &mut Ui) -> Outcome {
    one_signal(&args.whom, args.signal, ui)
}

/// `doula stop`.
pub(crate) fn stop(args: StopArgs, ui: &mut Ui) -> Outcome {
    let mut round = Round::new(&args.whom)?;
    if args.whom.dry_run {
        return round.tell(&args.whom, ui);
    }
    if args.whom.tree {
        round.freeze()?;
    } else {
        round.signal(Signal::STOP);
    }
    round.told = round.targets().iter().map(|_| "stopped".to_owned()).collect();
    round.tell(&args.whom, ui)
}

/// `doula cont`.
pub(crate) fn cont(args: ContArgs, ui: &mut Ui) -> Outcome {
    one_signal(&args.whom, Signal::CONT, ui)
}

/// `doula kill`.
pub(crate) fn kill(args: KillArgs, ui: &mut Ui) -> Outcome {
    let mut round = Round::new(&args.whom)?;
    if args.whom.dry_run {
        return round.tell(&args.whom, ui);
    }
    if !args.now {
        round.signal(Signal::TERM);
        // Who is stopped would hear of it only when continued.
        round.signal(Signal::CONT);
        round.wait(args.grace)?;
    }
    if args.whom.tree {
        round.freeze()?;
    }
    if !round.targets().iter().all(Target::has_ended) {
        round.signal(Signal::KILL);
        round.wait(GONE_WITHIN)?;
    }
    round.told = round.ends();
    round.tell(&args.whom, ui)
}

fn one_signal(whom: &Whom, signal: Signal, ui: &mut Ui) -> Outcome {
    let mut round = Round::new(whom)?;
    if !whom.dry_run {
        round.signal(signal);
        round.told = round.targets().iter().map(|_| format!("got {signal}")).collect();
    }
    round.tell(whom, ui)
}

fn failed(error: std::io::Error) -> Failure {
    Failure::doula(format!("failed to look at the processes: {error}"))
}

/// Those who are meant, and what became of them.
struct Round {
    reader: Reader,
    /// Whether whoever descends from them is meant too.
    grows: bool,
    tree: Tree,
    /// What is said of each target.
    told: Vec<String>,
    /// What is said of others.
    missed: Vec<String>,
}

impl Round {
    fn new(whom: &Whom) -> Result<Round, Failure> {
        let mut reader = Reader::open().map_err(failed)?;
        let found = whom.find(&mut reader)?;
        let mut round =
            Round { reader, grows: whom.tree, tree: Tree::below(&[]), told: Vec::new(), missed: Vec::new() };
        if whom.tree {
            let above = aim::ourselves(&round.reader.scan(&Want::default()).map_err(failed)?);
            for stat in found.iter().filter(|stat| above.contains(&stat.pid)) {
                let why = "this doula runs below it, so its tree is left; name those of its children that are meant";
                round.missed.push(line(stat.pid, &stat.name, why));
            }
            round.tree = Tree::below(&found.iter().map(Stat::identity).collect::<Vec<_>>());
            round.tree.look(&mut round.reader, None).map_err(failed)?;
            return Ok(round);
        }
        for stat in &found {
            match Target::take(&mut round.reader, stat) {
                Ok(target) => round.tree.members.push(target),
                Err(missed) => round.missed.push(line(stat.pid, &stat.name, &missed.to_string())),
            }
        }
        Ok(round)
    }

    fn targets(&self) -> &[Target] {
        &self.tree.members
    }

    /// Sends it to all; whoever cannot be reached is told and dropped.
    fn signal(&mut self, signal: Signal) {
        let missed = &mut self.missed;
        self.tree.members.retain(|target| match target.signal(signal) {
            // Who is gone has ended, which is told of it in the end.
            Ok(()) | Err(Missed::Gone) => true,
            Err(error @ (Missed::Denied | Missed::Refused(_))) => {
                missed.push(line(target.pid(), target.name(), &format!("{signal} was not sent: {error}")));
                false
            }
        });
    }

    /// Waits until all have ended or the time is over. In a tree, whoever is born meanwhile is asked to end too.
    fn wait(&mut self, time: Duration) -> Result<(), Failure> {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let slice = if self.grows { left.min(LOOK_EVERY) } else { left };
            let all = aim::wait(self.targets(), slice).map_err(failed)?;
            if self.grows {
                self.tree.look(&mut self.reader, Some(Signal::TERM)).map_err(failed)?;
            }
            if (all && self.targets().iter().all(Target::has_ended)) || left.is_zero() {
                return Ok(());
            }
        }
    }

    /// Stops the whole tree, which may have more members than were found first.
    fn freeze(&mut self) -> Result<(), Failure> {
        if !self.tree.freeze(&mut self.reader, FROZEN_WITHIN).map_err(failed)? {
            self.missed.push("the tree goes on growing: not all of it could be stopped".to_owned());
        }
        Ok(())
    }

    /// How each ended; who is left goes among the missed.
    fn ends(&mut self) -> Vec<String> {
        let (reader, missed) = (&mut self.reader, &mut self.missed);
        let mut told = Vec::new();
        self.tree.members.retain(|target| {
            if target.has_ended() {
                told.push(target.end(reader).to_string());
                return true;
            }
            let why = match target.state(reader) {
                Some(ProcState::Blocked) => why_blocked(target.pid()),
                _ => "is left: SIGKILL has not taken effect yet".to_owned(),
            };
            missed.push(line(target.pid(), target.name(), &why));
            false
        });
        told
    }

    fn tell(&self, whom: &Whom, ui: &mut Ui) -> Outcome {
        for (at, target) in self.targets().iter().enumerate() {
            let told = self.told.get(at).map_or("would be signalled", String::as_str);
            if whom.json {
                let name = String::from_utf8_lossy(target.name());
                ui.json(&json!({ "pid": target.pid().get(), "name": name, "told": told }))?;
            } else {
                ui.line(&escape(&line(target.pid(), target.name(), told)))?;
            }
        }
        let unreached = self.tree.missed.iter().map(|(pid, missed)| line(*pid, b"", &missed.to_string()));
        let missed: Vec<String> = self.missed.iter().cloned().chain(unreached).collect();
        for missed in &missed {
            ui.note(&format!("{}: {missed}", Style::Bad.paint("error", false)));
        }
        if self.targets().is_empty() && missed.is_empty() {
            ui.note("no process was found");
        }
        Ok(if missed.is_empty() && !self.targets().is_empty() { Exit::OK } else { Exit(1) })
    }
}

/// For what somebody waits whom SIGKILL does not end.
fn why_blocked(pid: Pid) -> String {
    let waits = Doctor::new().map(|mut doctor| doctor.waits(pid)).unwrap_or_default();
    waits.iter().find(|wait| wait.kill != Kill::Works).map_or_else(
        || "is left: it is blocked in the kernel, and SIGKILL waits with it".to_owned(),
        |wait| format!("is left: it {wait}; {} (`doula doctor {pid}`)", wait.kill),
    )
}

/// `1234 nginx: was killed by SIGTERM`.
fn line(pid: Pid, name: &[u8], told: &str) -> String {
    format!("{pid} {}: {told}", printable(name))
}
