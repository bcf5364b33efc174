//! Runs that are at work, as they show themselves: each has a file of its own, which it writes anew now and then and removes at its
//! end. What is in it is the affair of who writes and who reads it.
//!
//! The file is in `.runs` of the first [base](crate::control::place::Bases) that can be used, where nobody else may look, and its name
//! says whose it is: the start of the machine, the namespace of numbers, the number and its start. So what a killed run left is
//! known as such, and removed by whoever looks next.

use crate::control::place::Bases;
use crate::sweep;
use doula_model::id::Pid;
use doula_sys::group;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// No family has a dot first.
const FOLDER: &str = ".runs";
/// Nobody of ours writes more.
const MOST: u64 = 1 << 20;

/// Where a run shows itself.
///
/// ```
/// use doula_host::control::place::Bases;
/// use doula_host::jobs::shown::{self, Shown};
/// let bases = Bases::from_env();
/// let place = Shown::place(&bases).expect("a folder that is ours");
/// place.show(b"3 of 10 jobs ended")?;
/// let own = |run: &shown::Run| run.pid.get().unsigned_abs() == std::process::id();
/// assert_eq!(shown::all(&bases).into_iter().find(own).map(|run| run.text), Some(b"3 of 10 jobs ended".to_vec()));
/// drop(place);
/// assert!(!shown::all(&bases).iter().any(own));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Shown {
    path: PathBuf,
}

impl Shown {
    /// A place for this process, in the first base that can be used. Nothing is there before something is shown.
    ///
    /// ```
    /// use doula_host::control::place::Bases;
    /// use doula_host::jobs::shown::Shown;
    /// // A run goes on where it cannot be seen.
    /// let place: Option<Shown> = Shown::place(&Bases::from_env());
    /// # drop(place);
    /// ```
    #[must_use]
    pub fn place(bases: &Bases) -> Option<Shown> {
        let name = Name::own()?;
        let folder = bases.dirs().iter().find_map(|base| {
            let folder = base.join(FOLDER);
            bases.own_dir(base).and_then(|()| bases.own_dir(&folder)).is_ok().then_some(folder)
        });
        Some(Shown { path: folder?.join(name.text()) })
    }

    /// Shows this from now on, whole at any moment.
    ///
    /// ```
    /// use doula_host::control::place::Bases;
    /// use doula_host::jobs::shown::Shown;
    /// let place = Shown::place(&Bases::from_env()).expect("a folder that is ours");
    /// for ended in 1..=3 {
    ///     place.show(format!("{ended} of 3 jobs ended").as_bytes())?;
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of writing a file.
    pub fn show(&self, text: &[u8]) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new);
        file?.write_all(text)?;
        fs::rename(&new, &self.path)
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        // Nothing is there when nothing was shown.
        drop(fs::remove_file(&self.path));
    }
}

/// A run that is at work.
///
/// ```
/// use doula_host::{Pid, jobs::shown::Run};
/// let run = Run { pid: Pid::INIT, owner: 0, text: b"3 of 10 jobs ended".to_vec() };
/// assert_eq!(format!("{}: {}", run.pid, String::from_utf8_lossy(&run.text)), "1: 3 of 10 jobs ended");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its process.
    pub pid: Pid,
    /// The user whose it is.
    pub owner: u32,
    /// What it shows.
    pub text: Vec<u8>,
}

/// Every run that this user may look at, by user and number: for root those of others too, where their bases have the usual names.
///
/// ```
/// use doula_host::{control::place::Bases, jobs::shown};
/// for run in shown::all(&Bases::from_env()) {
///     println!("{} of user {}: {}", run.pid, run.owner, String::from_utf8_lossy(&run.text));
/// }
/// ```
#[must_use]
pub fn all(bases: &Bases) -> Vec<Run> {
    let own = bases.dirs().iter().flat_map(|base| of(base, bases.uid()));
    let others = bases.named_of_others();
    let owner = |base: &PathBuf| fs::symlink_metadata(base).ok().map(|meta| meta.uid());
    let others = others.iter().filter_map(|base| Some(of(base, owner(base)?))).flatten();
    let mut all: Vec<Run> = own.chain(others).collect();
    all.sort_by_key(|run| (run.owner, run.pid));
    all
}

/// The runs in a base of this user, if nobody else had a hand in it.
fn of(base: &Path, user: u32) -> Vec<Run> {
    let folder = base.join(FOLDER);
    let is_theirs = |path: &Path| {
        fs::symlink_metadata(path)
            .is_ok_and(|meta| meta.is_dir() && meta.uid() == user && meta.mode() & 0o077 == 0)
    };
    if !is_theirs(base) || !is_theirs(&folder) {
        return Vec::new();
    }
    let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| run(&entry.path(), user)).collect()
}

