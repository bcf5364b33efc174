//! What a datagram of sd_notify(3) means.

use core::time::Duration;
use doula_model::event::Notice;
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_sys::fd::OwnedFd;
use doula_sys::socket::{Message, Peer};

/// The longest message that is read: systemd takes no longer one either. What is longer is ignored as a whole.
pub const LONGEST_MESSAGE: usize = 4096;

/// The longest name of a stored fd, as in sd_pid_notify_with_fds(3).
const LONGEST_NAME: usize = 255;

/// The name of a stored fd that was given none (or a wrong one).
const UNNAMED: &str = "stored";

/// One message.
#[derive(Debug, Default)]
pub struct Heard {
    /// What it tells about the service, in its order.
    pub notices: Vec<Notice>,
    /// Who sent it, proven by the kernel; `None` if it comes from outside of our PID namespace.
    pub sender: Option<Peer>,
    /// `MAINPID=`: which process it wants to be taken for the main one. Only a claim.
    pub main_pid: Option<Pid>,
    /// `ERRNO=`: why it fails.
    pub errno: Option<Errno>,
    /// `FDSTORE=1`: what it leaves with us.
    pub offered: Option<Offered>,
    /// `FDSTOREREMOVE=1`: the name of what it wants to be given up.
    pub removed: Option<String>,
    /// `BARRIER=1`: closed when this value is dropped, which tells the sender that everything said before was
    /// done.
    pub barrier: Option<OwnedFd>,
    /// What is wrong with it, for the service's log.
    pub complaint: Option<String>,
}

/// Fds that a service leaves with us.
#[derive(Debug)]
pub struct Offered {
    /// Under this name (`FDNAME=`).
    pub name: String,
    /// Whether each is given up when it hangs up or fails (not with `FDPOLL=0`).
    pub watch: bool,
    /// The fds.
    pub fds: Vec<OwnedFd>,
}

/// What is read line by line before it is put together.
#[derive(Default)]
struct Fields<'a> {
    store: bool,
    remove: bool,
    barrier: bool,
    no_poll: bool,
    name: Option<&'a [u8]>,
}

impl Heard {
    /// Whether the next such message, or none, says all that this one does: signs of life, and what people and pools are told.
    pub(super) fn is_passing(&self) -> bool {
        let passing = |notice: &Notice| match notice {
            Notice::Status(_) | Notice::Watchdog | Notice::Busy(_) | Notice::Tasks(_) => true,
            Notice::Ready
            | Notice::Reloading
            | Notice::Stopping
            | Notice::WatchdogTrigger
            | Notice::WatchdogInterval(_)
            | Notice::ExtendTimeout(_) => false,
        };
        let rest = self.main_pid.is_some() || self.errno.is_some() || self.offered.is_some();
        !rest && self.removed.is_none() && self.notices.iter().all(passing)
    }

