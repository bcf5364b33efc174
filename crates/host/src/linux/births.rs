//! From a recipe to a running child.

use super::home::Home;
use super::services::Service;
use super::takeover;
use crate::logs::Stamp;
use crate::numa::cpu_of_slot;
use crate::{listen, spawn};
use doula_model::id::{ChildKey, Pid, Role};
use doula_model::plan::{ChildPlan, Errno, FdMapping, Resource, Rlimit, Session, SpawnError, Step};
use doula_model::recipe::{Probe, ReadySign, Stdin};
use doula_sys::fd::{self, Access, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use doula_sys::fork;
use std::ffi::CString;

/// The first fd of sd_listen_fds(3).
const LISTEN_FDS_START: RawFd = 3;

/// The program that runs TCP and HTTP probes: ourselves, also after our file was replaced.
pub(super) const OURSELVES: &str = "/proc/self/exe";

impl Home {
    /// Gives birth to the child with this key, in the containment of its service. A failure is told in words.
    pub(super) fn give_birth(&mut self, key: ChildKey) -> Result<(Pid, OwnedFd), SpawnError> {
        self.bear(key).inspect_err(|error| self.complain_of_birth(key, *error))
    }

    fn complain_of_birth(&mut self, key: ChildKey, error: SpawnError) {
        let Some(service) = self.services.get_mut(key.service) else { return };
        if error.errno == Errno::EADDRINUSE {
            // The socket said why when it was to be opened.
            return service.complain_again();
        }
        let plan = spawn::plan(&service.recipe, &command(service, key.role), &[]);
        let text = match &service.recipe.stdin {
            // Looked at again, to know whether it was that.
            Stdin::File(path)
                if key.role == Role::Main && error.step == Step::Prepare && open_input(path).is_err() =>
            {
                spawn::explain_input(path, error.errno)
            }
            Stdin::File(_) | Stdin::Null | Stdin::Pipe | Stdin::Terminal => spawn::explain(&plan, error),
        };
        let text = text.to_string();
        match key.role {
            Role::Main | Role::PreStart | Role::ReadyProbe | Role::LiveProbe => {
                service.complain(text);
            }
            // No news of the service follows that the complaint could come with.
            Role::PostStop | Role::Reload => {
                let text = format!("{}: {}: {text}", service.name, key.role);
                self.logs.say(Stamp::read(), &text);
            }
        }
    }

    fn bear(&mut self, key: ChildKey) -> Result<(Pid, OwnedFd), SpawnError> {
        let mut wiring = Wiring::default();
        self.connect(key, &mut wiring).map_err(|errno| SpawnError { step: Step::Prepare, errno })?;
        let missing = SpawnError { step: Step::Prepare, errno: Errno::ENOENT };
        let service = self.services.get_mut(key.service).ok_or(missing)?;
        if key.role == Role::Main && service.lacks_sockets() {
            return Err(SpawnError { step: Step::Fds, errno: Errno::EADDRINUSE });
        }
        let mut plan = spawn::plan(&service.recipe, &command(service, key.role), &wiring.env);
        plan.session = Session::NewSession { terminal: wiring.terminal };
        plan.fds = wiring.fds;
        plan.listen_pid = wiring.listens;
        pin(service, &mut plan);
        give_back_our_limit(&mut plan.rlimits, self.open_files);
        let _leaf = self.trees.contain(key, &service.name, service.recipe.limits, &mut plan)?;
        self.trees.watch_memory(key.service, &self.epoll);
        for note in self.trees.bounds.take_fresh_notes(key.service) {
            self.logs.say_soon(Stamp::read(), &format!("{}: {note}", service.name));
        }
        self.write_moved();
        let born = fork::spawn(&plan)?;
        self.trees.born(key, born.pid);
        self.services.lives(key, born.pid);
        Ok((born.pid, born.pidfd))
    }

    /// Lays the fds for a child, and what its environment says about them.
    fn connect(&mut self, key: ChildKey, wiring: &mut Wiring) -> Result<(), Errno> {
        if key.role == Role::Main {
            self.hear_out(key.service);
        }
        let service = self.services.get_mut(key.service).ok_or(Errno::ENOENT)?;
        service.enter(key.generation);
        wiring.say("DOULA_ID", self.trees.marker(key.service, key.generation));
        wiring.say("DOULA_SERVICE", service.name.clone());
        if let Some(slot) = service.slot {
            wiring.say("DOULA_SLOT", slot.to_string());
        }
        let main = key.role == Role::Main;
        if let Some(role) = takeover::word(key.role) {
            wiring.say(takeover::ROLE, role.to_owned());
        }
        if matches!(key.role, Role::ReadyProbe | Role::LiveProbe) {
            wiring.nothing(self.null.as_raw_fd());
            return Ok(());
        }
        if main && service.recipe.stdin == Stdin::Terminal {
            wiring.terminal(service.terminal(key, &mut self.logs)?);
        } else {
            let output = service.output(key, &mut self.logs)?;
            wiring.map(output, 1);
            wiring.map(output, 2);
            let stdin = if main { service.recipe.stdin.clone() } else { Stdin::Null };
            wiring.stdin(stdin, self.null.as_raw_fd(), service)?;
        }
        if !main {
            return Ok(());
        }
        wiring.sockets(service);
        if let Some(address) = service.notify_address(key.service, &self.epoll, &self.notify_dir)? {
            wiring.notify(address, service);
        }
        if let Some((fd, number)) = service.ready_fd(key.service, &self.epoll)? {
            wiring.hand_over(fd, number);
        }
        if let Some(board) = service.new_scoreboard()? {
            let number = wiring.next_number();
            wiring.map(board, number);
            wiring.say("DOULA_SCOREBOARD", number.to_string());
        }
        Ok(())
    }
}

/// The file of a standard input.
fn open_input(path: &str) -> Result<OwnedFd, Errno> {
    let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
    fd::open(&path, Access::Read)
}

/// One CPU for each slot, if the pool wants it so.
fn pin(service: &Service, plan: &mut ChildPlan) {
    let slot = service.slot.filter(|_| service.recipe.seat.is_some_and(|seat| seat.pin));
    let cpu = slot.and_then(|slot| cpu_of_slot(slot, &service.recipe.affinity));
    if let Some(cpu) = cpu {
        plan.affinity = vec![cpu];
    }
}

/// Our own limit of open files was raised; children start with the one that we were given.
fn give_back_our_limit(rlimits: &mut Vec<Rlimit>, before: Option<Rlimit>) {
    let set = rlimits.iter().any(|limit| limit.resource == Resource::Nofile);
    if !set {
        rlimits.extend(before);
    }
}

/// What a child of this role executes.
fn command(service: &Service, role: Role) -> Vec<String> {
    let recipe = &service.recipe;
    match role {
        Role::Main => recipe.command.clone(),
        Role::PreStart => recipe.pre_start.clone(),
        Role::PostStop => recipe.post_stop.clone(),
        Role::Reload => recipe.reload.clone(),
        Role::LiveProbe => recipe.liveness.as_ref().map(probe).unwrap_or_default(),
        Role::ReadyProbe => match &recipe.ready {
            ReadySign::Probe(by) => probe(by),
            ReadySign::Exec | ReadySign::Notify | ReadySign::Fd(_) | ReadySign::LogLine(_) => Vec::new(),
        },
    }
}

fn probe(probe: &Probe) -> Vec<String> {
    let ours = |kind: &str, at: &str| [OURSELVES, "probe", kind, at].map(String::from).to_vec();
    match probe {
        Probe::Tcp(address) => ours("tcp", address),
        Probe::Http(url) => ours("http", url),
        Probe::Exec(command) => command.clone(),
    }
}

/// The fds of a child, and what the environment says about them.
#[derive(Default)]
struct Wiring {
    fds: Vec<FdMapping>,
    env: Vec<(String, String)>,
    /// Fds that are only needed until the child is born.
    held: Vec<OwnedFd>,
    terminal: Option<RawFd>,
    listens: bool,
}

impl Wiring {
    fn say(&mut self, name: &str, value: String) {
        self.env.push((name.to_owned(), value));
    }

    fn map(&mut self, from: RawFd, to: RawFd) {
        self.fds.push(FdMapping { from, to });
    }

    /// The first number behind all that are given.
    fn next_number(&self) -> RawFd {
        self.fds.iter().map(|mapping| mapping.to + 1).max().unwrap_or(LISTEN_FDS_START)
    }

    /// Maps an fd that the child alone will hold.
    fn hand_over(&mut self, fd: OwnedFd, to: RawFd) {
        self.map(fd.as_raw_fd(), to);
        self.held.push(fd);
    }

    /// A probe answers by its exit code; what it says once a second is not for the log.
    fn nothing(&mut self, null: RawFd) {
        (0..=2).for_each(|to| self.map(null, to));
    }

    fn terminal(&mut self, terminal: OwnedFd) {
        let number = terminal.as_raw_fd();
        self.terminal = Some(number);
        self.map(number, 0);
        self.map(number, 1);
        self.map(number, 2);
        self.held.push(terminal);
    }

    fn stdin(&mut self, stdin: Stdin, null: RawFd, service: &mut Service) -> Result<(), Errno> {
        match stdin {
            Stdin::Null | Stdin::Terminal => self.map(null, 0),
            Stdin::File(path) => {
                self.hand_over(open_input(&path)?, 0);
            }
            Stdin::Pipe => {
                let (read, write) = fd::pipe()?;
                fd::set_nonblocking(&write, true)?;
                service.keep_console(write);
                self.hand_over(read, 0);
            }
        }
        Ok(())
    }

    /// LISTEN_FDS: our sockets first, then what the service left with us.
    fn sockets(&mut self, service: &Service) {
        let passed: Vec<(&str, BorrowedFd<'_>)> = service.sockets.fds().chain(service.store.fds()).collect();
        if passed.is_empty() {
            return;
        }
        for (to, (_, from)) in (LISTEN_FDS_START..).zip(&passed) {
            self.map(from.as_raw_fd(), to);
        }
        self.env.extend(listen::variables(passed.iter().map(|(name, _)| *name)));
        self.listens = true;
    }

    fn notify(&mut self, address: String, service: &Service) {
        self.say("NOTIFY_SOCKET", address);
        if let Some(interval) = service.recipe.watchdog {
            self.say("WATCHDOG_USEC", interval.as_micros().to_string());
        }
    }
}
