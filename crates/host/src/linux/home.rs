//! Everything that the supervisor keeps for its family: services, containment, output, timers.

use super::births::OURSELVES;
use super::differences::differences;
use super::pools::Pools;
use super::services::{Service, Services};
use super::stubborn::{self, Stubborn};
use super::takeover::shown;
use super::trees::{Life, Trees};
use crate::journal::write::Journal;
use crate::keeper::heir::Inheritance;
use crate::keeper::{Held, Keeper, Ledger};
use crate::listen::{Inherited, Shared, Sockets};
use crate::logs::{Collector, Lost, Stamp};
use crate::notify::Above;
use crate::schedule::Schedules;
use crate::spawn;
use crate::sweep::{Strangers, end_strangers};
use crate::upgrade::{Upgrade, Words};
use doula_core::engine::Engine;
use doula_core::kernel::Tree;
use doula_model::action::{News, Report, Unkillable};
use doula_model::control::Change;
use doula_model::event::Event;
use doula_model::exit::{ExitStatus, Outcome};
use doula_model::id::{ChildKey, Generation, Pid, Role, ServiceId};
use doula_model::plan::{Errno, Rlimit};
use doula_model::recipe::{FamilySpec, Recipe};
use doula_model::service::ServiceSpec;
use doula_model::signal::Signal;
use doula_model::time::Time;
use doula_sys::fd::OwnedFd;
use doula_sys::poll::Epoll;
use doula_sys::wait::{For, Who};
use doula_sys::{fork, pidfd, poll, time, wait};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Reads the configuration again; an error is the whole diagnosis for people.
pub type Reader = Box<dyn FnMut() -> Result<FamilySpec, String>>;

/// How long we wait at the end for standard output to take the last lines, and for a killed stranger to die.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// See the head of this file.
pub(crate) struct Home {
    pub(super) epoll: Epoll,
    pub(crate) services: Services,
    pub(super) trees: Trees,
    pub(super) stubborn: Stubborn,
    pub(crate) logs: Collector,
    pub(super) schedules: Schedules,
    pub(super) pools: Pools,
    /// What the services listen on.
    pub(super) sockets: Shared,
    /// Where the notify sockets are made.
    pub(crate) notify_dir: PathBuf,
    /// `/dev/null`, for every child that gets no input. Its number is low, which a birth likes.
    pub(super) null: OwnedFd,
    /// Our limit of open files before we raised it.
    pub(crate) open_files: Option<Rlimit>,
    pub(super) reader: Reader,
    /// The service manager above us.
    pub(crate) above: Option<Above>,
    /// We were another program, with the same number.
    pub(super) is_upgraded: bool,
    /// An upgrade that was asked for.
    pub(crate) upgrade: Option<Upgrade>,
    /// Our command line, with one more word.
    pub(crate) words: Words,
    /// Whoever has it is the supervisor of the family.
    pub(crate) lock: Option<OwnedFd>,
    /// The child that compresses a log file.
    pub(super) compressing: Option<Pid>,
    /// The number that the engine gives to the next new service.
    pub(super) next_id: u32,
    /// What of ours outlives us.
    pub(super) ledger: Ledger,
    pub(super) journal: Option<Journal>,
    /// It could not be written, and that was told.
    pub(super) journal_failed: bool,
    pub(super) keeper: Option<Keeper>,
    /// The keeper of a supervisor before us, where ours could not take its place: it keeps what it holds, for the next one.
    pub(super) earlier_keeper: Option<Inheritance>,
    /// Sockets of a supervisor before us, until those who have them are known.
    pub(super) inherited_sockets: Vec<Inherited>,
    /// Children of a supervisor before us, until the driver looks after them.
    pub(super) inherited: BTreeMap<ChildKey, Held>,
}

