//! Where a family's control socket is, and that no two supervisors have one name.
//!
//! A *base* is a directory `doula` that only its owner can enter; in it each family has a directory of its
//! name with a `lock` that its supervisor holds, and the socket `control`. The bases in order:
//! `$XDG_RUNTIME_DIR/doula`, for root `/run/doula`, and where neither can be used `/tmp/doula-UID`.
//! A supervisor takes the first that it can use; who looks for a family looks into all.

use crate::child::pause;
use crate::sweep;
use doula_core::claim::{self, Holder, Verdict};
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_sys::{fd, group, socket};
use std::collections::BTreeSet;
use std::env;
use std::ffi::{CString, OsStr};
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The socket's name in the family's directory.
pub const SOCKET: &str = "control";
/// What else a supervisor makes in the family's directory.
const LEFT: [&str; 4] = ["state", "state.new", "keeper", "keeper.new"];
/// The lock's name in the family's directory.
const LOCK: &str = "lock";
/// The longest name of a family: part of paths and of tables.
pub const NAME_LIMIT: usize = 64;
/// The longest path that fits into `sockaddr_un` with its NUL (unix(7)).
const SOCKET_PATH_LIMIT: usize = 107;

/// Why a family cannot have its place.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The name cannot be part of a path.
    #[error("`{0}` cannot be the name of a family")]
    BadName(String),
    /// Another supervisor holds it.
    #[error("the family `{name}` is already running (its lock `{lock}` is held)")]
    Taken {
        /// The family.
        name: String,
        /// The lock file.
        lock: PathBuf,
    },
    /// Its supervisor is dead, and the keeper of that still has what it had open.
    #[error(
        "the supervisor of the family `{name}` is dead, and its keeper (`doula-keeper` in ps) holds on to its lock `{lock}`: the keeper is stopped (SIGCONT has it go on), or hangs"
    )]
    Kept {
        /// The family.
        name: String,
        /// The lock file.
        lock: PathBuf,
    },
    /// A directory that somebody else could have prepared.
    #[error("`{0}` is not a directory that belongs to us")]
    NotOurs(PathBuf),
    /// Something in the file system.
    #[error("failed to {what} `{path}`: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        error: io::Error,
    },
}

impl PlaceError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PlaceError {
        move |error| PlaceError::Io { what, path: path.to_owned(), error }
    }
}

/// Whether this can be the name of a family: 1 to 64 letters, digits, `_`, `-`, `.`, `@`, and no dot first.
pub fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.@".contains(&byte);
    !name.is_empty() && name.len() <= NAME_LIMIT && !name.starts_with('.') && name.bytes().all(fits)
}

/// The directories in which families can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bases {
    dirs: Vec<PathBuf>,
    uid: u32,
}

/// A family that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// Its socket.
    pub socket: PathBuf,
    /// The user whose it is.
    pub owner: u32,
}

