//! The real side: a PID namespace with agents in it, each of which does one call at a time.

use crate::actors::actor;
use crate::compare::World;
use crate::paper::{Observed, Seen};
use doula_model::id::Pid;
use doula_model::signal::Signal;
use doula_sim::kernel::call::Call;
use doula_sys::{pidfd, socket};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The longest message of an agent.
const MESSAGE: usize = 512;
/// So often must the processes look the same before they are taken to be at rest.
const LOOKS: u32 = 2;
/// A process in D is at work, unless it stays there.
const LOOKS_IN_D: u32 = 200;
/// So often is asked where init sleeps before the kernel is taken not to tell.
const LOOKS_FOR_PLACES: u32 = 100_000;

/// A process of the namespace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Agent {
    /// Its number as we see it.
    host: i32,
    /// Its number in there.
    pub(crate) number: i32,
}

/// A namespace and whom it has.
pub(crate) struct Stage {
    socket: UnixDatagram,
    name: String,
    unshare: Child,
    init: Option<OwnedFd>,
    /// Whether the kernel tells where a task sleeps.
    tells_places: bool,
    /// By the place of the step that bore them.
    agents: BTreeMap<usize, Agent>,
    /// The numbers of those whose call has not come back.
    waiting: BTreeSet<i32>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        // By its handle, not by unshare: what init plays may have undone `--kill-child`.
        if let Some(init) = &self.init {
            let _ = pidfd::send(init, Signal::KILL);
        }
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

#[expect(clippy::print_stdout, reason = "the reason of a skipped test is read in the test's output")]
fn skipped(reason: &str) {
    println!("skipped: {reason}");
}

impl Stage {
    /// A new namespace; `None`, and a word about it, where none can be made.
    pub(crate) fn new() -> Option<Stage> {
        let ways = [&["--pid"][..], &["--user", "--map-root-user", "--pid"]];
        let stage = ways.into_iter().find_map(Stage::start);
        if stage.is_none() {
            skipped("no PID namespace can be made here");
        }
        stage
    }

    fn start(way: &[&str]) -> Option<Stage> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("doula-conform-{}-{number}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("a socket");
        socket::set_pass_credentials(&socket, true).expect("SO_PASSCRED");
        let unshare = Command::new("unshare")
            .args(way)
            .args(["--fork", "--kill-child"])
            .arg(actor("agent"))
            .arg(&name)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut stage = Stage {
            socket,
            name,
            unshare,
            init: None,
            tells_places: false,
            agents: BTreeMap::new(),
            waiting: BTreeSet::new(),
        };
        if !stage.await_birth() {
            return None;
        }
        let init = format!("/proc/{}/wchan", stage.agents[&0].host);
        // Init goes to sleep within a few looks, and where the kernel tells nothing it never seems to.
        stage.tells_places = (0..LOOKS_FOR_PLACES).any(|_| {
            std::thread::yield_now();
            fs::read_to_string(&init).is_ok_and(|place| place != "0")
        });
        Some(stage)
    }

    /// Waits for init's first word; false when unshare has ended without one.
    fn await_birth(&mut self) -> bool {
        loop {
            self.listen(&mut BTreeMap::new());
            if self.agents.contains_key(&0) {
                return true;
            }
            if self.unshare.try_wait().is_ok_and(|end| end.is_some()) {
                return false;
            }
            std::thread::yield_now();
        }
    }

    /// Waits until nobody has anything to do.
    fn rest(&mut self, mut said: BTreeMap<i32, String>) -> Observed {
        let (mut last, mut same) = (None, 0);
        loop {
            self.listen(&mut said);
            let seen = self.look();
            let busy = seen.values().any(|seen| matches!(seen.state, 'R' | 'X'));
            let stuck = seen.values().any(|seen| seen.state == 'D');
            same = if !busy && last.as_ref() == Some(&(said.len(), self.agents.len(), seen.clone())) {
                same + 1
            } else {
                0
            };
            if same >= if stuck { LOOKS_IN_D } else { LOOKS } && self.all_are_off_their_cpus(&seen) {
                return Observed { said, seen };
            }
            last = Some((said.len(), self.agents.len(), seen));
            std::thread::yield_now();
        }
    }

