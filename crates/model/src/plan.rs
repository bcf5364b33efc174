//! A child before it is born: everything about it as data.
//!
//! A plan can be run, simulated, explained and compared; a closure could only be run. Whoever carries it out
//! (`doula-sys` on Linux, `doula-sim` on paper) applies the fields in the fixed order of [`Step`].

use crate::id::Pid;
use crate::signal::Signal;
use alloc::ffi::CString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// The whole context of a child. All strings are bytes without NUL, as execve(2) takes them.
///
/// ```
/// use doula_model::plan::ChildPlan;
/// let plan = ChildPlan {
///     programs: vec![b"/usr/bin/sleep".to_vec(), b"/bin/sleep".to_vec()],
///     args: vec![b"sleep".to_vec(), b"1".to_vec()],
///     umask: Some(0o027),
///     ..ChildPlan::default()
/// };
/// assert_eq!(plan.clone(), plan);     // data, that can be compared and explained
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChildPlan {
    /// The files to try in order: one exact path, or the candidates of a `PATH` search.
    pub programs: Vec<Vec<u8>>,
    /// The argument list, `argv[0]` included.
    pub args: Vec<Vec<u8>>,
    /// The environment as `NAME=value`.
    pub env: Vec<Vec<u8>>,
    /// More of it that many plans share; what has a name of `env` is hidden by that.
    pub shared_env: Arc<Vec<CString>>,
    /// Whether `LISTEN_PID=<pid of the child>` is added to the environment (sd_listen_fds(3)).
    pub listen_pid: bool,
    /// The fds that the child gets: every other one is closed. Numbers 0, 1 and 2 that are not mentioned
    /// are inherited as they are.
    pub fds: Vec<FdMapping>,
    /// Whether the child also inherits every other fd that is not close-on-exec, instead of none.
    pub keep_fds: bool,
    /// Working directory; that of the parent if `None`.
    pub dir: Option<Vec<u8>>,
    /// File mode creation mask; that of the parent if `None`.
    pub umask: Option<u32>,
    /// Process group, session and terminal.
    pub session: Session,
    /// User and groups; those of the parent if `None`.
    pub credentials: Option<Credentials>,
    /// Capabilities; what execve(2) makes of the credentials if `None`.
    pub capabilities: Option<Capabilities>,
    /// Whether execve(2) may never grant more privileges again (prctl `PR_SET_NO_NEW_PRIVS`).
    pub no_new_privs: bool,
    /// Resource limits, set in this order.
    pub rlimits: Vec<Rlimit>,
    /// The CPUs it may run on, by number; all of the parent's if empty.
    pub affinity: Vec<u16>,
    /// Nice value; that of the parent if `None`.
    pub nice: Option<i8>,
    /// `/proc/PID/oom_score_adj`; that of the parent if `None`.
    pub oom_score_adj: Option<i16>,
    /// An fd of the cgroup v2 directory to be born in (`CLONE_INTO_CGROUP`, Linux 5.7).
    pub cgroup: Option<i32>,
    /// Open fds of `cgroup.procs` files of cgroup v1 hierarchies; the child writes itself into each.
    pub cgroup_procs: Vec<i32>,
    /// The signal that the child gets when its parent *thread* dies (prctl `PR_SET_PDEATHSIG`).
    pub parent_death_signal: Option<Signal>,
    /// Signals that the child ignores. Every other one starts with its default action.
    pub ignored_signals: Vec<Signal>,
    /// Signals that the child starts with blocked: none, unless it has to find what its parent was given.
    pub blocked_signals: Vec<Signal>,
}

/// One fd of the child.
///
/// ```
/// use doula_model::plan::FdMapping;
/// let to_a_log = FdMapping { from: 7, to: 1 };    // our fd 7 is the child's standard output
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdMapping {
    /// Its number in the parent.
    pub from: i32,
    /// Its number in the child.
    pub to: i32,
}

