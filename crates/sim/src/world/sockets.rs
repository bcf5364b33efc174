//! The socket of a pool, and who connects to it.
//!
//! The supervisor opens it and gives it to its keeper and its workers, as in `crates/host/src/listen.rs`; who takes over has it from the
//! keeper, or from a worker. Clients are no processes: each connects, is told to try again when the queue is full, and is answered or
//! is not.
//!
//! | check | what it holds |
//! |---|---|
//! | `refused` | nobody is refused or sent away while the family lives |
//! | `address` | no socket is opened where somebody has one open: bind(2) would fail |
//! | `silent` | whoever is taken by a server that does its work is answered, whatever becomes of the supervisor |
//! | `unserved` | at rest nobody waits |

use super::calls::OUTPUT;
use super::takeover::Found;
use super::{Happening, World};
use crate::kernel::call::{Call, Value};
use crate::kernel::{HungUp, SocketId, TaskId};
use alloc::vec::Vec;
use core::time::Duration;
use doula_core::random::Random;
use doula_model::event::Event;
use doula_model::id::{Pid, PoolId, Role, ServiceId};
use doula_model::plan::Errno;
use doula_model::pool::Measure;
use doula_model::record::{Child, Record};

/// Under this number workers have the socket (sd_listen_fds(3)).
pub(super) const FIRST: i32 = OUTPUT + 1;
/// So often who met a full queue tries again, each time a second later, as TCP does at first.
const TRIES: u32 = 5;
const AGAIN: Duration = Duration::from_secs(1);

/// Who connects to a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clients {
    /// listen(2).
    pub backlog: u32,
    /// Some time up to this goes by between two droves of them.
    pub pause: Duration,
    /// Up to so many come together.
    pub most: u32,
}

impl Clients {
    pub(super) fn chosen(random: &mut Random) -> Clients {
        Clients {
            backlog: random.below(6) as u32,
            pause: super::scenario::millis(random, 8_000),
            most: random.below(8) as u32 + 1,
        }
    }
}

/// What is known of the socket and of its clients.
#[derive(Debug, Default)]
pub(super) struct Desk {
    socket: Option<SocketId>,
    /// The supervisor's descriptor of it.
    pub(super) fd: Option<i32>,
    /// Whom a connection is to wake, once.
    awaits: Option<PoolId>,
    /// The family is to end: from now on nobody need be served.
    ends: bool,
    /// Nobody kept it open when the supervisor died.
    lost: bool,
}

