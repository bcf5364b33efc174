//! Who cannot die when he is killed, and who comes into a cgroup that was killed already: so it is shown, whenever it is wanted,
//! what happens now and then when a kill of a cgroup misses one who is being born.

use std::fs;
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Long, because the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A frozen group of cgroup v1: who is in it sleeps in the kernel and takes no signal, not even SIGKILL.
pub(crate) struct Freezer(PathBuf);

impl Freezer {
    #[expect(clippy::print_stdout, reason = "the reason of a skipped test is read in the test's output")]
    pub(crate) fn new(name: &str) -> Option<Freezer> {
        let mount = mount(|kind, options| kind == "cgroup" && options.split(',').any(|one| one == "freezer"));
        let made = mount.map(|mount| mount.join(name)).filter(|group| fs::create_dir(group).is_ok());
        if made.is_none() {
            println!(
                "skipped: there is no writable freezer of cgroup v1, the only way to make a process unkillable at will"
            );
        }
        made.map(Freezer)
    }

    pub(crate) fn freeze(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).expect("to move it");
        fs::write(self.0.join("freezer.state"), "FROZEN").expect("to freeze it");
        await_true(
            || fs::read_to_string(self.0.join("freezer.state")).is_ok_and(|state| state == "FROZEN\n"),
            "it stands still",
        );
    }

    pub(crate) fn thaw(&self) {
        fs::write(self.0.join("freezer.state"), "THAWED").expect("to thaw it");
    }

    /// Waits until the frozen one, which ignores SIGTERM, is killed, with the cgroup that it is in. Then somebody comes into that who is not, and the
    /// frozen one dies. Whoever waits for the cgroup to become empty has to kill it again. `None` as for [`newcomer`].
    pub(crate) fn one_is_missed(&self, frozen: u32) -> Option<Newcomer> {
        await_true(|| is_killed(frozen), "it is killed");
        let missed = newcomer(frozen);
        self.thaw();
        missed
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        drop(fs::write(self.0.join("freezer.state"), "THAWED"));
        // Whoever was in it has been told to end, by who ended his cgroup or by the test.
        let end = Instant::now() + PATIENCE;
        while self.0.is_dir() && Instant::now() < end {
            drop(fs::remove_dir(&self.0));
            std::thread::yield_now();
        }
    }
}

/// A new process, which ignores SIGTERM, in the cgroup v2 that another one has for itself; `None`, said aloud, if it has none.
#[expect(clippy::print_stdout, reason = "the reason of a skipped test is read in the test's output")]
pub(crate) fn newcomer(pid: u32) -> Option<Newcomer> {
    let Some(leaf) = cgroup_of(pid).filter(|leaf| cgroup_of(std::process::id()).as_ref() != Some(leaf))
    else {
        println!("skipped: no cgroup of its own may be made here");
        return None;
    };
    let mut deaf = Command::new("sh");
    deaf.args(["-c", "trap '' TERM; echo; exec sleep 1000"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut newcomer = Newcomer(deaf.spawn().expect("sh"));
    newcomer.0.stdout.take().expect("a pipe").read_exact(&mut [0]).expect("a line");
    fs::write(leaf.join("cgroup.procs"), newcomer.pid().to_string()).expect("to move it");
    Some(newcomer)
}

/// A child of this test that sleeps in a cgroup of others.
pub(crate) struct Newcomer(Child);

impl Newcomer {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits for its end: the signal that ended it.
    pub(crate) fn end(mut self) -> Option<i32> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.0.try_wait().expect("our child") {
                return status.signal();
            }
            std::thread::yield_now();
        }
        panic!("{} lives on", self.pid());
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        drop((self.0.kill(), self.0.wait()));
    }
}

fn cgroup_of(pid: u32) -> Option<PathBuf> {
    let places = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let place = places.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(mount(|kind, _| kind == "cgroup2")?.join(place)).filter(|path| path.is_dir())
}

/// Where a file system of this kind, with these options, is mounted.
fn mount(is_it: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let fields: Vec<_> = line.split(' ').collect();
        let &[_, place, kind, options, ..] = fields.as_slice() else { return None };
        is_it(kind, options).then(|| PathBuf::from(place))
    })
}

/// Whether SIGKILL waits for it; also when SIGTERM does, unless it ignores that.
fn is_killed(pid: u32) -> bool {
    const KILL: u64 = 1 << (9 - 1);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it is not buried");
    let pending = |name: &str| {
        let mask = status.lines().find_map(|line| line.strip_prefix(name)).expect("a mask");
        u64::from_str_radix(mask.trim(), 16).expect("a mask")
    };
    (pending("SigPnd:") | pending("ShdPnd:")) & KILL != 0
}

/// Nothing tells of it.
fn await_true(is_so: impl Fn() -> bool, what: &str) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "it does not come about that {what}");
        std::thread::yield_now();
    }
}
