//! Where the main process stands among sessions and groups, so that its terminal is rightly its own.
//!
//! | we are | the main process |
//! |---|---|
//! | leader of the terminal's session (PID 1 of `docker run -t`) | leads a new session with this terminal |
//! | a job of a shell, in the foreground | leads a new group in the foreground of the same session |
//! | a job of a shell, in the background | leads a new group in the background |
//! | without a terminal, or with one of nobody | leads a new session, with that terminal if there is one |

use doula_core::init::{Face, Options, Standing, Suspend};
use doula_model::id::Pid;
use doula_model::plan::{Errno, Session};
use doula_model::signal::Signal;
use doula_sys::fd::{self, Access, Standard};
use doula_sys::{group, signal};

/// The number of standard input, which is the terminal if there is one.
const STDIN: i32 = 0;

/// What the kernel sends to the leader of a session that leaves its terminal.
pub(super) const QUIRKS: [Signal; 2] = [Signal::HUP, Signal::CONT];

/// What was found out.
pub(super) struct Place {
    /// For the plan.
    pub(super) session: Session,
    /// When we stop ourselves.
    pub(super) suspend: Suspend,
    /// Whether we gave up leading the terminal's session.
    pub(super) left: bool,
}

pub(super) fn place(options: &Options, own: Pid) -> Place {
    let terminal = Terminal::look(own);
    let session = match options.standing {
        Standing::Ours => Session::Inherit,
        Standing::Group => {
            let steal = options.face == Face::Tini;
            let ours = terminal.controls && (steal || terminal.foreground);
            Session::NewGroup { terminal: ours.then_some(STDIN) }
        }
        Standing::Session => new_session(options.face, &terminal),
    };
    let suspend = match options.face {
        Face::Tini => Suspend::Never,
        Face::DumbInit => Suspend::OnSignal,
        Face::Native if own == Pid::INIT || terminal.leads => Suspend::Never,
        Face::Native if terminal.controls || fd::open(c"/dev/tty", Access::Read).is_ok() => Suspend::WithMain,
        Face::Native => Suspend::Never,
    };
    let left = terminal.leads && matches!(session, Session::NewSession { .. });
    Place { session, suspend, left }
}

/// Standard input as a terminal.
struct Terminal {
    /// It is one.
    exists: bool,
    /// It is the one of our session.
    controls: bool,
    /// Our group is in its foreground.
    foreground: bool,
    /// We lead our session.
    leads: bool,
}

impl Terminal {
    fn look(own: Pid) -> Terminal {
        let stdin = fd::standard(Standard::In);
        let (controls, foreground) = match group::foreground(stdin) {
            Err(Errno::ENOTTY | Errno::EBADF | Errno::EIO | Errno::ENXIO) => (false, false),
            Ok(foreground) => (true, group::getpgid(None) == Ok(foreground)),
            // The group lives outside of our PID namespace, and most likely is ours.
            Err(_) => (true, group::getpgid(None).is_err()),
        };
        Terminal {
            exists: controls || group::is_terminal(stdin),
            controls,
            foreground,
            leads: controls && group::getsid(None) == Ok(own),
        }
    }
}

fn new_session(face: Face, terminal: &Terminal) -> Session {
    if !terminal.controls {
        return Session::NewSession { terminal: terminal.exists.then_some(STDIN) };
    }
    if !terminal.leads && face == Face::Native {
        return Session::NewGroup { terminal: terminal.foreground.then_some(STDIN) };
    }
    // When this fails, the terminal is not to be had, and the birth goes on without it.
    let _ = group::leave_terminal(fd::standard(Standard::In));
    if terminal.leads {
        // Leaving has sent us both; nobody meant them. Ignoring drops what is pending.
        for quirk in QUIRKS {
            let done = signal::ignore(quirk).and_then(|()| signal::reset(quirk));
            debug_assert!(done.is_ok(), "both can be ignored");
        }
    }
    Session::NewSession { terminal: Some(STDIN) }
}