impl Home {
    /// The home of a family of which nobody is known yet.
    ///
    /// # Errors
    ///
    /// The kernel refuses an fd.
    pub(crate) fn new(
        name: &str,
        notify_dir: PathBuf,
        logs: Collector,
        reader: Reader,
        (null, keeper): (OwnedFd, Option<Keeper>),
    ) -> Result<Home, Errno> {
        let schedules = Schedules::new().map_err(|_| Errno::EMFILE)?;
        let ledger = keeper.as_ref().map_or(Ledger::none(), |keeper| keeper.ledger);
        Ok(Home {
            epoll: Epoll::new()?,
            services: Services::default(),
            trees: Trees::new(name),
            stubborn: Stubborn::default(),
            logs,
            schedules,
            pools: Pools::default(),
            sockets: Shared::outliving_us(ledger),
            ledger,
            journal: None,
            journal_failed: false,
            keeper,
            earlier_keeper: None,
            inherited_sockets: Vec::new(),
            inherited: BTreeMap::new(),
            notify_dir,
            null,
            open_files: None,
            reader,
            above: None,
            is_upgraded: false,
            upgrade: None,
            words: Box::new(|_| Vec::new()),
            lock: None,
            compressing: None,
            next_id: 0,
        })
    }

    /// What people should know about this machine.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let sweeps = "no writable cgroup v2 hierarchy: descendants are looked for in /proc, which is slower";
        let alone = "no keeper can be made: sockets and output do not outlive this supervisor";
        let has = [(self.trees.has_cgroups(), sweeps), (self.keeper.is_some(), alone)];
        has.into_iter().filter(|(has, _)| !has).map(|(_, warning)| warning.to_owned()).collect()
    }

    /// From now on the next supervisor finds what we hold by this socket, if we have a keeper.
    pub(super) fn await_heir(&mut self, place: &crate::control::place::Place) -> Result<bool, String> {
        let Some(keeper) = &mut self.keeper else { return Ok(false) };
        let (listener, [new, path]) = place.bind(crate::keeper::SOCKET).map_err(|error| error.to_string())?;
        keeper.answer_at(listener, [&new, &path]).map_err(|errno| errno.to_string())?;
        Ok(true)
    }

    /// Makes services known under the next numbers, in this order.
    ///
    /// # Errors
    ///
    /// A socket cannot be opened; the text says which and why. Nothing was changed then.
    pub(crate) fn admit(&mut self, services: Vec<(String, Recipe)>) -> Result<(), String> {
        let opened: Result<Vec<_>, String> =
            services.iter().map(|(_, recipe)| open_sockets(&self.sockets, recipe)).collect();
        for ((name, recipe), sockets) in services.into_iter().zip(opened?) {
            self.make_known(ServiceId(self.next_id), &name, recipe, sockets);
        }
        Ok(())
    }

    /// Makes a service known that had this number under a supervisor before us.
    ///
    /// # Errors
    /// As [`Home::admit`].
    pub(super) fn seat_again(&mut self, id: ServiceId, name: &str, recipe: Recipe) -> Result<(), String> {
        let sockets = open_sockets(&self.sockets, &recipe)?;
        self.make_known(id, name, recipe, sockets);
        Ok(())
    }

    fn make_known(&mut self, id: ServiceId, name: &str, recipe: Recipe, sockets: Sockets) {
        self.logs.introduce(Stamp::read(), id, name, recipe.log);
        let service = Service::new(id, name.to_owned(), recipe, sockets).outlive_us(self.ledger);
        self.services.insert(id, service);
        self.next_id = self.next_id.max(id.0 + 1);
    }

    /// How somebody ended who was buried by others: as the kernel keeps it for a handle, or shows it as long as nobody has
    /// buried the one.
    pub(super) fn obituary(handle: &Held) -> ExitStatus {
        let kept = || pidfd::exit_status(handle);
        kept().or_else(|| shown(handle)).or_else(kept).unwrap_or(ExitStatus::UNKNOWN)
    }

    /// Sends a signal to every process of a life.
    pub(crate) fn signal_tree(&mut self, service: ServiceId, generation: Generation, signal: Signal) {
        self.trees.signal((service, generation), signal);
        if signal == Signal::KILL {
            self.stubborn.killed((service, generation), time::monotonic());
        }
    }

    /// Those of a life that were sent SIGKILL and cannot take it.
    pub(crate) fn unkillable(&self, life: Life) -> Option<Unkillable> {
        if self.stubborn.has(life) { stubborn::asleep(&self.trees.members(life)) } else { None }
    }

    /// What is to be told of those who should be dead by now.
    pub(super) fn still_there(&mut self, now: Time) -> Vec<Report> {
        let due = self.stubborn.due(now);
        let told = due.into_iter().filter_map(|life| {
            let news = News::Unkillable(self.unkillable(life)?);
            Some(Report { at: now, service: Some(life.0), generation: life.1, news })
        });
        told.collect()
    }

    /// The family's file as it is now.
    pub(crate) fn read_configuration(&mut self) -> Result<FamilySpec, String> {
        (self.reader)()
    }

    /// Prepares for the family that the engine is about to be told of: what is new gets a number, what changed
    /// takes effect with the next life.
    ///
    /// # Errors
    ///
    /// A socket that is new cannot be opened. Nothing was changed then.
    pub(crate) fn adopt(&mut self, engine: &Engine, family: FamilySpec) -> Result<(), String> {
        let of_family = |spec: &ServiceSpec| find_exactly(engine, &spec.name);
        let (known, new): (Vec<_>, Vec<_>) =
            family.services.into_iter().partition(|(spec, _)| of_family(spec).is_some());
        self.admit(new.into_iter().map(|(spec, recipe)| (spec.name, recipe)).collect())?;
        for (spec, recipe) in known {
            let service = of_family(&spec).and_then(|id| self.services.get_mut(id));
            if let Some(service) = service.filter(|service| service.recipe != recipe) {
                service.next_recipe = Some(Box::new(recipe));
            }
        }
        Ok(())
    }

    /// What is different about each changed service.
    pub(crate) fn describe(&self, changes: Vec<Change>, engine: &Engine, family: &FamilySpec) -> Vec<Change> {
        changes.into_iter().map(|change| self.describe_one(change, engine, family)).collect()
    }

    fn describe_one(&self, mut change: Change, engine: &Engine, family: &FamilySpec) -> Change {
        // A pool is told of by its own name, and its workers are all alike.
        let is_meant = |spec: &ServiceSpec| match &spec.pool {
            None => spec.name == change.name,
            Some(pool) => pool.name == change.name,
        };
        let new = family.services.iter().find(|(spec, _)| is_meant(spec));
        let old = engine.find(&change.name).first().and_then(|id| self.services.get(*id));
        if let (Some((_, new)), Some(old)) = (new, old) {
            change.details = differences(old.effective(), new);
        }
        change
    }

    /// The life of a service that goes on, or the last one.
    pub(super) fn generation(&self, service: ServiceId) -> Generation {
        self.services.get(service).map(|service| service.generation).unwrap_or_default()
    }

    /// What is left of a life.
    pub(super) fn look(&mut self, life: Life) -> Tree {
        self.trees.look(life, &self.epoll)
    }

    /// A life is over: its last lines are read.
    pub(super) fn release(&mut self, life: Life) {
        self.trees.release(life);
        self.stubborn.gone(life);
        self.services.end_of_life(life.0);
        self.logs.finish(Stamp::read(), life.0, life.1);
    }

    /// The service is no longer part of the family.
    pub(super) fn forget(&mut self, service: ServiceId) {
        if let Some(journal) = &mut self.journal {
            journal.forget(service);
        }
        // The timer of a schedule cannot fail to be set on a valid fd.
        let _ = self.schedules.forget(service);
        self.trees.forget(service);
        self.services.remove(service);
        self.logs.forget(Stamp::read(), service);
    }

    /// Has the next run of a service announced.
    pub(super) fn arm(&mut self, service: ServiceId) {
        let known = self.services.get(service);
        let Some(line) = known.and_then(|known| known.effective().schedule.clone()) else { return };
        let stamp = Stamp::read();
        if let Err(error) = self.schedules.arm(service, &line, stamp.wall) {
            let name = self.logs.name(Some(service)).to_owned();
            self.logs.say(stamp, &format!("{name}: {error}"));
        }
    }

    /// How long it is until the next run of a scheduled service.
    pub(crate) fn next_run(&self, service: ServiceId) -> Option<Duration> {
        let at = self.schedules.next(service)?;
        Some(at.saturating_sub(Stamp::read().wall))
    }

    /// The schedules that came due.
    pub(super) fn due(&mut self) -> Vec<Event> {
        let due = self.schedules.due(Stamp::read().wall).unwrap_or_default();
        due.into_iter().map(|service| Event::Due { service }).collect()
    }

    /// Compresses a rotated log file in a child process, because that takes longer than anybody should wait.
    pub(super) fn compress(&mut self, path: &Path) {
        let words = [OURSELVES.to_owned(), "compress".to_owned(), path.display().to_string()];
        let plan = spawn::plan(&Recipe::default(), &words, &[]);
        match fork::spawn(&plan) {
            Ok(born) => self.compressing = Some(born.pid),
            Err(error) => self.logs.compressed(Stamp::read(), Err(&error.to_string())),
        }
    }

    /// A child was buried that is none of the services': a compressor, or an orphan.
    pub(super) fn buried(&mut self, pid: Pid, status: ExitStatus) {
        if self.keeper.as_ref().is_some_and(|keeper| keeper.pid() == Some(pid)) {
            return self.renew_keeper();
        }
        let asked = self.upgrade.as_mut().is_some_and(|upgrade| upgrade.buried(pid, status.success()));
        if asked || self.compressing != Some(pid) {
            return;
        }
        self.compressing = None;
        let reason = status.to_string();
        let end = if status.success() { Ok(()) } else { Err(reason.as_str()) };
        self.logs.compressed(Stamp::read(), end);
    }

    fn renew_keeper(&mut self) {
        let done = self.keeper.as_mut().map(Keeper::renew);
        let text = match done {
            Some(Err(errno)) => format!("the keeper was killed, and there is no other one: {errno}"),
            Some(Ok(())) | None => "the keeper was killed; another one has taken its place".to_owned(),
        };
        self.logs.say(Stamp::read(), &text);
    }

    /// Ends those who belong to no service, before it is said that nobody is left; whether that can be said.
    pub(super) fn end_strangers(&mut self) -> bool {
        if let Some(compressor) = self.compressing.take() {
            self.await_compressor(compressor);
        }
        self.keeper = None;
        let Strangers { ended, left } = end_strangers(LAST_WORDS);
        let stamp = Stamp::read();
        if ended > 0 {
            let text = format!("{ended} processes that belonged to no service were killed and buried");
            self.logs.say(stamp, &text);
        }
        if !left.is_empty() {
            let pids: Vec<_> = left.iter().map(Pid::to_string).collect();
            let text =
                format!("these processes belong to no service and cannot be ended: {}", pids.join(", "));
            self.logs.say(stamp, &text);
        }
        left.is_empty()
    }

    /// It is a child of ours and no stranger: it may finish its file.
    fn await_compressor(&mut self, pid: Pid) {
        let Ok(handle) = pidfd::open(pid) else { return };
        if poll::readable(&handle, Some(LAST_WORDS)).unwrap_or(false)
            && let Ok(Some(news)) = wait::waitid(Who::Pid(pid), For::END)
            && let wait::Change::Exited(status) = news.change
        {
            self.compressing = Some(pid);
            self.buried(pid, status);
        }
    }

    /// Gives everything back; the last lines of the log are written.
    ///
    /// People are told first: removing the empty cgroups of a thousand services takes longer than their end.
    pub(super) fn close(mut self) -> Lost {
        self.logs.write_out(Stamp::read());
        drop(self.services);
        drop(self.trees);
        self.logs.close(LAST_WORDS)
    }

    /// What services said since the last look.
    pub(super) fn hear(&mut self, id: ServiceId) -> Vec<Event> {
        let Some(service) = self.services.get_mut(id) else { return Vec::new() };
        let (notices, complaints) = service.hear();
        self.heard(id, complaints);
        let generation = self.generation(id);
        notices.into_iter().map(|notice| Event::Noticed { service: id, generation, notice }).collect()
    }

    /// What a service said in a life that is over is not taken for words of the next one.
    pub(super) fn hear_out(&mut self, id: ServiceId) {
        let complaints = self.services.get_mut(id).map(Service::hear_out).unwrap_or_default();
        self.heard(id, complaints);
    }

    fn heard(&mut self, id: ServiceId, complaints: Vec<String>) {
        self.write_stored(id);
        let name = self.logs.name(Some(id)).to_owned();
        for complaint in complaints {
            self.logs.say(Stamp::read(), &format!("{name}: {complaint}"));
        }
    }

    /// What an end has to do with the lack of memory, if it has: only SIGKILL can come from the kernel.
    pub(super) fn blame_memory(&mut self, report: &Report) -> Option<Report> {
        let News::Exited { status, .. } = &report.news else { return None };
        let service = report.service?;
        let limit = self.trees.bounds.memory_limit(service);
        let by_kill = matches!(status.outcome, Outcome::Signal { signal: Signal::KILL, .. });
        let killed = if by_kill || limit.is_some() { self.trees.newly_killed(service) } else { 0 };
        (killed > 0).then_some(Report { news: News::OutOfMemory { killed, limit }, ..report.clone() })
    }

    /// Who lost processes for want of memory, as the kernel told by itself.
    pub(super) fn out_of_memory(&mut self, now: Time) -> Vec<Report> {
        let told = self.trees.bounds.alarms(now).into_iter().filter_map(|service| {
            let killed = self.trees.newly_killed(service);
            let limit = self.trees.bounds.memory_limit(service);
            let generation = self.generation(service);
            let news = News::OutOfMemory { killed, limit };
            (killed > 0).then_some(Report { at: now, service: Some(service), generation, news })
        });
        told.collect()
    }

    /// The cgroups that hold a service's processes and no others.
    pub(crate) fn cgroups(&self, service: ServiceId) -> Vec<String> {
        self.trees.cgroups_of(service)
    }

    /// What else people should know about a service.
    pub(crate) fn notes(&self, service: ServiceId) -> Vec<String> {
        self.trees.bounds.notes(service)
    }

    /// News of the family in the log.
    pub(super) fn tell(&mut self, report: &Report) {
        if matches!(report.news, News::ShuttingDown { .. }) {
            self.trees.end();
        }
        let name = report.service.map(|id| self.logs.name(Some(id)).to_owned());
        let pool = if let News::Pool { pool, .. } = &report.news { Some(pool.clone()) } else { None };
        let name = name.or(pool).unwrap_or_else(|| "the family".to_owned());
        let stamp = Stamp::read().back_at(report.at);
        if is_worth_a_line(&report.news) {
            self.logs.say_soon(stamp, &format!("{name} {}", report.news));
        }
        let service = report.service.and_then(|id| self.services.get_mut(id));
        if let Some(complaint) = service.and_then(Service::take_fresh_complaint) {
            self.logs.say_soon(stamp, &format!("{name}: {complaint}"));
        }
    }
}