    /// Reads a message that arrived in `bytes`.
    pub(super) fn from_message(bytes: &[u8], message: Message) -> Heard {
        let mut heard = Heard { sender: message.sender, ..Heard::default() };
        if message.truncated {
            let text =
                format!("a notify message of more than {LONGEST_MESSAGE} bytes or with lost fds is ignored");
            heard.complaint = Some(text);
            return heard;
        }
        let mut fields = Fields::default();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let Some(equals) = line.iter().position(|byte| *byte == b'=') else {
                heard.complain("a line without `=`", line);
                continue;
            };
            heard.assign(&mut fields, &line[..equals], &line[equals + 1..]);
        }
        heard.take_fds(&fields, message.fds);
        heard
    }

    fn assign<'a>(&mut self, fields: &mut Fields<'a>, key: &[u8], value: &'a [u8]) {
        match (key, value) {
            (b"READY", b"1") => self.notices.push(Notice::Ready),
            (b"RELOADING", b"1") => self.notices.push(Notice::Reloading),
            (b"STOPPING", b"1") => self.notices.push(Notice::Stopping),
            (b"WATCHDOG", b"1") => self.notices.push(Notice::Watchdog),
            (b"WATCHDOG", b"trigger") => self.notices.push(Notice::WatchdogTrigger),
            (b"STATUS", text) => {
                self.notices.push(Notice::Status(String::from_utf8_lossy(text).into_owned()));
            }
            // As in systemd, zero switches the watchdog off.
            (b"WATCHDOG_USEC", b"0") => self.notices.push(Notice::WatchdogInterval(Duration::MAX)),
            (b"WATCHDOG_USEC", text) => self.time("WATCHDOG_USEC", text, Notice::WatchdogInterval),
            (b"EXTEND_TIMEOUT_USEC", text) => self.time("EXTEND_TIMEOUT_USEC", text, Notice::ExtendTimeout),
            (b"MAINPID", text) => match number(text).and_then(Pid::new) {
                Some(pid) => self.main_pid = Some(pid),
                None => self.complain("MAINPID is no process number", text),
            },
            (b"ERRNO", text) => match number(text) {
                Some(errno) => self.errno = Some(Errno(errno)),
                None => self.complain("ERRNO is no number", text),
            },
            (b"X_DOULA_BUSY", b"1") => self.notices.push(Notice::Busy(true)),
            (b"X_DOULA_BUSY", b"0") => self.notices.push(Notice::Busy(false)),
            (b"X_DOULA_TASKS", text) => match number(text) {
                Some(tasks) => self.notices.push(Notice::Tasks(tasks)),
                None => self.complain("X_DOULA_TASKS is no number", text),
            },
            (b"FDSTORE", b"1") => fields.store = true,
            (b"FDSTOREREMOVE", b"1") => fields.remove = true,
            (b"FDPOLL", b"0") => fields.no_poll = true,
            (b"FDNAME", name) => fields.name = Some(name),
            (b"BARRIER", b"1") => fields.barrier = true,
            // Every other key is for somebody else, or of a later version: `X_…`, NOTIFYACCESS, BUSERROR …
            (_, _) => {}
        }
    }

    fn time(&mut self, key: &str, text: &[u8], notice: fn(Duration) -> Notice) {
        match number(text) {
            Some(micros) => self.notices.push(notice(Duration::from_micros(micros))),
            None => self.complain(&format!("{key} is no number of microseconds"), text),
        }
    }

    /// Gives the fds to where they belong. Those that belong nowhere are closed here.
    fn take_fds(&mut self, fields: &Fields<'_>, mut fds: Vec<OwnedFd>) {
        let name =
            fields.name.filter(|name| is_name(name)).map(|name| String::from_utf8_lossy(name).into_owned());
        if fields.name.is_some() && name.is_none() {
            self.complain("FDNAME is no name for an fd", fields.name.unwrap_or_default());
        }
        if fields.remove {
            match &name {
                Some(name) => self.removed = Some(name.clone()),
                None => self.complain("FDSTOREREMOVE=1 comes without FDNAME", b""),
            }
        }
        if fields.barrier {
            if fds.len() == 1 && !fields.store {
                self.barrier = fds.pop();
            } else {
                self.complain("BARRIER=1 wants exactly one fd, and no FDSTORE=1 beside it", b"");
            }
        } else if fields.store {
            let name = name.unwrap_or_else(|| UNNAMED.to_owned());
            self.offered = Some(Offered { name, watch: !fields.no_poll, fds });
        }
    }

    fn complain(&mut self, what: &str, shown: &[u8]) {
        let shown = String::from_utf8_lossy(&shown[..shown.len().min(64)]);
        let text =
            if shown.is_empty() { format!("notify: {what}") } else { format!("notify: {what}: {shown:?}") };
        self.complaint.get_or_insert(text);
    }
}

/// A decimal number as C programs print it, with nothing around but white space.
fn number<N: core::str::FromStr>(text: &[u8]) -> Option<N> {
    core::str::from_utf8(text).ok()?.trim().parse().ok()
}

/// What systemd takes as the name of an fd: printable ASCII without a colon.
fn is_name(name: &[u8]) -> bool {
    let fits = (1..=LONGEST_NAME).contains(&name.len());
    fits && name.iter().all(|byte| (b' '..=b'~').contains(byte) && *byte != b':')
}
