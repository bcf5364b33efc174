//! `doula assert`: what must be so of the processes of this machine, for tests and pipelines that build.

mod claim;

use crate::error::{Exit, Failure, Outcome};
use crate::processes::{Context, below, printable};
use crate::ui::{Style, Ui, escape};
use claim::Claim;
use doula_host::diagnosis::{Doctor, zombie};
use doula_host::procfs::{Identity, Process, Reader, Want};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// More processes are counted only.
const SHOWN: usize = 10;

/// Says whether something is so of the processes of this machine, or becomes so in time
///
/// CLAIM is KIND(CONDITION, …) OPERATOR NUMBER [within TIME] [for TIME]. Kinds: processes, threads, zombies, blocked, stopped,
/// running. Conditions are those of `doula ps -w`, and `under=PID` (that process and whoever descends from it) and
/// `lasting=TIME` (who has been so for that long, as far as it was watched). `within` is how long it may take to become so, `for` how long it must stay so.
///
/// Threads of the kernel are not counted, nor is doula itself.
///
/// Exit code 0 when it is so, 1 when it is not (with whom it counted), 2 when the claim cannot be understood.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  doula assert 'zombies(under=1234) == 0 within 5s'
  doula assert 'blocked(lasting=3s) == 0 for 10s'
  doula assert 'processes(name=worker, under=1234) >= 4 within 10s for 1s'
  doula assert 'processes(cgroup~/web$, rss>500M) == 0'")]
pub(crate) struct Args {
    /// What must be so
    #[arg(value_name = "CLAIM", value_parser = Claim::parse)]
    claim: Claim,

    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub(crate) fn run(args: Args, ui: &mut Ui) -> Outcome {
    let mut watch = Watch::new(&args.claim)?;
    let held = watch.decide()?;
    let found = watch.found.iter().take(SHOWN);
    if args.json {
        let told: Vec<_> = found
            .map(|process| {
                json!({ "pid": process.stat.pid.get(), "name": printable(&process.stat.name),
                "state": process.stat.state.letter().to_string(), "ppid": process.stat.ppid })
            })
            .collect();
        let why = if held { Vec::new() } else { watch.why()? };
        ui.json(&json!({ "held": held, "count": watch.count, "found": told, "why": why,
            "after": watch.begin.elapsed().as_secs_f64() }))?;
        return Ok(Exit(u8::from(!held)));
    }
    let (word, style) = if held { ("it is so", Style::Good) } else { ("it is not so", Style::Bad) };
    ui.line(&format!("{}: {} counted", style.paint(word, ui.color()), watch.count))?;
    if held {
        return Ok(Exit::OK);
    }
    for process in found {
        let stat = &process.stat;
        let line =
            format!("    {} ({}) {}, child of {}", stat.pid, printable(&stat.name), stat.state, stat.ppid);
        ui.line(&escape(&line))?;
    }
    for line in watch.why()? {
        ui.line(&escape(&format!("    {line}")))?;
    }
    Ok(Exit(1))
}

/// Looks, until it is decided.
struct Watch<'a> {
    claim: &'a Claim,
    reader: Reader,
    begin: Instant,
    /// Since when each has been of that kind.
    since: BTreeMap<Identity, Instant>,
    /// Of the last look.
    found: Vec<Process>,
    count: u64,
}

fn failed(error: std::io::Error) -> Failure {
    Failure::doula(format!("failed to look at the processes: {error}"))
}

impl<'a> Watch<'a> {
    fn new(claim: &'a Claim) -> Result<Watch<'a>, Failure> {
        let reader = Reader::open().map_err(failed)?;
        let begin = Instant::now();
        Ok(Watch { claim, reader, begin, since: BTreeMap::new(), found: Vec::new(), count: 0 })
    }

    /// Whether it was so in time, and for as long as it had to be.
    fn decide(&mut self) -> Result<bool, Failure> {
        let (mut first, mut true_since) = (None, None);
        loop {
            let now = self.look()?;
            // Who must have been so for some time is not judged before it was watched for so long.
            let watched = now - *first.get_or_insert(now) >= self.claim.lasting;
            let holds = watched && self.claim.holds(self.count);
            true_since = if holds { true_since.or(Some(now)) } else { None };
            match true_since {
                Some(since) if now - since >= self.claim.during => return Ok(true),
                None if watched && now - self.begin >= self.claim.within => return Ok(false),
                Some(_) | None => {}
            }
            let until = Instant::now() + LOOK_EVERY;
            while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            {
                std::thread::park_timeout(left);
            }
        }
    }

    /// Looks once; when that was.
    fn look(&mut self) -> Result<Instant, Failure> {
        let mut want = Want::default();
        self.claim.conditions.iter().for_each(|condition| condition.want(&mut want));
        let mut all = self.reader.scan(&want).map_err(failed)?;
        let context = Context::now();
        let under = self.claim.under.map(|root| below(&all, root));
        let (us, now) = (std::process::id() as i32, Instant::now());
        all.retain(|process| {
            self.claim.kind.count(&process.stat) > 0
                && process.stat.pid.get() != us
                && !process.stat.is_kernel()
                && under.as_ref().is_none_or(|under| under.contains(&process.tgid))
                && self.claim.conditions.iter().all(|condition| condition.holds(process, &context))
        });
        let known = std::mem::take(&mut self.since);
        for process in &all {
            let who = process.stat.identity();
            self.since.insert(who, known.get(&who).copied().unwrap_or(now));
        }
        let since = &self.since;
        all.retain(|process| now - since[&process.stat.identity()] >= self.claim.lasting);
        self.count = all.iter().map(|process| self.claim.kind.count(&process.stat)).sum();
        self.found = all;
        Ok(now)
    }

    /// Of zombies, why they stay.
    fn why(&self) -> Result<Vec<String>, Failure> {
        let mut doctor = Doctor::new().map_err(failed)?;
        let ours = |who: Identity| self.found.iter().any(|process| process.stat.identity() == who);
        let found = doctor.zombies(|stat| stat.is_zombie() && ours(stat.identity())).map_err(failed)?;
        let tell = |finding: &zombie::Finding| {
            format!("{} of {}, because {}", finding.zombies.len(), finding.parent.who, finding.cause)
        };
        Ok(found.iter().map(tell).collect())
    }
}
