//! `doula worker`: works at the jobs of a queue that many machines share.

mod crew;

use super::super::desk::Manner;
use super::super::limits;
use super::super::report::{Settled, Subject, failure};
use super::super::room::Room;
use super::super::template::Place;
use super::super::work::null;
use super::super::{HEARD, Many, Workers, cpus};
use super::job::{Job, Outcome as Result_, mark};
use super::{Gateway, QueueArgs, random_name, refuse_unless_stored};
use crate::config;
use crate::error::{Exit, Failure, Outcome};
use crate::running::{self, Board};
use crate::ui::Ui;
use doula_core::queue::far::{After, Delivery, Given, Rules};
use doula_core::queue::{Counts, Policy, SlotId};
use doula_gateway::words::{Ask, History, Tell};
use doula_host::jobs::{self, Attempt, Capture, Flow, Next, Settings, Stop, Work};
use doula_host::signals::{self, Arrival, Held};
use doula_host::{Command, CommandError, Signal, Stdio};
use doula_model::task::{self, TaskId, Verdict};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

/// Works at the jobs of a queue, which other machines hand in and share
///
/// Jobs are those of `doula run --submit`: commands, which are run here, in this directory and with this environment, as many at
/// once as --jobs says. Whoever may write to the queue may run any command here. A job whose worker is lost is done by another
/// one.
///
/// SIGTERM lets running jobs end and begins no more; the exit code is 0 then. A second one, or Ctrl-C, ends them and gives them
/// back to the queue. The exit code is 2 when the URL or the login is wrong, 125 when no server is there, 128+n when signal n
/// ended the worker.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  doula worker --queue nats://nats.local/thumbs -j 8
  doula worker --queue nats://nats.local/words -j 4 --workers lines python3 worker.py
  doula run --submit --queue nats://nats.local/thumbs convert {} {.}.png ::: /data/*.jpg")]
pub(crate) struct Args {
    #[command(flatten)]
    place: QueueArgs,

    #[command(flatten)]
    many: Many,

    #[command(flatten, next_help_heading = "Workers that live on")]
    workers: Workers,

    /// The command of such a worker; it does the jobs of `doula run --submit --for-workers`
    #[arg(
        trailing_var_arg = true,
        value_name = "COMMAND",
        requires = "workers",
        help_heading = "Workers that live on"
    )]
    command: Vec<OsString>,

    /// Between SIGTERM and SIGKILL for a job that is ended
    #[arg(long, value_parser = config::duration, default_value = "1s", value_name = "DURATION")]
    grace: Duration,

    /// A job is given to another worker when this one gave no sign of life for so long; for all workers of the queue, from the
    /// last one on that said so [default: 30s]
    #[arg(long, value_parser = config::duration, value_name = "DURATION")]
    lease: Option<Duration>,

    /// Let descendants of a job live on when it has ended
    #[arg(long)]
    leave: bool,

    /// Say nothing about failures
    #[arg(long, short)]
    quiet: bool,
}

/// A shorter lease would be lost by a machine that is only busy.
const SHORTEST_LEASE: Duration = Duration::from_secs(2);

/// Runs it.
pub(crate) fn run(args: Args, ui: &mut Ui) -> Outcome {
    if args.lease.is_some_and(|lease| lease < SHORTEST_LEASE) {
        return Err(Failure::usage("--lease is two seconds at least"));
    }
    limits::check(&args.many.limit, args.leave)?;
    let crew = crew::Crew::new(&args.workers, &args.command)?;
    let login = args.place.login()?;
    let (queue, slots) = (login.queue.clone(), args.many.jobs.unwrap_or_else(cpus));
    let name = name()?;
    let ask = Ask::Work { login, name: name.clone(), lease: args.lease };
    let mut gateway = Gateway::open(&ask)?;
    // As many as are in hands at once.
    let in_hands = slots.saturating_mul(args.workers.window);
    gateway.ask(&Ask::Slots(in_hands), b"").map_err(|error| Failure::doula(error.to_string()))?;
    let ignored: Vec<Signal> = HEARD.into_iter().filter(|signal| signals::is_ignored(*signal)).collect();
    let heard: Vec<Signal> = HEARD.into_iter().filter(|signal| !ignored.contains(signal)).collect();
    let held = Held::back(&heard)
        .map_err(|error| Failure::doula(format!("failed to hold signals back: {error}")))?;
    ui.note(&format!("works at the queue {queue}, {slots} jobs at a time"));
    let settings = settings(&args, slots);
    let mut labour = Labour {
        board: Board::new(&format!("doula worker of the queue {queue}"), Some(slots), None)
            .of(None, Some(&queue)),
        gateway,
        name,
        ui,
        quiet: args.quiet,
        manner: Manner::new(&args.many, ignored),
        room: Room::new(&args.many),
        short: false,
        slots: in_hands,
        crew,
        failed: None,
        nothing: null(),
        open: BTreeMap::new(),
        submitted: 0,
        offers: VecDeque::new(),
        waits: false,
        asked: None,
    };
    let ended = match labour.crew.as_ref().map(|crew| crew.rules(settings.clone(), &args.workers)) {
        Some(rules) => jobs::workers::run(rules, &mut labour, &held),
        None => jobs::run(settings, &mut labour, &held),
    };
    let Labour { gateway, asked, failed, .. } = labour;
    let stored = gateway.close();
    ended.map_err(|error| Failure::doula(error.to_string()))?;
    if let Some(failure) = failed {
        return Err(failure);
    }
    match asked {
        Some(Signal::TERM) | None => refuse_unless_stored(stored),
        Some(signal) => Ok(Exit(u8::try_from(128 + signal.number()).unwrap_or(u8::MAX))),
    }
}

