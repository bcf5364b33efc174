//! `doula up` as PID 1 of a container, and as the child of a service manager.

use crate::harness::{
    DOULA, Folder, as_pid_1, code, complaint, namespace, skipped, terminate_child_of, text,
};
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// How long a word of `doula up` may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// Starts the family of this folder by this command (up to the word `doula`).
fn up(mut command: Command, folder: &Path, family: &str) -> Child {
    fs::write(folder.join("doula.toml"), family).expect("the folder is ours");
    command.args([DOULA, "up"]).current_dir(folder).env("XDG_RUNTIME_DIR", folder).env("HOME", folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("it starts")
}

fn end(child: Child) -> Output {
    child.wait_with_output().expect("it ends")
}

#[test]
fn as_pid_1_it_buries_the_orphans_of_all_and_passes_the_code_of_an_essential_service_on() {
    let folder = Folder::new("up-orphans");
    let orphans = folder.script(
        "orphans",
        "i=0; while [ $i -lt 100 ]; do i=$((i+1)); (true & setsid true & (true & true) &); done
         while grep -qs '^State:.Z' /proc/[0-9]*/status; do :; done; echo all are buried; exit 7",
    );
    let Some(unshare) = namespace() else { return };
    let family = format!(
        "name = \"orphans\"
         [service.main]
         command = [\"sh\", \"{orphans}\"]
         essential = true
         restart = \"never\"
         [service.other]
         command = \"sleep 100000\"
        "
    );
    let output = end(up(unshare, folder.path(), &family));
    assert!(text(&output).contains("all are buried"), "{}", text(&output));
    assert_eq!(output.status.code(), Some(7), "{}", text(&output));
}

#[test]
fn as_pid_1_it_stops_everybody_on_a_sigterm_from_outside_double_forkers_too() {
    let folder = Folder::new("up-term");
    let (fifo, words) = (folder.fifo("ready"), folder.path().join("words").display().to_string());
    let runaway = folder.script(
        "runaway",
        &format!("trap 'echo runaway asked >> {words}; exit' TERM; echo > {fifo}; while :; do :; done"),
    );
    let main = folder.script(
        "main",
        &format!(
            "trap 'echo main asked >> {words}; exit' TERM
             (setsid sh {runaway} &) ; while :; do :; done"
        ),
    );
    let Some(unshare) = namespace() else { return };
    let family = format!(
        "name = \"term\"
         [service.main]
         command = [\"sh\", \"{main}\"]
         [service.deaf]
         command = [\"sh\", \"-c\", \"trap '' TERM; while :; do :; done\"]
         stop = {{ grace = \"200ms\" }}
        "
    );
    let child = up(unshare, folder.path(), &family);
    fs::read(&fifo).expect("the runaway is ready");
    terminate_child_of(child.id());
    let output = end(child);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let words = fs::read_to_string(words).unwrap_or_default();
    let mut words: Vec<_> = words.lines().collect();
    words.sort_unstable();
    assert_eq!(words, ["main asked", "runaway asked"], "{}", text(&output));
    assert!(text(&output).contains("the family is empty"), "{}", text(&output));
}

/// A running `doula up`, which does not outlive the test.
struct Up(Child);

impl Up {
    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.0.id().to_string()]).status().expect("kill starts");
        assert!(sent.success());
    }
}

impl Up {
    /// Waits until it is stopped.
    fn await_stop(&self) {
        let child = rustix::process::WaitId::Pid(rustix::process::Pid::from_child(&self.0));
        rustix::process::waitid(child, rustix::process::WaitIdOptions::STOPPED).expect("our own child");
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.signal("-QUIT");
            drop(self.0.wait());
        }
    }
}

/// A service manager's end of `NOTIFY_SOCKET`.
struct Manager(UnixDatagram);

impl Manager {
    /// The variables that name it.
    fn introduce(folder: &Folder, command: &mut Command) {
        command.arg(format!("NOTIFY_SOCKET={}", folder.path().join("manager").display()));
        command.arg("WATCHDOG_USEC=100000");
    }

    /// Passes over what has come.
    fn forget(&self) {
        self.0.set_nonblocking(true).expect("our own socket");
        while self.0.recv(&mut [0; 4096]).is_ok() {}
        self.0.set_nonblocking(false).expect("our own socket");
    }

    /// Nothing more comes for ten times as long as it takes between two signs of life.
    fn expect_silence(&self) {
        self.0.set_read_timeout(Some(Duration::from_millis(500))).expect("a time limit");
        let mut buffer = [0; 4096];
        let heard =
            self.0.recv(&mut buffer).map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned());
        assert!(heard.is_err(), "{heard:?}");
        self.0.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    }

    fn new(folder: &Folder) -> Manager {
        let socket = UnixDatagram::bind(folder.path().join("manager")).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        Manager(socket)
    }

    /// The next message that begins so.
    fn expect(&self, begin: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let length = match self.0.recv(&mut buffer) {
                // A wait with a time limit ends so when the machine stood still meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                length => length.expect(begin),
            };
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.starts_with(begin) {
                return text;
            }
        }
    }
}