/// The service with this very name.
fn find_exactly(engine: &Engine, name: &str) -> Option<ServiceId> {
    let found = engine.find(name);
    found.into_iter().find(|id| engine.status(*id).is_some_and(|view| view.name == name))
}

/// States come and go with every step; what is told of births, ends and readiness says the same in one line.
fn is_worth_a_line(news: &News) -> bool {
    use doula_model::action::{Cause, State};
    match news {
        News::Turned { to: State::Waiting | State::Stopping | State::Failed, .. } => true,
        News::Turned { because: Cause::Asked, .. } => true,
        // Ready at birth: the line about the birth says it.
        News::Turned { .. } | News::Empty { leftovers: 0 } | News::Ready { after: Duration::ZERO } => false,
        News::Born { role, .. } => *role == Role::Main,
        // A command beside the main process that did what it should is not worth a word.
        News::Exited { role, status, .. } => *role == Role::Main || !status.success(),
        News::Ready { .. }
        | News::RestartIn { .. }
        | News::Empty { .. }
        | News::Escalated
        | News::Paused
        | News::Resumed
        | News::Status { .. }
        | News::ProbeFailed { .. }
        | News::RunSkipped
        | News::OutOfMemory { .. }
        | News::Unkillable(_)
        | News::Pool { .. }
        | News::Upgraded { .. }
        | News::ShuttingDown { .. }
        | News::FamilyEmpty => true,
    }
}

fn open_sockets(shared: &Shared, recipe: &Recipe) -> Result<Sockets, String> {
    let mut sockets = Sockets::sharing(shared);
    if recipe.seat.is_some_and(|seat| seat.own_sockets) {
        // Opened with the slot, which is not known yet.
        return Ok(sockets);
    }
    sockets.apply(&recipe.sockets).map_err(|error| error.to_string())?;
    Ok(sockets)
}