impl Bases {
    /// The bases of this user and environment.
    pub fn from_env() -> Bases {
        let uid = group::users().1;
        Bases::new(env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from), uid)
    }

    /// The bases of user `uid` with this `$XDG_RUNTIME_DIR`.
    pub fn new(runtime: Option<PathBuf>, uid: u32) -> Bases {
        let runtime = runtime.filter(|dir| dir.is_absolute()).map(|dir| dir.join("doula"));
        let root = (uid == 0).then(|| PathBuf::from("/run/doula"));
        let last = PathBuf::from(format!("/tmp/doula-{uid}"));
        Bases { dirs: runtime.into_iter().chain(root).chain([last]).collect(), uid }
    }

    /// Where is looked, in this order.
    pub fn dirs(&self) -> &[PathBuf] {
        &self.dirs
    }

    /// Takes the place of this family for the life of the result, in the first base that can be used.
    ///
    /// # Errors
    /// [`PlaceError::Taken`] if a family of this name runs already, in whichever base, [`PlaceError::Kept`] if its supervisor is
    /// dead; else why the last base could not be used.
    pub fn claim(&self, name: &str) -> Result<Place, PlaceError> {
        if !is_name(name) {
            return Err(PlaceError::BadName(name.to_owned()));
        }
        // Whoever held it may be dead, and what it had open not closed yet.
        let begun = Instant::now();
        loop {
            let answer = self.claim_at_once(name);
            let Err(PlaceError::Taken { name, lock }) = answer else { return answer };
            let holder = if holder_is_dead(&lock) { Holder::Dead } else { Holder::Alive };
            match claim::judge(holder, begun.elapsed()) {
                Verdict::Taken => return Err(PlaceError::Taken { name, lock }),
                Verdict::Kept => return Err(PlaceError::Kept { name, lock }),
                Verdict::LookAgain => pause(claim::LOOK_AGAIN),
            }
        }
    }

    fn claim_at_once(&self, name: &str) -> Result<Place, PlaceError> {
        if let Some(found) = self.find(name) {
            return Err(PlaceError::Taken { name: name.to_owned(), lock: found.socket.with_file_name(LOCK) });
        }
        let mut last = PlaceError::BadName(name.to_owned());
        for base in &self.dirs {
            match self.claim_in(base, name) {
                Ok(place) => return Ok(place),
                Err(taken @ PlaceError::Taken { .. }) => return Err(taken),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn claim_in(&self, base: &Path, name: &str) -> Result<Place, PlaceError> {
        let dir = base.join(name);
        self.own_dir(base)?;
        self.own_dir(&dir)?;
        let path = dir.join(LOCK);
        let taken = || PlaceError::Taken { name: name.to_owned(), lock: path.clone() };
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let lock = lock.map_err(PlaceError::io("open", &path))?;
        match lock.try_lock() {
            // The one who held it before may have removed the file between our open and our lock: then this
            // lock protects nothing, and the place changes hands at this very moment.
            Ok(()) if is_same_file(&lock, &path) => {
                sign(&lock);
                Ok(Place { dir, lock })
            }
            Ok(()) | Err(TryLockError::WouldBlock) => Err(taken()),
            Err(TryLockError::Error(error)) => Err(PlaceError::io("lock", &path)(error)),
        }
    }

    /// Makes sure that this is a directory of ours which nobody else can enter.
    pub(crate) fn own_dir(&self, dir: &Path) -> Result<(), PlaceError> {
        match DirBuilder::new().mode(0o700).create(dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(PlaceError::io("make the directory", dir)(error)),
        }
        let meta = fs::symlink_metadata(dir).map_err(PlaceError::io("look at", dir))?;
        if !meta.is_dir() || meta.uid() != self.uid {
            return Err(PlaceError::NotOurs(dir.to_owned()));
        }
        if meta.mode() & 0o077 != 0 {
            let private = Permissions::from_mode(0o700);
            fs::set_permissions(dir, private).map_err(PlaceError::io("close to others", dir))?;
        }
        Ok(())
    }

    /// The running family of this name.
    pub fn find(&self, name: &str) -> Option<Found> {
        if !is_name(name) {
            return None;
        }
        let sockets = self.dirs.iter().map(|base| base.join(name).join(SOCKET));
        sockets.into_iter().find_map(|socket| {
            let owner = fs::symlink_metadata(&socket).ok()?.uid();
            let speaks = (self.uid == 0 || owner == self.uid) && somebody_listens(&socket);
            speaks.then(|| Found { name: name.to_owned(), socket, owner })
        })
    }

    /// Every running family that this user may speak to, by name.
    pub fn running(&self) -> Vec<Found> {
        let entries = self.dirs.iter().filter_map(|base| fs::read_dir(base).ok()).flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names.dedup();
        names.iter().filter_map(|name| self.find(name)).collect()
    }

    /// The running families of other users, by user and name, for root, who may speak to all: those in
    /// `/run/user/UID/doula` and `/tmp/doula-UID`, and wherever else `/proc/net/unix` shows a socket of that name.
    pub fn of_others(&self) -> Vec<Found> {
        if self.uid != 0 {
            return Vec::new();
        }
        let bases: BTreeSet<PathBuf> = self.named_of_others().into_iter().chain(elsewhere()).collect();
        let mut found: Vec<_> =
            bases.iter().filter(|base| !self.dirs.contains(base)).flat_map(|base| of_owner(base)).collect();
        found.sort_by(|a, b| (a.owner, &a.name).cmp(&(b.owner, &b.name)));
        found
    }

    /// The bases of other users that have a usual name, for root.
    pub(crate) fn named_of_others(&self) -> BTreeSet<PathBuf> {
        if self.uid != 0 {
            return BTreeSet::new();
        }
        let folders = |parent| fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path());
        let named =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"doula-"));
        let bases = folders("/run/user").map(|dir| dir.join("doula")).chain(folders("/tmp").filter(named));
        bases.filter(|base| !self.dirs.contains(base)).collect()
    }

    /// Whose bases these are.
    ///
    /// ```
    /// use doula_host::control::place::Bases;
    /// let ours = std::fs::metadata("/proc/self").map(|meta| std::os::unix::fs::MetadataExt::uid(&meta))?;
    /// assert_eq!(Bases::from_env().uid(), ours);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }
}

