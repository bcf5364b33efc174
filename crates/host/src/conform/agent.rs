//! What runs inside: waits for an order at its slot, has it done, and answers.

use super::slots::{Birth, Slot, Slots};
use super::{SLOTS, nursery};
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sys::classic::{self, files, rights};
use doula_sys::{adopt, fd, group, signal};
use std::ffi::{CString, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

/// How long one sleep for an order is; then comes the next one.
const PATIENCE: Duration = Duration::from_secs(3600);
/// The variable of the environment that makes a program an agent: `COUNT:PLACE:USERS:IGNORED`, with the place `nursery` at first.
pub(super) const VARIABLE: &str = "DOULA_SIM_AGENT";

/// An agent's own end of its slot.
#[derive(Debug)]
pub struct Agent {
    slots: Slots,
    slot: Slot,
    place: usize,
    /// The first of the users that only this stage has.
    users: u32,
    /// The signals that were ignored when this program was executed, one bit each.
    ignored: u64,
    /// The order that was taken last.
    order: u32,
}

/// Who this process is, when it was started as part of a stage.
#[derive(Debug)]
pub enum Part {
    /// An agent whose order to execute a program is done by being here.
    Executed(Agent),
    /// Init of a new namespace.
    Init(Agent),
    /// There is no such part: why is written to the slot.
    None,
}

/// The part of this process, as the environment says; `None` for everybody else.
///
/// Does not come back in the processes that keep the namespace.
pub fn part() -> Option<Part> {
    let value = std::env::var(VARIABLE).ok()?;
    let mut parts = value.split(':');
    let (count, place, users) = (parts.next()?, parts.next()?, parts.next()?.parse().ok()?);
    let ignored = parts.next().and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0);
    let memory = fd::inherited(SLOTS).ok()?;
    let slots = Slots::map(&memory, count.parse().ok()?).ok()?;
    fd::set_cloexec(&memory, false).ok()?;
    // It stays open for whoever is executed next.
    std::mem::forget(memory);
    match place.parse::<usize>() {
        Ok(place) => {
            let slot = slots.get(place)?;
            Some(Part::Executed(Agent { slots, slot, place, users, ignored, order: slot.last_order() }))
        }
        Err(_) => Some(nursery::nurse(slots, users)),
    }
}

impl Agent {
    /// That of the first process of the programs' namespace.
    pub(super) fn init(slots: Slots, slot: Slot, users: u32) -> Agent {
        Agent { slots, slot, place: 0, users, ignored: 0, order: 0 }
    }

    /// Says who serves the slot: the process, by the numbers that the other side sees.
    pub fn be_born(&self) {
        // "PROCESS/task/THREAD" in the numbers of whoever mounted /proc.
        let link = fs::read_link("/proc/thread-self").unwrap_or_default();
        let link = link.to_string_lossy();
        let mut numbers = link.split("/task/").map(|number| number.parse().unwrap_or(0));
        let (process, thread) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        self.slot.be_born(Birth { process, thread, number: rights::gettid() });
    }

    /// The next order: the place of who is born by it, and what to do. Comes for ever; who keeps the namespace ends it.
    pub fn next_order(&mut self) -> (usize, String) {
        loop {
            if let Some((number, text)) = self.slot.await_order(self.order, PATIENCE) {
                self.order = number;
                let text = String::from_utf8_lossy(&text).into_owned();
                let (place, order) = text.split_once(' ').unwrap_or(("0", ""));
                return (place.parse().unwrap_or(0), order.to_owned());
            }
        }
    }

    /// Answers the last order.
    pub fn answer(&self, text: &str) {
        self.slot.answer(self.order, text.as_bytes());
    }

    /// A new agent, at another place: for a child, or a thread. `None` where there is no such place.
    pub fn at(&self, place: usize) -> Option<Agent> {
        Some(Agent { slot: self.slots.get(place)?, place, order: 0, ..*self })
    }

    /// The number of who is born at a place, once it is there.
    pub fn number_at(&self, place: usize) -> Option<i32> {
        let slot = self.slots.get(place)?;
        loop {
            if let Some(birth) = slot.birth() {
                return Some(birth.number);
            }
            slot.await_birth(PATIENCE);
        }
    }

    /// A user of this stage alone, by a small number: whose processes nobody else counts.
    pub fn user(&self, number: u32) -> u32 {
        self.users + number
    }

    /// The variable that makes a program that is executed go on at this place.
    pub fn variable(&self) -> CString {
        let ignored = ignored_signals();
        let text = format!("{VARIABLE}={}:{}:{}:{ignored:x}", self.slots.count(), self.place, self.users);
        CString::new(text).expect("numbers have no zero byte")
    }

    /// The arguments that this process was executed with.
    pub fn arguments() -> Vec<Vec<u8>> {
        std::env::args_os().map(OsString::into_vec).collect()
    }
}

/// As a newborn process has it: no mask, default actions, no descriptors but that of the slots. The runtime of Rust ignores
/// SIGPIPE and has a handler for overflows of the stack.
pub fn begin() {
    signal::set_mask(signal::SignalSet::EMPTY);
    for signal in Signal::all() {
        // The two that cannot be set, and the C library's own.
        let _ = classic::set_action(signal, classic::Handler::Default, classic::Flags::default());
    }
    // PID 1 of a namespace that was made by a program of another session has none of its own yet.
    let _ = group::setsid();
    let _ = rights::no_cores();
    let _ = rights::alarm(0);
    close_all();
}

/// Closes all descriptors but that of the slots.
pub fn close_all() {
    let _ = files::close_range(0, SLOTS - 1);
    let _ = files::close_range(SLOTS + 1, i32::MAX);
}

/// The signals that this process ignores, one bit each.
fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// After execve(2): the runtime of Rust has opened `/dev/null` where a standard stream was closed, and ignores SIGPIPE, as the
/// program before may have done.
pub fn undo_the_runtime(agent: &Agent) {
    let is_null =
        |number: i32| fs::read_link(format!("/proc/self/fd/{number}")).is_ok_and(|path| path == *"/dev/null");
    for number in (0..3).filter(|number| is_null(*number)) {
        let _ = files::close(number);
    }
    for signal in [Signal::PIPE, Signal::SEGV] {
        let was_ignored = agent.ignored & (1 << (signal.number() - 1)) != 0;
        let handler = if was_ignored { classic::Handler::Ignore } else { classic::Handler::Default };
        let _ = classic::set_action(signal, handler, classic::Flags::default());
    }
}

/// Everybody but this init is gone, and init is as at first: the number that comes next.
///
/// # Errors
/// When there is no memory or number for a child.
pub fn clear() -> io::Result<i32> {
    let told = |errno: Errno| io::Error::from_raw_os_error(errno.0);
    let _ = adopt::set_subreaper(false);
    let _ = adopt::set_parent_death_signal(None);
    begin();
    while classic::kill(-1, Signal::KILL.number()).is_ok() {
        while classic::wait4(-1, classic::WALL).is_ok() {}
    }
    classic::take_caught();
    // A child that ends at once has the number before.
    let how = classic::Copy { exit_signal: Some(Signal::CHLD), ..classic::Copy::default() };
    let Some(last) = classic::copy(how).map_err(told)? else { classic::exit(0) };
    classic::wait4(last, 0).map_err(told)?;
    Ok(last + 1)
}
