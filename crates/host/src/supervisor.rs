//! A family from its first birth to its last burial: puts the parts together and runs the driver.

use crate::control::Identity;
use crate::control::place::{Bases, Place, PlaceError};
use crate::keeper::Keeper;
use crate::keeper::heir::Unheard;
use crate::linux::Linux;
use crate::linux::home::Home;
use crate::linux::takeover::{Before, Found};
use crate::logs::{self, Collector, Stamp};
use crate::notify::Above;
use crate::people::People;
use crate::upgrade::{Baton, Words};
use crate::{room, steps};
use doula_core::drive::Driver;
use doula_core::engine::Engine;
use doula_model::plan::Errno;
use doula_model::recipe::{FamilySpec, Recipe};
use doula_model::service::ServiceSpec;
use doula_model::signal::Signal;
use doula_sys::fd::{self, Access, OwnedFd};
use doula_sys::sched::Attributes;
use doula_sys::signal::SignalSet;
use doula_sys::{adopt, group, memory, signal, time};
use std::os::unix::net::UnixListener;
use std::time::Duration;

pub use crate::linux::home::Reader;

/// What a supervisor is told at its birth.
pub struct Options {
    /// Whom it looks after.
    pub family: FamilySpec,
    /// How the family's file is read again.
    pub reader: Reader,
    /// Where the output goes.
    pub logs: logs::Options,
    /// The version of the program, for those who ask.
    pub version: String,
    /// Whether it goes on when no service is left that could run.
    pub keep_alive: bool,
    /// What keeps our fds open when we are killed ([`Keeper::start`]).
    pub keeper: Option<Keeper>,
    /// The command line of this process with one more word in it: for the program that takes our place ([`crate::upgrade`]).
    pub words: Words,
    /// What was handed over to us, if we take the place of another program.
    pub baton: Option<Baton>,
    /// Told once the control socket answers and the first births are under way.
    pub on_ready: Option<Box<dyn FnOnce()>>,
}

/// Why there is no supervisor.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// Another one has the name, or there is no place for the control socket.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A socket of a service cannot be opened.
    #[error("{0}")]
    Socket(String),
    /// A family of this name runs, and we cannot take it over.
    #[error(
        "the family runs under a newer doula (its state has version {0}), and this one cannot take it over"
    )]
    Newer(u32),
    /// An earlier supervisor's keeper does not give what it holds.
    #[error(
        "the keeper of an earlier supervisor (`doula-keeper` in ps) {0}: nothing is started, for nobody knows who lives"
    )]
    Keeper(&'static str),
    /// What was handed over to us is not there.
    #[error("failed to take what was handed over for an upgrade: {0}")]
    Baton(std::io::Error),
    /// The log files or standard output cannot be opened.
    #[error("failed to open the log: {0}")]
    Logs(std::io::Error),
    /// The kernel refuses something that every kernel has.
    #[error("failed to {what}: {errno}")]
    Kernel {
        /// What was tried.
        what: &'static str,
        /// The kernel's reason.
        errno: Errno,
    },
}

fn kernel(what: &'static str) -> impl Fn(Errno) -> Failed {
    move |errno| Failed::Kernel { what, errno }
}

impl From<Unheard> for Failed {
    fn from(unheard: Unheard) -> Failed {
        Failed::Keeper(match unheard {
            Unheard::Silent => "does not answer: it is stopped (SIGCONT has it go on), or hangs",
            Unheard::Foreign => "is of another version of doula, which alone can take over",
            Unheard::Cut => "holds more than our limit of open files allows (ulimit -Hn)",
        })
    }
}

/// Looks after the family until all is over; the result is the exit code.
///
/// The calling process becomes a subreaper, its signals are blocked and read from an fd, and its limit of
/// open files is raised. It must have only one thread and no children.
///
/// # Errors
///
/// Only before the first birth.
pub fn run(options: Options) -> Result<u8, Failed> {
    let (place, control) = match &options.baton {
        Some(baton) => baton.place().map(|(place, control)| (place, Some(control))).map_err(Failed::Baton)?,
        None => (Bases::from_env().claim(&options.family.name)?, None),
    };
    steps::reached("place-claimed");
    let result = look_after(options, (&place, control));
    // Who could not take over leaves to the next one what was there.
    if result.is_ok() || !place.has_estate() {
        place.leave();
    }
    result
}