/// Where the child stands among groups, sessions and terminals.
///
/// ```
/// use doula_model::plan::{ChildPlan, Session};
/// assert_eq!(ChildPlan::default().session, Session::Inherit);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Session {
    /// In the group and session of its parent.
    #[default]
    Inherit,
    /// Leader of a new group in its parent's session; takes the terminal's foreground if `terminal` is one.
    NewGroup {
        /// An fd of the controlling terminal whose foreground group the child becomes.
        terminal: Option<i32>,
    },
    /// Member of an existing group of the session.
    JoinGroup(Pid),
    /// Leader of a new session (setsid(2)); makes `terminal` its controlling terminal.
    NewSession {
        /// An fd of the terminal.
        terminal: Option<i32>,
    },
    /// In a new session whose leader is gone: no terminal that is opened can become its controlling one.
    NewSessionUnled,
}

/// User and groups, by number.
///
/// ```
/// use doula_model::plan::Credentials;
/// let nobody = Credentials { uid: 65534, gid: 65534, groups: vec![] };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Credentials {
    /// Real, effective and saved user.
    pub uid: u32,
    /// Real, effective and saved group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// Capability sets, one bit for each capability number (capabilities(7)).
///
/// ```
/// use doula_model::plan::Capabilities;
/// /// capabilities(7).
/// const CAP_NET_BIND_SERVICE: u64 = 10;
/// // An ordinary user who may listen on port 80, and can never get more.
/// let web = Capabilities { bounding: 1 << CAP_NET_BIND_SERVICE, ambient: 1 << CAP_NET_BIND_SERVICE };
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Capabilities {
    /// What may ever be had; all others leave the bounding set.
    pub bounding: u64,
    /// What the program holds after execve(2), also as an ordinary user.
    pub ambient: u64,
}

/// A resource limit.
///
/// ```
/// use doula_model::plan::{Resource, Rlimit};
/// let limit = Rlimit { resource: Resource::Nofile, soft: 1024, hard: u64::MAX };   // the program may raise it
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Rlimit {
    /// Which.
    pub resource: Resource,
    /// Soft limit; `u64::MAX` is "unlimited".
    pub soft: u64,
    /// Hard limit; `u64::MAX` is "unlimited".
    pub hard: u64,
}

macro_rules! resources {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        /// What a resource limit limits (setrlimit(2)), with the numbers of x86-64 and arm64.
        ///
        /// ```
        /// use doula_model::plan::Resource;
        /// assert_eq!(Resource::Nofile.name(), "nofile");
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Resource {
            $(#[doc = concat!("`", $text, "` of setrlimit(2)")] $name = $number,)*
        }

        impl Resource {
            /// Every resource, in the order of the numbers.
            ///
            /// ```
            /// use doula_model::plan::Resource;
            /// assert!(Resource::ALL.iter().any(|resource| resource.name() == "nofile"));
            /// ```
            pub const ALL: &[Resource] = &[$(Resource::$name),*];

            /// The name in lower case, as in `ulimit`-like configuration: `nofile`.
            ///
            /// ```
            /// assert_eq!(doula_model::plan::Resource::Core.name(), "core");
            /// ```
            pub const fn name(self) -> &'static str {
                match self { $(Resource::$name => $text,)* }
            }
        }
    };
}

resources! {
    Cpu = 0, "cpu";
    Fsize = 1, "fsize";
    Data = 2, "data";
    Stack = 3, "stack";
    Core = 4, "core";
    Rss = 5, "rss";
    Nproc = 6, "nproc";
    Nofile = 7, "nofile";
    Memlock = 8, "memlock";
    As = 9, "as";
    Locks = 10, "locks";
    Sigpending = 11, "sigpending";
    Msgqueue = 12, "msgqueue";
    Nice = 13, "nice";
    Rtprio = 14, "rtprio";
    Rttime = 15, "rttime";
}

