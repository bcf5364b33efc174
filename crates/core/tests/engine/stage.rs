//! A stage for scenes that are played by hand: every event is given, every action is read as a short line.
//!
//! `db: spawn main` · `db: TERM main` · `db: clear TERM` · `db: kill pre-start` · `quit 3`. Reports are kept apart.

use doula_core::engine::Engine;
use doula_core::view::ServiceView;
use doula_model::action::{Action, News, Report, State};
use doula_model::event::{Command, Event, Haste, Notice};
use doula_model::exit::ExitStatus;
use doula_model::id::{ChildKey, Pid, Role, ServiceId};
use doula_model::plan::{Errno, SpawnError, Step};
use doula_model::service::{Dependency, DependencyKind, ServiceSpec};
use doula_model::time::Time;
use std::time::Duration;

/// A family, and what it asked for since somebody looked.
pub(crate) struct Stage {
    pub(crate) engine: Engine,
    pub(crate) now: Time,
    pub(crate) reports: Vec<Report>,
    did: Vec<String>,
}

/// A service with this name and no random pauses, changed by `edit`.
pub(crate) fn service(name: &str, edit: impl FnOnce(&mut ServiceSpec)) -> ServiceSpec {
    let mut spec = ServiceSpec::new(name);
    spec.restart.jitter = 0.0;
    edit(&mut spec);
    spec
}

/// A dependency.
pub(crate) fn needs(kind: DependencyKind, on: &str) -> Dependency {
    Dependency { on: on.into(), kind }
}

/// A plain service that requires others.
pub(crate) fn requiring(name: &str, others: &[&str]) -> ServiceSpec {
    service(name, |spec| {
        spec.deps = others.iter().map(|on| needs(DependencyKind::Requires, on)).collect();
    })
}

impl Stage {
    /// The family starts.
    pub(crate) fn new(family: Vec<ServiceSpec>) -> Stage {
        let engine = Engine::new(family, 1, Time::ZERO);
        let mut stage = Stage { engine, now: Time::ZERO, reports: Vec::new(), did: Vec::new() };
        stage.listen();
        stage
    }

    /// A family that is kept alive for commands.
    pub(crate) fn kept(family: Vec<ServiceSpec>) -> Stage {
        let engine = Engine::new(family, 1, Time::ZERO).keep_alive(true);
        let mut stage = Stage { engine, now: Time::ZERO, reports: Vec::new(), did: Vec::new() };
        stage.listen();
        stage
    }

    /// The first plain service is up.
    pub(crate) fn up(spec: ServiceSpec) -> Stage {
        let name = spec.name.clone();
        let mut stage = Stage::new(vec![spec]);
        stage.born(&name);
        stage.did();
        stage
    }

    /// Another engine goes on at this time.
    pub(crate) fn go_on(mut self, engine: Engine, now: Time) -> Stage {
        (self.engine, self.now) = (engine, now);
        self.did();
        self.listen();
        self
    }

    /// What was asked for since the last look.
    pub(crate) fn did(&mut self) -> Vec<String> {
        std::mem::take(&mut self.did)
    }

    pub(crate) fn id(&self, name: &str) -> ServiceId {
        *self.engine.find(name).first().unwrap_or_else(|| panic!("no service {name}"))
    }

    pub(crate) fn view(&self, name: &str) -> ServiceView {
        self.engine.status(self.id(name)).expect("known")
    }

    pub(crate) fn state(&self, name: &str) -> State {
        self.view(name).state
    }

    /// The states of these services.
    pub(crate) fn states(&self, names: &[&str]) -> Vec<State> {
        names.iter().map(|name| self.state(name)).collect()
    }

    pub(crate) fn tell(&mut self, event: Event) {
        self.engine.handle(self.now, event);
        self.listen();
    }

    pub(crate) fn key(&self, name: &str, role: Role) -> ChildKey {
        ChildKey { service: self.id(name), generation: self.view(name).generation, role }
    }

    /// The main process was born.
    pub(crate) fn born(&mut self, name: &str) {
        self.born_as(name, Role::Main);
    }

    pub(crate) fn born_as(&mut self, name: &str, role: Role) {
        let (key, pid) = (self.key(name, role), Pid::new(42).expect("positive"));
        self.tell(Event::Born { key, pid });
    }

    pub(crate) fn stillborn(&mut self, name: &str, role: Role, errno: Errno) {
        let error = SpawnError { step: Step::Exec, errno };
        self.tell(Event::Stillborn { key: self.key(name, role), error });
    }