impl World<'_> {
    /// Clients begin to come.
    pub(super) fn open_the_doors(&mut self) {
        if let Some(clients) = self.scenario.clients {
            self.later(clients.pause, Happening::Drove);
        }
    }

    /// Some come together, and others later.
    pub(super) fn drove(&mut self) {
        let Some(clients) = self.scenario.clients.filter(|_| !self.quiet) else { return };
        for _ in 0..=self.dice.below(u64::from(clients.most)) {
            self.connect(TRIES);
        }
        let pause = self.dice.below(clients.pause.as_millis() as u64) + 1;
        self.later(Duration::from_millis(pause), Happening::Drove);
    }

    /// One comes; so often it tries.
    pub(super) fn connect(&mut self, tries: u32) {
        // Before the family has begun there is nobody.
        let Some(socket) = self.desk.socket else { return };
        let connected = self.kernel.connect(socket);
        self.log.note(self.now, ("connects", connected.is_ok()));
        if self.log.is_read() {
            let waiting = self.kernel.waiting_at(socket);
            self.log.say(self.now, "a client", format_args!("connects: {connected:?}, {waiting} wait"));
        }
        match connected {
            Ok(_) => self.knock(),
            Err(Errno::EAGAIN) if tries > 1 => self.later(AGAIN, Happening::Client(tries - 1)),
            Err(Errno::EAGAIN) => {}
            Err(errno) if !self.desk.ends && !self.desk.lost => {
                self.checks.fail("refused", alloc::format!("a client was refused: {errno}"));
            }
            Err(_) => {}
        }
    }

    /// The supervisor is woken, if it wants that: as by an epoll set with `EPOLLONESHOT`.
    fn knock(&mut self) {
        if self.waiting() > 0
            && let Some(pool) = self.desk.awaits.take()
        {
            self.pending.push_back(Event::Knocked { pool });
        }
    }

    fn waiting(&self) -> usize {
        self.desk.socket.map_or(0, |socket| self.kernel.waiting_at(socket))
    }

    /// Tells once when a connection waits, also if one does already; `None`: never again.
    pub(super) fn await_client(&mut self, pool: Option<PoolId>) {
        self.desk.awaits = pool;
        self.knock();
    }

    /// What became of clients.
    pub(super) fn look_at_clients(&mut self) {
        for (_, how) in self.kernel.take_closed() {
            self.log.note(self.now, ("hung up", how));
            self.log.say(self.now, "a client", format_args!("is left: {how:?}"));
            let text = match how {
                HungUp::Answered => continue,
                HungUp::Silent if self.desk.ends || !self.serves_all() => continue,
                HungUp::Silent => "a client was taken and not answered",
                HungUp::Reset if self.desk.ends || self.desk.lost => continue,
                HungUp::Reset => "who waited was sent away",
            };
            self.checks.fail(if how == HungUp::Silent { "silent" } else { "refused" }, text.into());
        }
    }

    /// Whether nothing but the supervisor ends a worker, and each does what it has taken first.
    fn serves_all(&self) -> bool {
        self.scenario.sites == super::Sites::NONE
            && self.scenario.members.iter().all(|member| member.habit.answers_all())
    }

    /// From now on nobody need be served: the family ends, or all that have the socket have died.
    pub(super) fn close_the_doors(&mut self) {
        self.desk.ends = true;
    }

    /// Whether the family ends.
    pub(super) const fn desk_ends(&self) -> bool {
        self.desk.ends
    }

    /// The supervisor is dead: who has the socket now, if anybody? With PID 1 of a namespace all have died.
    pub(super) fn doors_are_gone(&mut self) {
        self.desk.lost = self.sockets_are_lost;
        let open = self.desk.socket.is_some_and(|socket| self.kernel.is_open(socket));
        if !open {
            self.desk.socket = None;
            // Those who waited there were sent away, and not by us.
            self.kernel.take_closed();
        }
        (self.desk.fd, self.desk.awaits) = (None, None);
    }

    /// What the last supervisor has left of it, from its keeper.
    pub(super) fn inherit_socket(&mut self, fd: i32) {
        (self.desk.fd, self.desk.lost) = (Some(fd), false);
        self.hold_socket(fd);
    }

    /// The socket that no keeper holds, from a process of the family that has it (pidfd_getfd(2)).
    pub(super) fn take_from_holders(&mut self, records: &[Record], found: &Found) {
        if self.scenario.clients.is_none() {
            return;
        }
        for record in records {
            for pid in self.may_hold(record, found) {
                self.take_from((record, found), pid);
            }
        }
    }

    /// Who may have the sockets of a life: its main process, those who lead sessions, and whoever lives in its leaf.
    fn may_hold(&self, record: &Record, found: &Found) -> Vec<Pid> {
        if self.desk.fd.is_some() || self.killed {
            return Vec::new();
        }
        let main = record.life.children.iter().find_map(|(role, child)| match child {
            Child::Alive { pid, .. } => (*role == Role::Main).then_some(*pid),
            Child::Asked { .. } => None,
        });
        let leaf = found.leaf_of(self, record);
        let members = leaf.map(|leaf| self.kernel.cgroup_members(leaf)).unwrap_or_default();
        let number = |task: TaskId| Pid::new(self.kernel.look_as(self.supervisor, task)?.pid);
        let members = members.into_iter().filter_map(number);
        main.into_iter().chain(found.leaders_of(record)).chain(members).collect()
    }

    fn take_from(&mut self, (record, found): (&Record, &Found), pid: Pid) {
        if self.desk.fd.is_some() || self.killed {
            return;
        }
        let Ok(Value::Number(handle)) = self.call(Call::PidfdOpen(pid.get())) else { return };
        if self.killed {
            return;
        }
        // Looked at while we hold it: its number may be a stranger's by now.
        let (life, leaf) = ((record.id, record.life.generation), found.leaf_of(self, record));
        let task = self.kernel.find_as(self.supervisor, pid.get()).filter(|task| {
            let voice = self.stage.voice_of(&self.kernel, *task);
            let marked = voice.is_some_and(|voice| (voice.key.service, voice.key.generation) == life);
            marked || leaf == Some(self.kernel.cgroup_of(*task))
        });
        if let Some(task) = task
            && self.kernel.socket_of(task, FIRST).is_some()
            && let Some(fd) = self.kernel.pass_descriptor((task, FIRST), self.supervisor)
        {
            self.inherit_socket(fd);
        }
        let _ = self.call(Call::Close(handle));
    }

    /// The socket is open from now on.
    pub(super) fn open_socket(&mut self) {
        let Some(clients) = self.scenario.clients.filter(|_| self.desk.fd.is_none() && !self.killed) else {
            return;
        };
        if self.desk.socket.is_some_and(|socket| self.kernel.is_open(socket)) {
            return self
                .checks
                .fail("address", "another process has the socket, and it cannot be opened".into());
        }
        // Those who waited at the last one were sent away with the last process that had it.
        self.kernel.take_closed();
        let Ok(Value::Number(fd)) = self.call(Call::Listen(clients.backlog)) else { return };
        if !self.killed {
            (self.desk.fd, self.desk.lost) = (Some(fd), false);
            self.desk.socket = self.kernel.socket_of(self.supervisor, fd);
            self.hold_socket(fd);
        }
    }

    /// How many wait, and who proves to be idle: it sleeps in accept(2).
    pub(super) fn count_clients(&mut self, workers: &[ServiceId], closely: bool) -> Measure {
        let queue = self.waiting() as u32;
        if queue == 0 && !closely {
            return Measure::default();
        }
        let mut measure = Measure { queue, ..Measure::default() };
        for worker in workers {
            let member = self.place(*worker);
            let main = self.mains.get(&member).filter(|(task, birth)| self.kernel.lives(*task, *birth));
            if let Some((task, _)) = main {
                let busy = !self.kernel.is_accepting(*task);
                measure.busy.push((*worker, self.seats[member].life, busy));
            }
        }
        measure
    }

    /// Nothing has gone wrong for a while, and nobody has come.
    pub(super) fn nobody_waits(&mut self) {
        let waiting = self.waiting();
        let steady = self.scenario.members.iter().all(|member| member.habit.is_steady());
        if waiting > 0 && steady {
            self.checks.fail("unserved", alloc::format!("{waiting} wait, and nobody serves them"));
        }
    }

    /// What children get of it.
    pub(super) fn socket_for(&self, role: Role) -> Vec<Call> {
        let fd = self.desk.fd.filter(|_| role == Role::Main);
        fd.into_iter().flat_map(|fd| [Call::Dup2(fd, FIRST), Call::SetCloexec(FIRST, false)]).collect()
    }
}