/// The bases in which sockets are bound that have the name of a control socket (proc_net_unix(5)), whoever bound them.
/// A path that was too long for an address is not there.
fn elsewhere() -> Vec<PathBuf> {
    let table = fs::read("/proc/net/unix").unwrap_or_default();
    let bases = table.split(|byte| *byte == b'\n').filter_map(|line| {
        let path = &line[line.iter().position(|byte| *byte == b'/')?..];
        let path = Path::new(OsStr::from_bytes(path));
        let base = path.parent()?.parent()?;
        (path.file_name()? == SOCKET && base.file_name()? == "doula").then(|| base.to_owned())
    });
    bases.collect()
}

/// The running families in a base of another user, if nobody else had a hand in it.
fn of_owner(base: &Path) -> Vec<Found> {
    let owner = |path: &Path, is: fn(&Metadata) -> bool| {
        fs::symlink_metadata(path).ok().filter(is).map(|meta| meta.uid())
    };
    let user = owner(base, Metadata::is_dir);
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    let found = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok().filter(|name| is_name(name))?;
        let socket = entry.path().join(SOCKET);
        let theirs = owner(&entry.path(), Metadata::is_dir) == user
            && owner(&socket, |meta| meta.file_type().is_socket()) == user;
        (theirs && somebody_listens(&socket)).then_some(Found { name, socket, owner: user? })
    });
    found.collect()
}

/// The place of one family, held as long as this value lives.
#[derive(Debug)]
pub struct Place {
    dir: PathBuf,
    lock: File,
}

impl Place {
    /// The place that we had when we were another program.
    pub(crate) fn inherit(dir: PathBuf, lock: File) -> Place {
        Place { dir, lock }
    }

    /// A second fd of the lock: it is held as long as one of them is open.
    pub(crate) fn duplicate_lock(&self) -> Option<OwnedFd> {
        fd::duplicate(&self.lock, 3).ok()
    }

    /// The family's directory, for the supervisor's own files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The socket's path.
    pub fn socket(&self) -> PathBuf {
        self.dir.join(SOCKET)
    }