    /// The main process ended.
    pub(crate) fn exits(&mut self, name: &str, code: u8) {
        self.exits_as(name, Role::Main, code);
    }

    pub(crate) fn exits_as(&mut self, name: &str, role: Role, code: u8) {
        self.tell(Event::Exited { key: self.key(name, role), status: ExitStatus::code(code) });
    }

    pub(crate) fn emptied(&mut self, name: &str) {
        let key = self.key(name, Role::Main);
        self.tell(Event::Emptied { service: key.service, generation: key.generation, leftovers: 0 });
    }

    /// The main process ended and left nothing.
    pub(crate) fn gone(&mut self, name: &str, code: u8) {
        self.exits(name, code);
        self.emptied(name);
    }

    pub(crate) fn says(&mut self, name: &str, notice: Notice) {
        let key = self.key(name, Role::Main);
        self.tell(Event::Noticed { service: key.service, generation: key.generation, notice });
    }

    pub(crate) fn start(&mut self, name: &str) {
        self.tell(Event::Command(Command::Start(vec![self.id(name)])));
    }

    pub(crate) fn stop(&mut self, name: &str) {
        self.tell(Event::Command(Command::Stop(vec![self.id(name)])));
    }

    pub(crate) fn restart(&mut self, name: &str) {
        self.tell(Event::Command(Command::Restart(vec![self.id(name)])));
    }

    pub(crate) fn reload(&mut self, name: &str) {
        self.tell(Event::Command(Command::Reload(vec![self.id(name)])));
    }

    pub(crate) fn due(&mut self, name: &str) {
        self.tell(Event::Due { service: self.id(name) });
    }

    pub(crate) fn apply(&mut self, family: Vec<ServiceSpec>) {
        self.tell(Event::Command(Command::Apply(family)));
    }

    pub(crate) fn shut_down(&mut self, haste: Haste) {
        self.tell(Event::Command(Command::Shutdown(haste)));
    }

    /// Time passes, and whatever is due happens.
    pub(crate) fn pass(&mut self, millis: u64) {
        let end = self.now.after(Duration::from_millis(millis));
        while let Some(at) = self.engine.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.tell(Event::Tick);
        }
        self.now = end;
    }

    /// How far away the next deadline is, in milliseconds.
    pub(crate) fn next(&self) -> Option<u128> {
        self.engine.deadline().map(|at| at.since(self.now).as_millis())
    }

    /// Whether this was reported.
    pub(crate) fn reported(&self, wanted: &News) -> bool {
        self.reports.iter().any(|report| report.news == *wanted)
    }

    fn listen(&mut self) {
        while let Some(action) = self.engine.poll_action() {
            let name =
                |id: ServiceId| self.engine.status(id).map_or_else(|| format!("#{}", id.0), |view| view.name);
            let line = match action {
                Action::Spawn { key } => format!("{}: spawn {}", name(key.service), short(key.role)),
                Action::Signal { service, signal, scope, .. } => {
                    let scope = format!("{scope:?}").to_lowercase();
                    format!("{}: {} {scope}", name(service), &signal.to_string()[3..])
                }
                Action::Kill { key } => format!("{}: kill {}", name(key.service), short(key.role)),
                Action::Clear { service, signal, .. } => {
                    let signal = signal.map_or("-".into(), |signal| signal.to_string()[3..].to_owned());
                    format!("{}: clear {signal}", name(service))
                }
                Action::ArmSchedule { service } => format!("{}: arm", name(service)),
                Action::Seat { slot: None, .. } => continue,
                Action::Seat { service, slot: Some(slot) } => format!("{}: slot {slot}", name(service)),
                Action::Revert { service } => format!("{}: revert", name(service)),
                Action::Measure { closely, .. } => (if closely { "look closely" } else { "look" }).to_owned(),
                Action::CheckUp { workers, .. } => format!("check up {}", workers.len()),
                Action::AwaitConnection { workers, .. } => {
                    (if workers.is_empty() { "listen no more" } else { "listen" }).to_owned()
                }
                Action::Forget { service } => format!("{}: forget", name(service)),
                Action::Quit { code } => format!("quit {code}"),
                Action::Report(report) => {
                    self.reports.push(report);
                    continue;
                }
            };
            self.did.push(line);
        }
    }
}

const fn short(role: Role) -> &'static str {
    match role {
        Role::Main => "main",
        Role::PreStart => "pre-start",
        Role::PostStop => "post-stop",
        Role::Reload => "reload",
        Role::ReadyProbe => "ready-probe",
        Role::LiveProbe => "live-probe",
    }
}