    /// Whether none of the sleepers is at work: a task says that it sleeps before it looks whether it must, and
    /// may be moved off its CPU in between. Where it sleeps is only told of those that really do.
    fn all_are_off_their_cpus(&self, seen: &BTreeMap<i32, Seen>) -> bool {
        let sleepers = self.agents.values().filter(|agent| {
            seen.get(&agent.number).is_some_and(|seen| matches!(seen.state, 'S' | 'T' | 'D'))
        });
        let mut places = sleepers.map(|agent| fs::read_to_string(format!("/proc/{}/wchan", agent.host)));
        !self.tells_places || places.all(|place| place.is_ok_and(|place| place != "0"))
    }

    /// Takes all messages that have arrived.
    fn listen(&mut self, said: &mut BTreeMap<i32, String>) {
        let mut buffer = [0; MESSAGE];
        while let Ok(message) = socket::receive(&self.socket, &mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..message.length]).into_owned();
            let host = message.sender.and_then(|peer| peer.pid).expect("a sender that can be seen").get();
            match text.strip_prefix("born ").and_then(|rest| rest.split_once(' ')) {
                Some((place, number)) => {
                    let number = number.parse().expect("a number");
                    if place == "0" {
                        self.init = pidfd::open(Pid::new(host).expect("a number")).ok();
                    }
                    self.agents.insert(place.parse().expect("a place"), Agent { host, number });
                }
                None => {
                    let agent = self.agents.values().rev().find(|agent| agent.host == host);
                    let number = agent.expect("who speaks was born").number;
                    self.waiting.remove(&number);
                    said.insert(number, text.trim_start_matches("said ").to_owned());
                }
            }
        }
    }

    /// How everybody is.
    fn look(&self) -> BTreeMap<i32, Seen> {
        let inside =
            |host: i32| self.agents.values().find(|agent| agent.host == host).map_or(0, |agent| agent.number);
        let found = self.agents.values().filter_map(|agent| {
            let text = fs::read_to_string(format!("/proc/{}/stat", agent.host)).ok()?;
            let (_, rest) = text.rsplit_once(") ")?;
            let mut words = rest.split(' ');
            let state = words.next()?.chars().next()?;
            let mut next = || words.next()?.parse().ok().map(inside);
            Some((agent.number, Seen { state, parent: next()?, group: next()?, session: next()? }))
        });
        found.collect()
    }

    /// Everybody but init is gone, and init is as it was at first: the number that comes next. `None` when init
    /// sleeps in a call: then another namespace has to be made.
    fn clear(&mut self) -> Option<i32> {
        let init = *self.agents.get(&0)?;
        if self.waiting.contains(&init.number) {
            return None;
        }
        self.agents.retain(|place, _| *place == 0);
        self.waiting.clear();
        self.send(0, "clear");
        let mut said = BTreeMap::new();
        while !said.contains_key(&init.number) {
            if self.unshare.try_wait().is_ok_and(|end| end.is_some()) {
                return None;
            }
            self.listen(&mut said);
            std::thread::yield_now();
        }
        said[&init.number].parse().ok()
    }

    fn send(&self, to: usize, line: &str) -> bool {
        let address = SocketAddr::from_abstract_name(format!("{}-{to}", self.name)).expect("a name");
        self.socket.send_to_addr(line.as_bytes(), &address).is_ok()
    }
}

impl World for Stage {
    fn begin(&mut self) -> i32 {
        if let Some(next) = self.clear() {
            return next;
        }
        *self = Stage::new().expect("another namespace");
        self.clear().expect("a new init listens")
    }

    fn number(&self, place: usize) -> Option<i32> {
        self.agents.get(&place).map(|agent| agent.number)
    }

    /// Lets the agent of a place make a call, and looks when all are at rest again.
    fn perform(&mut self, by: usize, place: usize, call: &Call) -> Observed {
        let sent = self.send(by, &format!("{place} {call}"));
        let number = self.number(by).unwrap_or(0);
        self.waiting.insert(number);
        let mut said = BTreeMap::new();
        // A child is known when it has told its name, and nobody but it can tell: its parent's word is not enough.
        while sent && matches!(call, Call::Clone(_)) && !self.agents.contains_key(&place) {
            self.listen(&mut said);
            if said.get(&number).is_some_and(|text| text.starts_with('E')) {
                break;
            }
            std::thread::yield_now();
        }
        let mut observed = self.rest(said);
        if !sent {
            observed.said.insert(number, "does not listen".into());
        }
        observed
    }
}