/// The steps of a birth in the order in which they are taken; an error names the one that failed.
///
/// ```
/// use doula_model::plan::{Resource, Step};
/// assert_eq!(Step::Rlimit(Resource::Nofile).to_string(), "setrlimit(nofile)");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Step {
    /// The plan itself could not be prepared (a string with a NUL byte, no program, out of memory).
    Prepare,
    /// clone3(2) or fork(2).
    Clone,
    /// prctl(2) `PR_SET_PDEATHSIG`.
    ParentDeathSignal,
    /// `CLONE_INTO_CGROUP` of clone3(2), or writing to `cgroup.procs`.
    Cgroup,
    /// setsid(2).
    Session,
    /// setpgid(2).
    Group,
    /// `TIOCSCTTY` or tcsetpgrp(3).
    Terminal,
    /// prlimit(2) of this resource.
    Rlimit(Resource),
    /// sched_setaffinity(2).
    Affinity,
    /// setpriority(2).
    Nice,
    /// Writing `/proc/self/oom_score_adj`.
    OomScore,
    /// umask(2) cannot fail; chdir(2) can.
    Directory,
    /// dup3(2) of a listed fd.
    Fds,
    /// close_range(2) of the rest.
    CloseRest,
    /// setgroups(2), setresgid(2).
    Groups,
    /// setresuid(2).
    User,
    /// prctl(2) and capset(2) for capabilities.
    Capabilities,
    /// prctl(2) `PR_SET_NO_NEW_PRIVS`.
    NoNewPrivs,
    /// rt_sigaction(2) and rt_sigprocmask(2).
    Signals,
    /// execve(2).
    Exec,
}

#[cfg(feature = "serde")]
mod as_text {
    use super::Resource;
    use alloc::string::String;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

    impl Serialize for Resource {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            to.serialize_str(self.name())
        }
    }

    impl<'de> Deserialize<'de> for Resource {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Resource, D::Error> {
            let name = String::deserialize(from)?;
            let known = Resource::ALL.iter().find(|resource| resource.name() == name);
            known.copied().ok_or_else(|| D::Error::custom("no such resource"))
        }
    }
}

/// An error number of the kernel (errno(3)).
///
/// ```
/// use doula_model::plan::Errno;
/// assert_eq!(Errno::EACCES.to_string(), "EACCES: permission denied");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Errno(pub i32);

macro_rules! errnos {
    ($($name:ident = $number:literal, $what:literal;)*) => {
        impl Errno {
            $(#[doc = $what] pub const $name: Errno = Errno($number);)*

            /// The symbolic name, `None` for the ones that doula never meets on purpose.
            ///
            /// ```
            /// use doula_model::plan::Errno;
            /// assert_eq!((Errno(2).name(), Errno(9999).name()), (Some("ENOENT"), None));
            /// ```
            pub const fn name(self) -> Option<&'static str> {
                match self.0 { $($number => Some(stringify!($name)),)* _ => None }
            }

            /// What it means, in words for people.
            ///
            /// ```
            /// assert_eq!(doula_model::plan::Errno::EMFILE.what(), Some("too many open files"));
            /// ```
            pub const fn what(self) -> Option<&'static str> {
                match self.0 { $($number => Some($what),)* _ => None }
            }

            /// Whether something ran short that may come back by itself: processes, memory, descriptors, room.
            /// Everything else is a mistake that stays one until somebody mends it.
            ///
            /// ```
            /// use doula_model::plan::Errno;
            /// assert!(Errno::EAGAIN.is_shortage() && !Errno::ENOENT.is_shortage());
            /// ```
            pub const fn is_shortage(self) -> bool {
                matches!(
                    self,
                    Errno::EAGAIN
                        | Errno::ENOMEM
                        | Errno::EMFILE
                        | Errno::ENFILE
                        | Errno::ENOSPC
                        | Errno::EBUSY
                        | Errno::ETXTBSY
                        | Errno::EINTR
                        | Errno::EIO
                )
            }
        }
    };
}