fn settings(args: &Args, slots: SlotId) -> Settings {
    Settings {
        slots,
        policy: Policy { grace: args.grace, delay: args.many.delay, ..Policy::PLAIN },
        seed: u64::from(std::process::id()),
        capture: Capture::Whole,
        contain: !args.leave,
        limits: limits::joined(&args.many.limit),
        look_every: Some(Room::EVERY),
        ask: Signal::TERM,
    }
}

/// The name of this worker: no other has it.
fn name() -> Result<String, Failure> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let good = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
    Ok(format!("{}-{}", host.trim().chars().map(good).collect::<String>(), random_name()?))
}

/// A job that is in our hands.
struct Open {
    lease: u64,
    /// Its name for people: its run and its number there.
    run: String,
    number: u64,
    delivery: Delivery,
    job: Job,
    rules: Rules,
    timeout: Option<Duration>,
    mark: String,
    words: Vec<OsString>,
    attempt: Option<Attempt>,
    /// Why it could not begin; of one that a worker that lives on has, why it failed.
    not_born: Option<String>,
    /// What such a worker made of it.
    reply: crew::Made,
    /// Where, and since when, while it is in work.
    began: Option<(SlotId, Instant)>,
}

/// All of them.
struct Labour<'u> {
    board: Board,
    gateway: Gateway,
    name: String,
    ui: &'u mut Ui,
    quiet: bool,
    manner: Manner,
    room: Option<Room>,
    short: bool,
    slots: SlotId,
    /// Jobs are for a worker that lives on.
    crew: Option<crew::Crew>,
    /// Why nothing more can be done.
    failed: Option<Failure>,
    nothing: Stdio,
    open: BTreeMap<TaskId, Open>,
    submitted: u64,
    /// Not looked at yet.
    offers: VecDeque<(Offer, Vec<u8>)>,
    /// The loop waits for the line, which must not be read then: it would not be told that there is something.
    waits: bool,
    asked: Option<Signal>,
}

/// What the gateway tells of a job.
struct Offer {
    lease: u64,
    run: String,
    number: u64,
    delivery: Delivery,
}