#[test]
fn a_service_manager_above_hears_when_it_is_ready_alive_reloading_and_stopping() {
    let folder = Folder::new("up-manager");
    let manager = Manager::new(&folder);
    let fifo = folder.fifo("go");
    let mut command = Command::new("env");
    Manager::introduce(&folder, &mut command);
    let family = format!(
        "name = \"managed\"
         [service.first]
         command = [\"sh\", \"-c\", \"read x < {fifo}; echo go; exec sleep 100000\"]
         ready = {{ log-line = \"go\" }}
         [service.second]
         command = \"sleep 100000\"
         requires = [\"first\"]
        "
    );
    let mut child = Up(up(command, folder.path(), &family));
    manager.expect("STATUS=0 of 2 services are up");
    manager.expect("WATCHDOG=1");
    manager.expect("WATCHDOG=1");
    fs::write(&fifo, "go\n").expect("the first service reads");
    manager.expect("STATUS=2 of 2 services are up");
    manager.expect("READY=1");
    child.signal("-HUP");
    assert!(manager.expect("RELOADING=1").contains("\nMONOTONIC_USEC="));
    manager.expect("READY=1");
    child.signal("-TERM");
    manager.expect("STOPPING=1");
    assert_eq!(child.0.wait().expect("it ends").code(), Some(0));
}

#[test]
fn as_one_static_file_it_looks_after_a_family_in_a_root_without_any_other_file() {
    let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/static/doula");
    if !binary.exists() {
        skipped("target/static/doula is not built (see test.sh)");
        return;
    }
    let folder = Folder::new("up-static");
    let root = folder.path();
    for inside in ["dev", "proc", "run"] {
        fs::create_dir(root.join(inside)).expect("a folder of the root");
    }
    fs::write(root.join("dev/null"), "").expect("what every container has");
    fs::copy(&binary, root.join("doula")).expect("a copy of the binary");
    let family = "name = \"alone\"
        [service.main]
        command = [\"/doula\", \"--version\"]
        essential = true
        restart = \"never\"
        ";
    fs::write(root.join("doula.toml"), family).expect("the family's file");
    let root = root.display();
    let script = format!(
        "mount -t proc proc {root}/proc && XDG_RUNTIME_DIR=/run exec chroot {root} /doula up /doula.toml"
    );
    let Some(output) = as_pid_1(&["sh", "-c", &script]) else { return };
    assert_eq!(code(&output), 0, "{}{}", text(&output), complaint(&output));
    for told in ["| doula ", "the family is empty"] {
        assert!(text(&output).contains(told), "{}", text(&output));
    }
}

#[test]
fn a_loop_that_is_stuck_gives_no_sign_of_life_to_the_service_manager_above() {
    let folder = Folder::new("up-stuck");
    let manager = Manager::new(&folder);
    let mut command = Command::new("env");
    Manager::introduce(&folder, &mut command);
    let family = "name = \"stuck\"\n[service.web]\ncommand = \"sleep 100000\"\n";
    let mut child = Up(up(command, folder.path(), family));
    manager.expect("READY=1");
    manager.expect("WATCHDOG=1");
    // Its loop does not go round while it is stopped, and no timer of its speaks for it.
    child.signal("-STOP");
    child.await_stop();
    manager.forget();
    manager.expect_silence();
    child.signal("-CONT");
    manager.expect("WATCHDOG=1");
    child.signal("-TERM");
    assert_eq!(child.0.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_service_manager_above_hears_who_waits_for_a_service_that_fails_again_and_again() {
    let folder = Folder::new("up-held");
    let manager = Manager::new(&folder);
    let mut command = Command::new("env");
    Manager::introduce(&folder, &mut command);
    let family = "name = \"held\"
         [service.first]
         command = \"false\"
         ready = { log-line = \"never\" }
         restart = { limit = false, delay = \"1h\" }
         [service.second]
         command = \"sleep 100000\"
         requires = [\"first\"]
        ";
    let mut child = Up(up(command, folder.path(), family));
    manager.expect("STATUS=0 of 2 services are up; second waits for first, which fails again and again");
    child.signal("-TERM");
    assert_eq!(child.0.wait().expect("it ends").code(), Some(0));
}