errnos! {
    EPERM = 1, "operation not permitted";
    ENOENT = 2, "no such file or directory";
    ESRCH = 3, "no such process";
    EINTR = 4, "interrupted by a signal";
    EIO = 5, "input/output error";
    ENXIO = 6, "no such device";
    E2BIG = 7, "argument list too long";
    ENOEXEC = 8, "not a program (no ELF header, no #! line)";
    EBADF = 9, "bad file descriptor";
    ECHILD = 10, "no child process";
    EAGAIN = 11, "not now (a limit was reached or nothing is there)";
    ENOMEM = 12, "out of memory";
    EACCES = 13, "permission denied";
    EFAULT = 14, "bad address";
    EBUSY = 16, "busy";
    EEXIST = 17, "exists already";
    ENODEV = 19, "no such device";
    ENOTDIR = 20, "not a directory";
    EISDIR = 21, "is a directory";
    EINVAL = 22, "invalid argument";
    ENFILE = 23, "too many open files in the system";
    EMFILE = 24, "too many open files";
    ENOTTY = 25, "not a terminal";
    ETXTBSY = 26, "program file is open for writing";
    EFBIG = 27, "file too large";
    ENOSPC = 28, "no space left";
    EROFS = 30, "read-only file system";
    EPIPE = 32, "nobody reads the pipe";
    ENAMETOOLONG = 36, "name too long";
    ENOSYS = 38, "not offered by this kernel";
    ELOOP = 40, "too many symbolic links or nested #! lines";
    ENODATA = 61, "nothing was answered";
    ELIBBAD = 80, "the loader that the program names is no program";
    ENOTSOCK = 88, "not a socket";
    EPROTONOSUPPORT = 93, "protocol not offered by this kernel";
    ENOTSUP = 95, "not supported";
    EADDRINUSE = 98, "address in use";
    EADDRNOTAVAIL = 99, "address not available";
    ECONNRESET = 104, "connection reset by peer";
    ENOBUFS = 105, "no room: something was lost";
    ENOTCONN = 107, "not connected";
    ETIMEDOUT = 110, "timed out";
    ECONNREFUSED = 111, "connection refused";
}

impl fmt::Display for Errno {
    /// `EACCES: permission denied`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name(), self.what()) {
            (Some(name), Some(what)) => write!(f, "{name}: {what}"),
            _ => write!(f, "errno {}", self.0),
        }
    }
}

impl core::error::Error for Errno {}

/// Why no child was born: the step that failed, and the kernel's reason.
///
/// ```
/// use doula_model::plan::{Errno, Resource, SpawnError, Step};
/// let error = SpawnError { step: Step::Rlimit(Resource::Nofile), errno: Errno::EPERM };
/// assert_eq!(error.to_string(), "setrlimit(nofile): EPERM: operation not permitted");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SpawnError {
    /// Which step.
    pub step: Step,
    /// Why.
    pub errno: Errno,
}

impl fmt::Display for SpawnError {
    /// `setrlimit(nofile): EPERM: operation not permitted`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.errno)
    }
}

impl core::error::Error for SpawnError {}

impl SpawnError {
    /// The exit code a shell gives for it: 127 when the program is missing, 126 when it cannot be executed,
    /// 125 when something before exec failed.
    ///
    /// ```
    /// use doula_model::plan::{Errno, SpawnError, Step};
    /// let code = |step, errno| SpawnError { step, errno }.shell_code();
    /// assert_eq!(code(Step::Exec, Errno::ENOENT), 127);
    /// assert_eq!(code(Step::Exec, Errno::EACCES), 126);
    /// assert_eq!(code(Step::Directory, Errno::ENOENT), 125);
    /// ```
    pub const fn shell_code(self) -> u8 {
        match (self.step, self.errno) {
            (Step::Exec, Errno::ENOENT | Errno::ENOTDIR) => 127,
            (Step::Exec, _) => 126,
            _ => 125,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Prepare => "preparing the plan",
            Step::Clone => "clone3",
            Step::ParentDeathSignal => "prctl(PR_SET_PDEATHSIG)",
            Step::Cgroup => "joining the cgroup",
            Step::Session => "setsid",
            Step::Group => "setpgid",
            Step::Terminal => "taking the terminal",
            Step::Rlimit(resource) => return write!(f, "setrlimit({})", resource.name()),
            Step::Affinity => "sched_setaffinity",
            Step::Nice => "setpriority",
            Step::OomScore => "writing oom_score_adj",
            Step::Directory => "chdir",
            Step::Fds => "dup3",
            Step::CloseRest => "close_range",
            Step::Groups => "setgroups and setresgid",
            Step::User => "setresuid",
            Step::Capabilities => "setting capabilities",
            Step::NoNewPrivs => "prctl(PR_SET_NO_NEW_PRIVS)",
            Step::Signals => "resetting signals",
            Step::Exec => "execve",
        })
    }
}