fn look_after(options: Options, (place, control): (&Place, Option<UnixListener>)) -> Result<u8, Failed> {
    wake_promptly();
    let above = Above::find(|name| std::env::var_os(name)).ok().flatten();
    let Options { family, reader, logs, version, keep_alive, keeper, words, mut baton, on_ready } = options;
    // Before anything is taken over: what comes in one message and has no room is lost.
    let open_files = room::raise_open_files();
    let mut before = Before::find(place.dir(), &family.name)?;
    if let Found::Newer(version) = before {
        return Err(Failed::Newer(version));
    }
    let mut collector = Collector::new(logs).map_err(Failed::Logs)?;
    if let Some(baton) = &mut baton {
        collector.remember(Stamp::read(), std::mem::take(&mut baton.past));
    }
    let null = fd::open(c"/dev/null", Access::ReadWrite).map_err(kernel("open /dev/null"))?;
    let mut home = Home::new(&family.name, place.dir().to_owned(), collector, reader, (null, keeper))
        .map_err(kernel("open our own fds"))?;
    (home.above, home.open_files, home.words) = (above, open_files, words);
    home.lock = place.duplicate_lock();
    if baton.is_some() {
        home.go_on_where_we_were(&before);
    }
    let identity = Identity { family: family.name, pid: group::pid(), version: version.clone() };
    let control = control.map_or_else(|| place.listen(), Ok)?;
    let mut people =
        People::new(control, identity, home.warnings()).map_err(kernel("serve the control socket"))?;
    if let Some(baton) = &mut baton {
        people.take_up(std::mem::take(&mut baton.people.0));
    }
    let signals = take_signals().map_err(kernel("read signals"))?;
    let mut world = Linux::new(home, people, signals).map_err(kernel("watch our own fds"))?;
    steps::reached("open");
    let engine = begin(world.home(), &mut before, family.services).map_err(Failed::Socket)?;
    let mut engine = engine.keep_alive(keep_alive);
    steps::reached("seated");
    // From here on nothing fails: what was left to us is ours.
    let ours = world.home().prepare_end(place, &mut engine, &version);
    before.settle(world.home(), ours);
    steps::reached("settled");
    let mut driver = Driver::new(engine);
    driver.take_over(&mut world);
    driver.begin(&mut world);
    if let Some(baton) = baton {
        world.upgraded(baton, driver.engine());
    }
    steps::reached("under-way");
    if let Some(tell) = on_ready {
        tell();
    }
    give_back_memory();
    let code = driver.run(&mut world);
    place.close_door();
    world.close(driver.engine());
    Ok(code)
}

/// An engine that goes on with what was there, or one that begins.
fn begin(
    home: &mut Home,
    before: &mut Found,
    services: Vec<(ServiceSpec, Recipe)>,
) -> Result<Engine, String> {
    let (seed, now) = (seed(), time::monotonic());
    match before {
        Found::Alive(before) => home.take_over(before, services, (seed, now)),
        Found::Nothing | Found::Useless(_) | Found::Newer(_) => {
            let (specs, recipes) = unzip(services);
            home.admit(recipes)?;
            Ok(Engine::new(specs, seed, now))
        }
    }
}

/// We do little at a time and others wait for it: a death to be told, the next birth. So we ask for short turns, which
/// come soon though all CPUs are busy, and cost nobody anything. Children are not to inherit that; where they would
/// lose something by it (a negative nice value), or we are no ordinary thread, all stays as it is.
fn wake_promptly() {
    const TURN: Duration = Duration::from_micros(100);
    let Ok(before) = Attributes::get() else { return };
    if before.policy == Attributes::ORDINARY && before.nice >= 0 {
        // A sandbox may forbid it. Then we wake as everybody.
        let _ = Attributes { slice: TURN, reset_on_fork: true, ..before }.set();
    }
}

fn unzip(services: Vec<(ServiceSpec, Recipe)>) -> (Vec<ServiceSpec>, Vec<(String, Recipe)>) {
    let named = services.into_iter().map(|(spec, recipe)| {
        let name = spec.name.clone();
        (spec, (name, recipe))
    });
    named.unzip()
}

/// From now on signals wait to be read, and orphans come to us. SIGPIPE is an error of write(2) for us.
fn take_signals() -> Result<OwnedFd, Errno> {
    const READ: [Signal; 9] = [
        Signal::HUP,
        Signal::INT,
        Signal::QUIT,
        Signal::TERM,
        Signal::CHLD,
        Signal::USR1,
        Signal::USR2,
        Signal::PIPE,
        Signal::WINCH,
    ];
    let set: SignalSet = READ.into_iter().collect();
    signal::set_mask(set);
    adopt::set_subreaper(true)?;
    signal::signalfd(set)
}

/// What was needed to read the configuration and to start everybody is not needed while they run.
pub(crate) fn give_back_memory() {
    memory::trim_heap();
    if let Ok(smaps) = std::fs::read_to_string("/proc/self/smaps") {
        memory::forget_program(&smaps);
    }
}

/// The random share of pauses needs no secret, only that two machines differ.
fn seed() -> u64 {
    time::realtime().as_nanos() as u64 ^ (group::pid().get() as u64).rotate_left(40)
}
