//! Who may ask a family, and what strange or slow askers can do: nothing to others.

use crate::attributes::{is_root, reachable};
use crate::contain::skipped;
use crate::family::{Family, Home};
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

fn socket(home: &Home) -> PathBuf {
    home.dir.join("doula").join(&home.name).join("control")
}

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

fn frame(json: &str) -> Vec<u8> {
    let length = u32::try_from(json.len()).expect("short");
    [&length.to_le_bytes()[..], json.as_bytes()].concat()
}

const HELLO: &str = r#"{"id":1,"request":"hello","protocol":1,"client":"test"}"#;

fn polite() -> Family {
    let mut family = Family::up("[service.web]\ncommand = \"ACTORS/polite\"\n");
    family.expect("polite: ready");
    family
}

#[test]
fn the_socket_is_for_its_owner_alone() {
    let family = polite();
    let socket = socket(&family.home);
    assert_eq!(mode(&socket), 0o600);
    assert_eq!(mode(socket.parent().expect("a folder")), 0o700);
    assert_eq!(mode(&family.home.dir.join("doula")), 0o700);
    family.shut_down();
}

#[test]
fn another_user_is_refused_even_where_the_files_would_let_it_in() {
    let family = polite();
    let path = socket(&family.home);
    let script = "my $s = IO::Socket::UNIX->new(Peer => shift) or die \"no way in\\n\";
print <$s>;";
    let ask = || {
        let mut command = family.home.command("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.args(["perl", "-MIO::Socket::UNIX", "-e", script]).arg(&path).output()
    };
    let said = ask().map(|said| String::from_utf8_lossy(&said.stderr).into_owned()).unwrap_or_default();
    if !said.contains("no way in") {
        skipped("only root can become somebody else here, by setpriv(1) and perl(1)");
        family.shut_down();
        return;
    }
    let open = |path: &std::path::Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
    };
    open(&family.home.dir, 0o755);
    open(&family.home.dir.join("doula"), 0o755);
    open(path.parent().expect("a folder"), 0o755);
    open(&path, 0o666);
    let said = ask().map(|said| String::from_utf8_lossy(&said.stdout).into_owned()).expect("perl");
    assert!(said.contains("only the owner of the family and root may ask"), "{said}");
    assert_eq!(family.status("web")["state"], "up");
    family.shut_down();
}

#[test]
fn whoever_sends_nonsense_or_never_reads_disturbs_nobody() {
    let mut family = Family::up(
        "[service.web]\ncommand = \"ACTORS/polite\"\n\
         [service.flood]\ncommand = \"ACTORS/log_flood 20000 100\"\nrestart = \"never\"\n\
         [service.other]\nshell = true\ncommand = \"trap 'echo heard' USR1; echo listening; while :; do sleep 0.05; done\"\n",
    );
    family.expect("other | listening");
    let path = socket(&family.home);
    let connect = || UnixStream::connect(&path).expect("the supervisor listens");
    let mut strangers: Vec<UnixStream> = Vec::new();
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\xff\xff\xff\xff",
        b"\x02\x00\x00\x00{}",
        b"\x05\x00",
        b"",
        &frame("[1,2,3]"),
        &frame(r#"{"id":7,"request":"status","names":[]}"#),
    ] {
        let mut stranger = connect();
        stranger.write_all(bytes).expect("to send");
        strangers.push(stranger);
    }
    // Follows everything and reads nothing.
    let mut deaf = connect();
    deaf.write_all(&frame(HELLO)).expect("to send");
    let follow = r#"{"id":2,"request":"logs","names":[],"follow":true,"since":null,"lines":null}"#;
    deaf.write_all(&frame(follow)).expect("to send");
    family.expect("flood exited cleanly");
    assert_eq!(family.status("web")["state"], "up");
    assert_eq!(family.home.ctl(&["signal", "USR1", "other"]).code, Some(0));
    family.expect("other | heard");
    // Who asked before saying hello was told, and put out.
    let mut answer = Vec::new();
    strangers.last_mut().expect("the last one").read_to_end(&mut answer).expect("an answer, then the end");
    assert!(String::from_utf8_lossy(&answer).contains("bad-request"), "{answer:?}");
    let (code, _) = family.shut_down();
    assert_eq!(code, Some(0));
}

/// The base in which a user without a runtime directory has its families, removed at the end.
struct Base(PathBuf);

impl Drop for Base {
    fn drop(&mut self) {
        drop(fs::remove_dir(&self.0));
    }
}

#[test]
fn root_finds_the_family_of_another_user_by_its_name() {
    if !is_root() {
        return skipped("only root may speak to the families of others");
    }
    let home = reachable("[service.web]\ncommand = \"sleep 100000\"\n");
    let user = 1_200_000_000 + std::process::id();
    let base = Base(PathBuf::from(format!("/tmp/doula-{user}")));
    let program = home.dir.join("doula-of-this-user");
    fs::copy(env!("CARGO_BIN_EXE_doula"), &program).expect("a copy that this user may execute");
    let mut command = home.command("setpriv");
    command.args([format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".to_owned()]);
    command.arg(&program).arg("up").env_remove("XDG_RUNTIME_DIR");
    let mut family = Family::with(home, command);
    family.expect("web started");
    assert!(base.0.is_dir());
    assert_eq!(family.status("web")["state"], "up");
    let said = family.home.ctl_of("none-of-this-name", &["status"]);
    let others = format!("{} of user {user}", family.home.name);
    assert!(said.code == Some(2) && said.err.contains(&others), "{said:?}");
    assert_eq!(family.home.ctl(&["shutdown"]).code, Some(0));
    family.end();
}

#[test]
fn root_finds_the_family_of_another_user_also_in_an_unusual_runtime_directory() {
    if !is_root() {
        return skipped("only root may speak to the families of others");
    }
    let home = reachable("[service.web]\ncommand = \"sleep 100000\"\n");
    let user = 1_300_000_000 + std::process::id();
    let unusual = home.dir.join("unusual");
    fs::create_dir(&unusual).expect("a folder");
    std::os::unix::fs::chown(&unusual, Some(user), Some(user)).expect("to give it away");
    let program = home.dir.join("doula-of-this-user");
    fs::copy(env!("CARGO_BIN_EXE_doula"), &program).expect("a copy that this user may execute");
    let mut command = home.command("setpriv");
    command.args([format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".to_owned()]);
    command.arg(&program).arg("up").env("XDG_RUNTIME_DIR", &unusual);
    let mut family = Family::with(home, command);
    family.expect("web started");
    assert!(unusual.join("doula").join(&family.home.name).is_dir());
    assert_eq!(family.status("web")["state"], "up");
    assert_eq!(family.home.ctl(&["shutdown"]).code, Some(0));
    family.end();
}