impl Labour<'_> {
    fn ask(&mut self, ask: &Ask, body: &[u8]) -> io::Result<()> {
        self.gateway.ask(ask, body)
    }

    /// What was told meanwhile.
    fn hear(&mut self) -> io::Result<()> {
        while let Some((tell, body)) = self.gateway.told()? {
            match tell {
                Tell::Given { lease, run, task, delivery, history } => {
                    let delivery = Delivery { number: delivery, history: history.into() };
                    self.offers.push_back((Offer { lease, run, number: task, delivery }, body));
                }
                Tell::Note(text) => self.ui.note(&text),
                Tell::Refused { why, .. } => return Err(io::Error::other(why)),
                Tell::Ready | Tell::Stored(_) | Tell::Result(_) | Tell::Withdrawn(_) => {}
            }
        }
        Ok(())
    }

    /// A job that was offered: whether it is worked at.
    fn take(&mut self, offer: Offer, body: &[u8]) -> io::Result<bool> {
        let Offer { lease, run, number, delivery } = offer;
        let read = serde_json::from_slice::<Job>(body).map_err(|error| error.to_string());
        let read = read.and_then(|job| Ok((job.rules()?, job.timeout()?, job)));
        let lives_on = self.crew.is_some();
        let read = read.and_then(|read| crew::fits(lives_on, &read.2).map(|()| read));
        let mark = mark(body);
        let (rules, timeout, job) = match read {
            Ok(read) => read,
            Err(why) => {
                let verdict = Verdict::Failed(task::Failure::Protocol);
                let outcome = Result_::bare(mark, verdict, 0, &self.name);
                return self.bury(
                    lease,
                    &format!("it is no job: {why}"),
                    outcome,
                    &format!("job {run}.{number}"),
                );
            }
        };
        if let Given::Bury(attempts) = delivery.given(&rules) {
            let verdict = Verdict::Quarantined(task::Failure::Lost);
            let outcome = Result_::bare(mark, verdict, attempts, &self.name);
            let why = format!("{} workers were lost with it", delivery.lost());
            return self.bury(lease, &why, outcome, &format!("job {run}.{number}"));
        }
        self.submitted += 1;
        let open = Open {
            lease,
            run,
            number,
            delivery,
            job,
            rules,
            timeout,
            mark,
            words: Vec::new(),
            attempt: None,
            not_born: None,
            reply: crew::Made::default(),
            began: None,
        };
        self.open.insert(TaskId(self.submitted), open);
        Ok(true)
    }

    fn bury(&mut self, lease: u64, why: &str, outcome: Result_, job: &str) -> io::Result<bool> {
        self.note(&format!("{job} is not tried again: {why}"));
        let body = outcome.with(None)?;
        self.ask(&Ask::Bury { lease, why: why.to_owned() }, &body)?;
        Ok(false)
    }

    /// What became of a job that failed is told where it was done, too.
    fn tell(&mut self, open: &mut Open, verdict: Verdict) {
        let name = OsString::from(format!("{}.{}", open.run, open.number));
        let words = std::mem::take(&mut open.words);
        let settled = Settled {
            task: TaskId(open.number),
            verdict,
            attempts: open.delivery.attempt(),
            tag: Vec::new(),
            words: std::iter::once(name).chain(words).collect(),
            attempt: open.attempt.take(),
            not_born: open.not_born.clone(),
            subject: Subject::Command,
        };
        if let Some(text) = failure(&settled) {
            self.note(&text);
        }
        open.attempt = settled.attempt;
    }

    /// The end of a job that failed: its result, or another attempt, here or elsewhere.
    fn failed(&mut self, open: Open, failure: task::Failure) -> io::Result<()> {
        let seed = open.lease ^ u64::from(std::process::id()) << 32;
        match open.delivery.after(&open.rules, failure, seed) {
            After::Failed => self.result(open, Verdict::Failed(failure), None),
            After::Bury => {
                let why = format!("{} of its workers died, at last so: it {failure}", open.rules.deaths);
                self.result(open, Verdict::Quarantined(failure), Some(why))
            }
            After::Again(pause, history) => {
                self.ask(&Ask::Again { lease: open.lease, pause, history: history.into() }, b"")
            }
        }
    }

    fn result(&mut self, mut open: Open, verdict: Verdict, buried: Option<String>) -> io::Result<()> {
        self.tell(&mut open, verdict);
        let Open { lease, delivery, mark, attempt, not_born, .. } = open;
        let outcome =
            Result_ { why: not_born, ..Result_::bare(mark, verdict, delivery.attempt(), &self.name) };
        let body = outcome.with(attempt.as_ref())?;
        let ask = buried.map_or(Ask::Done(lease), |why| Ask::Bury { lease, why });
        self.ask(&ask, &body)
    }
}