    /// Listens on the control socket. One that an earlier supervisor left behind is replaced: we hold the
    /// lock, so nobody listens there.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn listen(&self) -> Result<UnixListener, PlaceError> {
        let path = self.socket();
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(PlaceError::io("replace", &path)(error)),
        }
        let listener = with_short_path(&path, |short| UnixListener::bind(short));
        let listener = listener.map_err(PlaceError::io("listen on", &path))?;
        let private = Permissions::from_mode(0o600);
        fs::set_permissions(&path, private).map_err(PlaceError::io("close to others", &path))?;
        listener.set_nonblocking(true).map_err(PlaceError::io("listen on", &path))?;
        Ok(listener)
    }

    /// Binds a listening socket beside this name in the family's directory. Who renames its file, the first path, to the
    /// second one is there in one step in place of whoever was.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub(crate) fn bind(&self, name: &str) -> Result<(UnixListener, [PathBuf; 2]), PlaceError> {
        let (path, new) = (self.dir.join(name), self.dir.join(format!("{name}.new")));
        // What a supervisor that was killed in the middle has left.
        drop(fs::remove_file(&new));
        let listener = with_short_path(&new, |short| UnixListener::bind(short));
        let listener = listener.map_err(PlaceError::io("listen on", &new))?;
        Ok((listener, [new, path]))
    }

    /// Nobody can connect any more: before those who did are told that the family is over, so that they can tell its
    /// end from the end of a supervisor that was killed.
    pub fn close_door(&self) {
        // One that is gone already is as good.
        drop(fs::remove_file(self.socket()));
    }

    /// Whether a supervisor has left something here for the next one.
    pub(crate) fn has_estate(&self) -> bool {
        LEFT.iter().any(|file| self.dir.join(file).exists())
    }

    /// Gives the place back: removes the socket, and the directory if nothing else is in it.
    pub fn leave(self) {
        self.close_door();
        for file in LEFT {
            // Most are not there.
            drop(fs::remove_file(self.dir.join(file)));
        }
        // The lock goes last and while it is held: who opens it before sees it held, who comes after makes
        // a new one.
        let gone = fs::remove_file(self.dir.join(LOCK));
        drop(gone.and_then(|()| fs::remove_dir(&self.dir)));
        drop(self.lock);
    }
}

/// Writes into the lock who holds it: number and start time.
fn sign(lock: &File) {
    let pid = group::pid();
    let text = format!("{pid} {}\n", sweep::start_ticks(pid).unwrap_or_default());
    // Nobody needs it but who comes while a killed supervisor is cleared away, and without it finds the place taken.
    drop(lock.set_len(0).and_then(|()| lock.write_all_at(text.as_bytes(), 0)));
}

/// Whether the one who has signed this lock is dead.
fn holder_is_dead(lock: &Path) -> bool {
    let text = fs::read_to_string(lock).unwrap_or_default();
    let Some((pid, start)) = text.trim().split_once(' ') else { return false };
    let (Some(pid), Ok(start)) = (pid.parse().ok().and_then(Pid::new), start.parse::<u64>()) else {
        return false;
    };
    sweep::stat(pid).is_none_or(|stat| stat.start != start || stat.dead())
}

/// Whether this open file is still the one at this path.
fn is_same_file(open: &File, path: &Path) -> bool {
    match (open.metadata(), fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        (Err(_), _) | (_, Err(_)) => false,
    }
}

/// Connects to a control socket, whatever the length of its path.
pub(crate) fn connect(socket: &Path) -> io::Result<UnixStream> {
    with_short_path(socket, |short| UnixStream::connect(short))
}

/// The same without waiting for room in the queue of who listens: [`io::ErrorKind::WouldBlock`] where there is none.
pub(crate) fn connect_at_once(socket: &Path) -> io::Result<UnixStream> {
    let to_io = |errno: Errno| io::Error::from_raw_os_error(errno.0);
    with_short_path(socket, |short| {
        let path = CString::new(short.as_os_str().as_bytes())?;
        let stream = socket::unix_stream().map_err(to_io)?;
        fd::set_nonblocking(&stream, true).map_err(to_io)?;
        socket::connect_unix(&stream, &path).map_err(to_io)?;
        fd::set_nonblocking(&stream, false).map_err(to_io)?;
        Ok(UnixStream::from(stream))
    })
}

/// Whether there is somebody at this socket, be it one who does not come to answer.
fn somebody_listens(socket: &Path) -> bool {
    connect_at_once(socket).map_or_else(|error| error.kind() == io::ErrorKind::WouldBlock, |_| true)
}

