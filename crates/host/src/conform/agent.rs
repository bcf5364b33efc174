//! What runs inside: waits for an order at its slot, has it done, and answers.
//!
//! The first process is the nursery. It makes the namespace, bears init into it, and then only exists: init's number cannot pass
//! to a stranger while its parent does not bury it, and everybody inside ends when the nursery is gone.

use super::slots::{Birth, Slot, Slots};
use super::{LIFE, SLOTS};
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sys::classic::{self, files, rights};
use doula_sys::{adopt, fd, group, signal};
use std::ffi::{CString, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

/// After so much time without an order it is looked whether anybody is left to give one.
const PATIENCE: Duration = Duration::from_secs(2);
/// The variable of the environment that makes a program an agent: `COUNT:PLACE:USERS`, with the place `nursery` at first.
pub(super) const VARIABLE: &str = "DOULA_SIM_AGENT";

/// An agent's own end of its slot.
#[derive(Debug)]
pub struct Agent {
    slots: Slots,
    slot: Slot,
    place: usize,
    /// The first of the users that only this stage has.
    users: u32,
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
/// Does not come back in the process that keeps the namespace.
pub fn part() -> Option<Part> {
    let value = std::env::var(VARIABLE).ok()?;
    let mut parts = value.split(':');
    let (count, place, users) = (parts.next()?, parts.next()?, parts.next()?.parse().ok()?);
    let memory = fd::inherited(SLOTS).ok()?;
    let slots = Slots::map(&memory, count.parse().ok()?).ok()?;
    fd::set_cloexec(&memory, false).ok()?;
    // It stays open for whoever is executed next.
    std::mem::forget(memory);
    match place.parse::<usize>() {
        Ok(place) => {
            let slot = slots.get(place)?;
            Some(Part::Executed(Agent { slots, slot, place, users, order: slot.last_order() }))
        }
        Err(_) => Some(nurse(slots, users)),
    }
}

/// Bears init, in whom it comes back, and keeps its number.
fn nurse(slots: Slots, users: u32) -> Part {
    let Some(slot) = slots.get(0) else { return Part::None };
    match make_namespace().and_then(|()| keep_life()).and_then(|()| {
        classic::copy(classic::Copy { exit_signal: Some(Signal::CHLD), ..classic::Copy::default() })
    }) {
        Ok(None) => Part::Init(Agent { slots, slot, place: 0, users, order: 0 }),
        Ok(Some(_)) => loop {
            let _ = classic::pause();
        },
        Err(errno) => {
            slot.answer(u32::MAX, errno.to_string().as_bytes());
            Part::None
        }
    }
}

/// As root at once, as somebody else in a user namespace where that is allowed.
fn make_namespace() -> Result<(), Errno> {
    let Err(refused) = rights::unshare_pid() else { return Ok(()) };
    let ((uid, _), (gid, _)) = (group::users(), group::groups());
    rights::unshare_user().map_err(|_| refused)?;
    let write = |name: &str, text: String| fs::write(format!("/proc/self/{name}"), text).map_err(|_| refused);
    write("setgroups", "deny".into())?;
    write("uid_map", format!("0 {uid} 1"))?;
    write("gid_map", format!("0 {gid} 1"))?;
    rights::unshare_pid()
}

/// The handle by which everybody inside sees whether the nursery is still there.
fn keep_life() -> Result<(), Errno> {
    let own = files::pidfd_open(group::pid().get())?;
    files::dup2(own, LIFE)?;
    if own == LIFE { Ok(()) } else { files::close(own) }
}

impl Agent {
    /// Says who serves the slot: the process, by the numbers that the other side sees.
    pub fn be_born(&self) {
        // "PROCESS/task/THREAD" in the numbers of whoever mounted /proc.
        let link = fs::read_link("/proc/thread-self").unwrap_or_default();
        let link = link.to_string_lossy();
        let mut numbers = link.split("/task/").map(|number| number.parse().unwrap_or(0));
        let (process, thread) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        self.slot.be_born(Birth { process, thread, number: rights::gettid() });
    }

    /// The next order: the place of who is born by it, and what to do. `None` when nobody is left to give any.
    pub fn next_order(&mut self) -> Option<(usize, String)> {
        loop {
            if let Some((number, text)) = self.slot.await_order(self.order, PATIENCE) {
                self.order = number;
                let text = String::from_utf8_lossy(&text).into_owned();
                let (place, order) = text.split_once(' ').unwrap_or(("0", ""));
                return Some((place.parse().unwrap_or(0), order.to_owned()));
            }
            if files::is_readable(LIFE) {
                return None;
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
        let text = format!("{VARIABLE}={}:{}:{}", self.slots.count(), self.place, self.users);
        CString::new(text).expect("numbers have no zero byte")
    }

    /// The arguments that this process was executed with.
    pub fn arguments() -> Vec<Vec<u8>> {
        std::env::args_os().map(OsString::into_vec).collect()
    }
}

/// As a newborn process has it: no mask, default actions, no descriptors but those of the stage. The runtime of Rust ignores
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

/// Closes all descriptors but those of the stage.
pub fn close_all() {
    let _ = files::close_range(0, SLOTS - 1);
    let _ = files::close_range(LIFE + 1, i32::MAX);
}

/// After execve(2): the runtime of Rust has opened `/dev/null` where a standard stream was closed, and ignores SIGPIPE.
pub fn undo_the_runtime() {
    let is_null =
        |number: i32| fs::read_link(format!("/proc/self/fd/{number}")).is_ok_and(|path| path == *"/dev/null");
    for number in (0..3).filter(|number| is_null(*number)) {
        let _ = files::close(number);
    }
    for signal in [Signal::PIPE, Signal::SEGV] {
        let _ = classic::set_action(signal, classic::Handler::Default, classic::Flags::default());
    }
}

/// Everybody but this init is gone, and init is as at first: the number that comes next.
///
/// # Errors
/// When there is no memory or number for a child.
pub fn clear() -> io::Result<i32> {
    let told = |errno: Errno| io::Error::from_raw_os_error(errno.0);
    let _ = adopt::set_subreaper(false);
    let _ = adopt::set_parent_death_signal(Some(Signal::KILL));
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