fn run(path: &Path, user: u32) -> Option<Run> {
    let name = Name::parse(path.file_name()?.to_str()?)?;
    let own = Name::own()?;
    // Numbers of another namespace say nothing here.
    if (&name.boot, name.namespace) == (&own.boot, own.namespace) && name.is_of(user) {
        return Some(Run { pid: name.pid, owner: user, text: read(path, user)? });
    }
    if user == group::users().1 && (name.boot != own.boot || name.namespace == own.namespace) {
        drop(fs::remove_file(path));
    }
    None
}

/// A file of this user's, and not what somebody put in its place.
fn read(path: &Path, user: u32) -> Option<Vec<u8>> {
    let there = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
    let file = File::open(path).ok()?;
    let meta = file.metadata().ok()?;
    let same = (meta.dev(), meta.ino()) == (there.dev(), there.ino());
    let mut text = Vec::new();
    (same && meta.uid() == user).then(|| file.take(MOST).read_to_end(&mut text).ok())??;
    Some(text)
}

/// Whose file it is.
struct Name {
    boot: String,
    /// The namespace of numbers, by its inode.
    namespace: u64,
    pid: Pid,
    start: u64,
}

impl Name {
    fn own() -> Option<Name> {
        let pid = group::pid();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = fs::metadata("/proc/self/ns/pid").ok()?.ino();
        Some(Name { boot: boot.trim().to_owned(), namespace, pid, start: sweep::start_ticks(pid)? })
    }

    fn text(&self) -> String {
        format!("{}.{}.{}.{}", self.boot, self.namespace, self.pid, self.start)
    }

    fn parse(text: &str) -> Option<Name> {
        let mut words = text.split('.');
        let boot = words.next()?.to_owned();
        let (namespace, pid) = (words.next()?.parse().ok()?, words.next()?.parse().ok().and_then(Pid::new)?);
        let start = words.next()?.parse().ok()?;
        words.next().is_none().then_some(Name { boot, namespace, pid, start })
    }

    /// Whether that process lives, and is this user's.
    fn is_of(&self, user: u32) -> bool {
        let lives = sweep::stat(self.pid).is_some_and(|stat| stat.start == self.start && !stat.dead());
        lives && fs::metadata(format!("/proc/{}", self.pid)).is_ok_and(|meta| meta.uid() == user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    fn bases(name: &str) -> (PathBuf, Bases) {
        let dir = std::env::temp_dir().join(format!("doula-shown-{}-{name}", std::process::id()));
        fs::create_dir(&dir).expect("a new folder");
        let uid = group::users().1;
        (dir.clone(), Bases::new(Some(dir), uid))
    }

    fn ours(bases: &Bases) -> Vec<Vec<u8>> {
        let own = |run: &Run| run.pid == group::pid();
        all(bases).into_iter().filter(own).map(|run| run.text).collect()
    }

    #[test]
    fn a_run_is_seen_as_it_shows_itself_until_its_end() {
        let (dir, bases) = bases("seen");
        let shown = Shown::place(&bases).expect("a place");
        assert!(ours(&bases).is_empty(), "nothing is shown yet");
        shown.show(b"first").expect("room");
        shown.show(b"second").expect("room");
        assert_eq!(ours(&bases), [b"second"]);
        let file = fs::metadata(&shown.path).expect("a file");
        let folder = fs::metadata(dir.join("doula/.runs")).expect("a folder");
        assert_eq!((file.mode() & 0o777, folder.mode() & 0o777), (0o600, 0o700));
        drop(shown);
        assert!(ours(&bases).is_empty());
        fs::remove_dir_all(dir).expect("ours");
    }

    #[test]
    fn what_a_dead_run_left_is_removed_and_what_others_could_have_written_is_not_read() {
        let (dir, bases) = bases("left");
        let shown = Shown::place(&bases).expect("a place");
        shown.show(b"alive").expect("room");
        let own = Name::own().expect("a name");
        let dead = |name: Name| shown.path.with_file_name(name.text());
        let earlier = dead(Name { start: own.start + 1, boot: own.boot.clone(), ..own });
        let before_boot = dead(Name { boot: "another".to_owned(), ..Name::own().expect("a name") });
        let elsewhere = dead(Name { namespace: own.namespace + 1, ..Name::own().expect("a name") });
        for path in [&earlier, &before_boot, &elsewhere] {
            fs::write(path, "dead").expect("room");
        }
        assert_eq!(ours(&bases), [b"alive"]);
        assert!(!earlier.exists() && !before_boot.exists(), "what is dead is removed");
        assert!(elsewhere.exists(), "nobody here knows whether it is dead");
        let folder = dir.join("doula/.runs");
        fs::set_permissions(&folder, Permissions::from_mode(0o770)).expect("ours");
        assert!(ours(&bases).is_empty(), "others may write there");
        fs::remove_dir_all(dir).expect("ours");
    }
}