/// Does something with a path that fits into a socket address: through a handle of its directory if the path
/// itself is too long.
fn with_short_path<T>(path: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().len() <= SOCKET_PATH_LIMIT {
        return act(path);
    }
    let (Some(dir), Some(file)) = (path.parent(), path.file_name()) else { return act(path) };
    let dir = File::open(dir)?;
    act(&Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of the test's own, removed at its end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(test: &str) -> Scratch {
            let dir = env::temp_dir().join(format!("doula-place-{}-{test}", std::process::id()));
            fs::create_dir(&dir).expect("a new directory");
            Scratch(dir)
        }

        fn bases(&self) -> Bases {
            Bases { dirs: vec![self.0.join("doula")], uid: group::users().1 }
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn the_bases_are_the_runtime_directory_then_run_for_root_then_tmp() {
        let dirs = |runtime: Option<&str>, uid| {
            let bases = Bases::new(runtime.map(PathBuf::from), uid);
            bases.dirs.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(dirs(Some("/run/user/7"), 7), ["/run/user/7/doula", "/tmp/doula-7"]);
        assert_eq!(dirs(None, 0), ["/run/doula", "/tmp/doula-0"]);
        assert_eq!(dirs(Some("relative"), 7), ["/tmp/doula-7"]);
    }

    #[test]
    fn names_are_safe_in_paths() {
        for name in ["web", "a.b-c_d@2", "0"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", ".", "..", ".x", "a/b", "a b", "a\0", "ü", &"x".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn one_name_has_one_supervisor_and_is_free_again_afterwards() {
        let scratch = Scratch::new("claim");
        let bases = scratch.bases();
        let place = bases.claim("web").expect("free");
        assert!(matches!(bases.claim("web"), Err(PlaceError::Taken { .. })));
        assert_eq!(bases.running(), [], "nobody listens yet");
        let _listener = place.listen().expect("listens");
        let mode = |path: &Path| fs::metadata(path).expect("is there").mode() & 0o777;
        assert_eq!((mode(place.dir()), mode(&place.socket())), (0o700, 0o600));
        let owner = group::users().1;
        assert_eq!(bases.running(), [Found { name: "web".into(), socket: place.socket(), owner }]);
        let dir = place.dir().to_owned();
        place.leave();
        assert!(!dir.exists());
        bases.claim("web").expect("free again");
    }

    #[test]
    fn what_a_dead_supervisor_left_behind_does_not_count() {
        let scratch = Scratch::new("dead");
        let bases = scratch.bases();
        let place = bases.claim("web").expect("free");
        drop(place.listen().expect("listens"));
        drop(place);
        assert_eq!(bases.running(), []);
        let place = bases.claim("web").expect("free");
        let _listener = place.listen().expect("replaces the old socket");
        assert!(bases.find("web").is_some());
    }

    #[test]
    fn a_directory_that_others_prepared_is_refused_and_an_open_one_is_closed() {
        let scratch = Scratch::new("others");
        let bases = scratch.bases();
        std::os::unix::fs::symlink("/tmp", &bases.dirs[0]).expect("a trap");
        assert!(matches!(bases.claim("web"), Err(PlaceError::NotOurs(_))));
        fs::remove_file(&bases.dirs[0]).expect("removes the trap");
        fs::create_dir(&bases.dirs[0]).expect("a directory");
        fs::set_permissions(&bases.dirs[0], Permissions::from_mode(0o777)).expect("opens it");
        let _place = bases.claim("web").expect("free");
        assert_eq!(fs::metadata(&bases.dirs[0]).expect("is there").mode() & 0o777, 0o700);
    }

    #[test]
    fn a_path_that_is_too_long_for_a_socket_address_works() {
        let scratch = Scratch::new("long");
        let deep = scratch.0.join("d".repeat(120));
        fs::create_dir(&deep).expect("a deep directory");
        let bases = Bases { dirs: vec![deep.join("doula")], uid: group::users().1 };
        let place = bases.claim("web").expect("free");
        let _listener = place.listen().expect("listens");
        assert!(bases.find("web").is_some());
    }
}