impl Flow for Labour<'_> {
    fn next(&mut self) -> io::Result<Next> {
        self.hear()?;
        while let Some((offer, body)) = self.offers.pop_front() {
            if self.take(offer, &body)? {
                self.waits = false;
                return Ok(Next::Task);
            }
        }
        self.waits = true;
        Ok(Next::Wait)
    }

    fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        Some(self.gateway.line.as_fd())
    }

    fn limit(&self, task: TaskId) -> Option<Duration> {
        self.open.get(&task)?.timeout
    }

    fn began(&mut self, task: TaskId, _attempt: u32, slot: SlotId) {
        self.board.tell(|fates| fates.began(task.0));
        if let Some(open) = self.open.get_mut(&task) {
            open.began = Some((slot, Instant::now()));
        }
    }

    fn before_sleep(&mut self) -> io::Result<Option<Duration>> {
        let open = &self.open;
        let job = |now, open: &Open| {
            let (slot, began) = open.began?;
            let words = open.words.iter().map(|word| word.to_string_lossy());
            let input = format!("{}: {}", open.run, words.collect::<Vec<_>>().join(" "));
            let which = (slot, open.number, open.delivery.attempt());
            Some(running::Job::new(now, which, began, input.as_bytes()))
        };
        let jobs = |now| open.values().filter_map(|it| job(now, it)).take(running::MOST).collect();
        // Which numbers its runs have given out is known to those who handed them in.
        Ok(self.board.show(jobs, (std::iter::empty(), 0)))
    }

    fn progress(&mut self, counts: &Counts, in_work: usize) {
        self.board.counts(counts, 0, in_work);
    }

    fn note(&mut self, text: &str) {
        if !self.quiet {
            self.ui.note(text);
        }
    }

    fn cramped(&mut self, why: &str) {
        self.note(&format!("fewer jobs at once than were asked for: {why}"));
    }

    fn settled(&mut self, task: TaskId, verdict: Verdict, _attempts: u32) -> io::Result<()> {
        let Some(mut open) = self.open.remove(&task) else { return Ok(()) };
        if self.crew.is_some() {
            open.answered(task, verdict);
        }
        match verdict {
            Verdict::Quarantined(failure) if self.crew.is_some() => {
                let why = format!("it ended its workers here, the last one so: it {failure}");
                self.result(open, verdict, Some(why))
            }
            Verdict::Done => self.result(open, verdict, None),
            Verdict::Failed(failure) | Verdict::Quarantined(failure) => self.failed(open, failure),
            Verdict::Cancelled | Verdict::Skipped => {
                let history = History::from(open.delivery.returned());
                self.ask(&Ask::Again { lease: open.lease, pause: Duration::ZERO, history }, b"")
            }
        }
    }

    /// Also the place where we say, twice a second, that we are alive, and work at what we have. If that cannot be said, the next
    /// question fails too.
    fn throttle(&mut self) -> bool {
        let short = self.room.and_then(|room| room.short_of()).is_some();
        if short != self.short {
            self.short = short;
            drop(self.ask(&Ask::Slots(if short { 0 } else { self.slots }), b""));
        }
        let offered = self.offers.iter().map(|(offer, _)| offer.lease);
        let leases = self.open.values().map(|open| open.lease).chain(offered).collect();
        drop(self.ask(&Ask::Alive(leases), b""));
        // While all slots are taken nobody asks for tasks; people want to hear of a lost connection then too.
        if !self.waits {
            drop(self.hear());
        }
        short
    }

    fn signal(&mut self, arrival: Arrival) -> Stop {
        let before = self.asked.replace(arrival.signal);
        self.board.waits(Some("it was asked to end"));
        drop(self.ask(&Ask::Drain, b""));
        match (before, arrival.signal) {
            (None, Signal::TERM) => {
                self.note(
                    "SIGTERM: no more jobs are begun; a second one ends those that run and gives them back",
                );
                Stop::Soon
            }
            (None, _) | (Some(Signal::TERM), Signal::TERM) => Stop::Now,
            (Some(_), _) => Stop::Kill,
        }
    }
}

impl Work for Labour<'_> {
    fn prepare(&mut self, task: TaskId, _attempt: u32, slot: SlotId) -> io::Result<()> {
        if let Some(open) = self.open.get_mut(&task) {
            // What is no command fails as one that is not found does.
            open.words = match open.job.words(Place { number: open.number, slot }) {
                Ok(words) => words,
                Err(_) => vec![OsString::new()],
            };
        }
        Ok(())
    }

    fn command(&mut self, task: TaskId, slot: SlotId) -> Command {
        let words = self.open.get(&task).map(|open| open.words.as_slice()).unwrap_or_default();
        let mut command = Command::new(words.first().cloned().unwrap_or_default());
        // Nobody waits for them any more when we are killed: another worker does them.
        command.args(words.iter().skip(1)).parent_death_signal(Signal::KILL).stdin(self.nothing.clone());
        self.manner.give(&mut command, slot);
        command
    }

    fn not_born(&mut self, task: TaskId, _attempt: u32, error: &CommandError) -> Stop {
        if let Some(open) = self.open.get_mut(&task) {
            open.not_born = Some(error.to_string());
        }
        Stop::No
    }

    fn ended(&mut self, attempt: Attempt) -> io::Result<()> {
        if let Some(open) = self.open.get_mut(&attempt.task) {
            open.began = None;
            open.attempt = Some(attempt);
        }
        Ok(())
    }
}
