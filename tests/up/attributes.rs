//! Every attribute of a service is seen in its running process; a wrong one is one clear error, and nobody else is
//! touched.

use crate::actors::actor;
use crate::contain::skipped;
use crate::family::{Family, Home, count, place};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::PathBuf;

/// What the service `web` of this family says before it ends well.
fn dump(home: Home) -> Vec<String> {
    let (code, lines) = Family::start(home, &[]).end();
    assert_eq!(code, Some(0), "{}", lines.join("\n"));
    lines.iter().filter_map(|line| line.strip_prefix("web | ")).map(str::to_owned).collect()
}

fn expect_lines(dump: &[String], expected: &[&str]) {
    for line in expected {
        assert!(dump.iter().any(|said| said == line), "no line `{line}` in\n{}", dump.join("\n"));
    }
}

/// The rest of the line that begins so.
fn said<'a>(dump: &'a [String], name: &str) -> &'a str {
    let found = dump.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("nothing is said of {name} in\n{}", dump.join("\n")))
}

/// Our own nice value and `oom_score_adj`.
fn own_priorities() -> (i32, i32) {
    let stat = fs::read_to_string("/proc/self/stat").expect("/proc");
    let rest = stat.rsplit_once(") ").expect("a name in brackets").1;
    let nice = rest.split(' ').nth(16).expect("field 19").parse().expect("a number");
    let score =
        fs::read_to_string("/proc/self/oom_score_adj").expect("/proc").trim().parse().expect("a number");
    (nice, score)
}

/// The highest CPU that is ours.
fn highest_cpu() -> String {
    let status = fs::read_to_string("/proc/self/status").expect("/proc");
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("its line");
    list.trim().rsplit(['-', ',']).next().expect("one").to_owned()
}

#[test]
fn arguments_environment_directory_and_priorities_arrive() {
    let (nice, score) = own_priorities();
    let (nice, score) = ((nice + 3).min(19), (score + 7).min(1000));
    let cpu = highest_cpu();
    let home = Home::new(&format!(
        "[env]\nFAMILY = \"all of us\"\nPORT = 1\n\
         [service.web]\nkind = \"oneshot\"\ndir = \"work\"\numask = \"027\"\nnice = {nice}\noom-score = {score}\n\
         command = [\"ACTORS/env_dump\", \"one\", \"two words\", \"${{PORT}}\", \"\"]\naffinity = \"{cpu}\"\n\
         no-new-privs = true\nnotify = true\nenv-inherit = [\"PATH\", \"INHERITED_*\"]\n\
         env-file = [\".env\", {{ path = \"missing\", optional = true }}]\n\
         env = {{ PORT = 8080, URL = \"http://h:${{PORT}}\", OPTION = \"${{NONE:-x}}\", DOLLAR = \"$$\" }}\n"
    ));
    fs::create_dir(home.dir.join("work")).expect("a directory");
    fs::write(home.dir.join(".env"), "FROM_FILE='a b'\nPORT=2\n").expect("a file");
    let mut command = home.command(env!("CARGO_BIN_EXE_doula"));
    command.arg("up").env("INHERITED_1", "yes").env("OTHER", "no");
    let work = fs::canonicalize(home.dir.join("work")).expect("it is there");
    let (code, lines) = Family::with(home, command).end();
    assert_eq!(code, Some(0), "{}", lines.join("\n"));
    let dump: Vec<String> =
        lines.iter().filter_map(|line| line.strip_prefix("web | ")).map(str::to_owned).collect();
    expect_lines(&dump, &["arg.1 one", "arg.2 two words", "arg.3 8080", "Umask 0027", "NoNewPrivs 1"]);
    expect_lines(&dump, &["env.PORT 8080", "env.URL http://h:8080", "env.OPTION x", "env.DOLLAR $"]);
    expect_lines(&dump, &["env.FROM_FILE a b", "env.FAMILY all of us", "env.INHERITED_1 yes"]);
    expect_lines(&dump, &[&format!("nice {nice}"), &format!("oom_score_adj {score}")]);
    expect_lines(&dump, &[&format!("Cpus_allowed_list {cpu}"), &format!("cwd {}", work.display())]);
    expect_lines(&dump, &["env.DOULA_SERVICE web", "SigBlk 0000000000000000"]);
    let pid = said(&dump, "pid");
    expect_lines(&dump, &[&format!("pgid {pid}"), &format!("sid {pid}"), "tty 0", "fd.0 /dev/null"]);
    assert!(!said(&dump, "env.NOTIFY_SOCKET").is_empty());
    let strays = ["env.HOME ", "env.OTHER ", "env.LISTEN_", "fd.3 ", "fd.4 ", "arg.5 "];
    let found = |stray: &&str| dump.iter().any(|line| line.starts_with(*stray));
    assert!(!strays.iter().any(found), "{}", dump.join("\n"));
}

/// Each limit with its name in `/proc/PID/limits`, and a value under which a small program lives.
const RLIMITS: [(&str, &str, u64); 16] = [
    ("cpu", "Max cpu time", 1000),
    ("fsize", "Max file size", 1 << 20),
    ("data", "Max data size", 1 << 30),
    ("stack", "Max stack size", 4 << 20),
    ("core", "Max core file size", 0),
    ("rss", "Max resident set", 1 << 30),
    ("nproc", "Max processes", 3000),
    ("nofile", "Max open files", 40),
    ("memlock", "Max locked memory", 8192),
    ("as", "Max address space", 1 << 33),
    ("locks", "Max file locks", 7),
    ("sigpending", "Max pending signals", 11),
    ("msgqueue", "Max msgqueue size", 8192),
    ("nice", "Max nice priority", 0),
    ("rtprio", "Max realtime priority", 0),
    ("rttime", "Max realtime timeout", 1_000_000),
];

#[test]
fn every_resource_limit_arrives_soft_and_hard_and_the_others_are_ours() {
    let ours = fs::read_to_string("/proc/self/limits").expect("/proc");
    let hard_of = |title: &str| {
        let line = ours.lines().find_map(|line| line.strip_prefix(title)).expect("a line of limits");
        line.split_whitespace().nth(1).expect("the hard limit").parse().unwrap_or(u64::MAX)
    };
    let values = RLIMITS.map(|(name, title, wanted)| (name, title, wanted.min(hard_of(title))));
    let keys = values.map(|(name, _, hard)| format!("{name} = {{ soft = {}, hard = {hard} }}", hard / 2));
    let service = "[service.web]\nkind = \"oneshot\"\ncommand = \"ACTORS/env_dump\"\n";
    let said = dump(Home::new(&format!("{service}rlimits = {{ {} }}\n", keys.join(", "))));
    for (_, title, hard) in values {
        let line = said.iter().find_map(|line| line.strip_prefix("limit ")?.strip_prefix(title));
        let words: Vec<&str> = line.expect("a line of limits").split_whitespace().collect();
        assert_eq!(words[..2], [(hard / 2).to_string(), hard.to_string()], "{title}");
    }
    // doula raises its own limit of files; a service starts with the one that doula was given.
    let untouched = dump(Home::new(service));
    for line in ours.lines().skip(1) {
        assert!(untouched.iter().any(|said| said == &format!("limit {line}")), "{line}");
    }
}

#[test]
fn sockets_arrive_from_fd_3_on_with_their_names_and_the_number_of_the_process() {
    let dump = dump(Home::new(
        "[service.web]\nkind = \"oneshot\"\ncommand = \"ACTORS/env_dump\"\nenv = { LISTEN_PID = 1 }\n\
         sockets = [{ name = \"a\", unix = \"a.sock\" }, { unix = \"b.sock\" }, { name = \"c\", udp = \"127.0.0.1:0\" }]\n",
    ));
    expect_lines(&dump, &["env.LISTEN_FDS 3", "env.LISTEN_FDNAMES a:web:c"]);
    assert_eq!(said(&dump, "env.LISTEN_PID"), said(&dump, "pid"));
    assert!(["fd.3", "fd.4", "fd.5"].iter().all(|fd| said(&dump, fd).starts_with("socket:")));
    assert!(!dump.iter().any(|line| line.starts_with("fd.6 ")), "{}", dump.join("\n"));
}

#[test]
fn standard_input_is_what_the_configuration_says() {
    for (stdin, shown) in [
        ("\"null\"", "/dev/null"),
        ("\"pipe\"", "pipe:["),
        ("\"terminal\"", "/dev/pts/"),
        ("{ file = \"doula.toml\" }", "doula.toml"),
    ] {
        let dump = dump(Home::new(&format!(
            "[service.web]\nkind = \"oneshot\"\ncommand = \"ACTORS/env_dump\"\nstdin = {stdin}\n"
        )));
        assert!(said(&dump, "fd.0").contains(shown), "{stdin}: {}", dump.join("\n"));
        let terminal = stdin.contains("terminal");
        assert_eq!(said(&dump, "tty") != "0", terminal, "{stdin}: {}", dump.join("\n"));
        assert_eq!(said(&dump, "fd.1").starts_with("/dev/pts/"), terminal, "{stdin}");
    }
}

#[test]
fn shells_and_instances_get_what_is_theirs() {
    let (code, lines) = Family::up(
        "[service.sum]\nkind = \"oneshot\"\nshell = true\ncommand = \"echo $((1 + 2)) ${NONE:-none}\"\n\
         [service.many]\nkind = \"oneshot\"\ninstances = 2\ncommand = \"ACTORS/env_dump ${DOULA_INSTANCE}\"\n",
    )
    .end();
    assert_eq!(code, Some(0), "{}", lines.join("\n"));
    place(&lines, "sum | 3 none");
    for number in [1, 2] {
        place(&lines, &format!("many@{number} | arg.1 {number}"));
        place(&lines, &format!("many@{number} | env.DOULA_INSTANCE {number}"));
    }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A family in a folder that its users can reach, with `./env_dump` beside its configuration.
pub(crate) fn reachable(configuration: &str) -> Home {
    let home = Home::new(configuration);
    fs::set_permissions(&home.dir, fs::Permissions::from_mode(0o755)).expect("chmod");
    fs::copy(actor("env_dump"), home.dir.join("env_dump")).expect("a copy");
    home
}

#[test]
fn user_groups_and_capabilities_are_those_of_the_configuration() {
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    if !is_root() || !accounts.contains("\nnobody:x:65534:65534:") {
        return skipped("only root can run a service as another user, and `nobody` must be one");
    }
    let service = "[service.web]\nkind = \"oneshot\"\ncommand = \"./env_dump\"\n";
    let user = dump(reachable(&format!("{service}user = \"nobody\"\ngroup = 7\ngroups = [9, 8]\n")));
    expect_lines(&user, &["Uid 65534 65534 65534 65534", "Gid 7 7 7 7", "Groups 8 9"]);
    expect_lines(&user, &["env.USER nobody", "env.LOGNAME nobody", "CapEff 0000000000000000"]);
    assert_ne!(said(&user, "env.HOME"), "", "that of the account");

    let bind =
        ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|set| format!("{set} 0000000000000400"));
    let bind = bind.each_ref().map(String::as_str);
    let listed = "capabilities = [\"NET_BIND_SERVICE\"]\n";
    expect_lines(&dump(reachable(&format!("{service}user = \"nobody\"\n{listed}"))), &bind);
    expect_lines(&dump(reachable(&format!("{service}{listed}"))), &bind);

    let bounded = "capabilities = { bounding = [\"KILL\", \"CHOWN\"], ambient = [\"KILL\"] }\n";
    let bounded = dump(reachable(&format!("{service}user = 4711\n{bounded}")));
    expect_lines(&bounded, &["Uid 4711 4711 4711 4711", "Gid 4711 4711 4711 4711"]);
    expect_lines(
        &bounded,
        &["CapBnd 0000000000000021", "CapEff 0000000000000020", "CapAmb 0000000000000020"],
    );
}

/// A wrong value for each key of a service, and what must be said of it.
const WRONG: [(&str, &str, &str); 36] = [
    ("command", "[]", "command"),
    ("shell", "\"sh\"", "expected"),
    ("kind", "\"demon\"", "demon"),
    ("schedule", "\"61 * * * *\"", "schedule"),
    ("instances", "0", "1"),
    ("autostart", "1", "expected"),
    ("essential", "\"no\"", "expected"),
    ("requires", "[\"nobody-here\"]", "nobody-here"),
    ("wants", "[\"nobody-here\"]", "nobody-here"),
    ("after", "\"web\"", "expected"),
    ("restart", "\"sometimes\"", "sometimes"),
    ("stop", "\"SIGNONE\"", "SIGNONE"),
    ("ready", "{ fd = 3, notify = true }", "both"),
    ("watchdog", "5", "expected"),
    ("liveness", "{ tcp = \"nowhere\" }", "nowhere"),
    ("pre-start", "{ timeout = \"1s\" }", "command"),
    ("post-stop", "7", "expected"),
    ("reload", "{ signal = \"NONE\" }", "NONE"),
    ("dir", "5", "expected"),
    ("env", "{ \"A=B\" = 1 }", "A=B"),
    ("env-file", "\"missing.env\"", "missing.env"),
    ("env-inherit", "\"some\"", "some"),
    ("user", "\"nobody-of-this-name\"", "nobody-of-this-name"),
    ("group", "\"nobodies-of-this-name\"", "nobodies-of-this-name"),
    ("groups", "[\"nobodies-of-this-name\"]", "nobodies-of-this-name"),
    ("capabilities", "[\"FLY\"]", "FLY"),
    ("no-new-privs", "\"yes\"", "expected"),
    ("umask", "\"888\"", "888"),
    ("rlimits", "{ nofile = \"few\" }", "few"),
    ("limits", "{ memory = \"much\" }", "much"),
    ("nice", "99", "19"),
    ("affinity", "\"3-1\"", "3-1"),
    ("oom-score", "2000", "1000"),
    ("stdin", "\"keyboard\"", "keyboard"),
    ("sockets", "[{ name = \"http\" }]", "tcp"),
    ("log", "{ flood = 0 }", "1"),
];

/// Two keys that say yes or a number; their wrong values are told as those of `shell` and `nice`.
const ALIKE: [&str; 2] = ["notify", "fd-store"];

#[test]
fn a_wrong_value_of_any_key_is_one_error_with_its_place() {
    let home = Home::new("");
    for (key, value, part) in WRONG {
        let command = if key == "command" { "" } else { "command = \"true\"\n" };
        home.write(&format!("[service.web]\n{command}{key} = {value}\n"));
        let said = home.doula(&["check"]);
        assert_eq!(said.code, Some(2), "{key}: {said:?}");
        assert!(said.err.contains(part), "{key}: no `{part}` in {}", said.err);
        assert_eq!(said.err.matches("error: ").count(), 1, "{key}: {}", said.err);
        let line = if key == "command" { 3 } else { 4 };
        assert!(said.err.contains(&format!("doula.toml:{line}:")), "{key}: {}", said.err);
    }
    let schema: Value = serde_json::from_str(&home.doula(&["check", "--schema"]).out).expect("JSON");
    let service = &schema["properties"]["service"]["additionalProperties"]["properties"];
    let known: BTreeSet<&str> = service.as_object().expect("the keys").keys().map(String::as_str).collect();
    let tried: BTreeSet<&str> = WRONG.iter().map(|(key, ..)| *key).chain(ALIKE).collect();
    assert_eq!(known, tried, "a key is without its test here");
}

/// A family of [`with_cases`]: each wrong service is told once by its text, and the right one lives on.
fn expect_each_told(mut family: Family, cases: &[(&str, &str)]) {
    for _ in cases {
        family.expect(" is failed, because it could not be started");
    }
    let (code, lines) = family.shut_down();
    let text = lines.join("\n");
    for (index, (_, expected)) in cases.iter().enumerate() {
        let own: Vec<&String> = lines.iter().filter(|line| line.contains(&format!("bad{index}: "))).collect();
        assert!(own.len() == 1 && own[0].contains(expected), "bad{index}, `{expected}`: {own:?}\n{text}");
    }
    assert_eq!(count(&lines, "good started"), 1, "{text}");
    assert!(place(&lines, "the family shuts down") < place(&lines, "good exited cleanly"), "{text}");
    assert_eq!(code, Some(0), "it was asked to end: {text}");
}

/// Their configuration; every key that a case does not give is right.
fn with_cases(cases: &[(&str, &str)]) -> String {
    let mut text =
        "[service.good]\ncommand = \"ACTORS/polite\"\nready = { log-line = \"ready\" }\n".to_owned();
    for (index, (keys, _)) in cases.iter().enumerate() {
        let command = if keys.starts_with("command") { "" } else { "command = \"true\"\n" };
        text += &format!("[service.bad{index}]\nrestart = \"never\"\nafter = [\"good\"]\n{command}{keys}\n");
    }
    text
}

#[test]
fn a_service_that_cannot_be_born_is_told_once_and_leaves_the_others_alone() {
    let cases = [
        ("command = \"no-such-program\"", "`no-such-program` was not found in PATH="),
        ("command = \"./none\"", "`./none` does not exist (seen from `"),
        ("command = \"/etc/passwd\"", "`/etc/passwd` is not executable (hint: chmod +x /etc/passwd)"),
        ("command = \"/etc\"", "`/etc` is a directory"),
        ("command = \"./script\"", "`./script` needs `/no/such/shell`, which does not exist"),
        ("command = \"./junk\"", "`./junk` is not a program"),
        ("dir = \"none\"", "of `true` cannot be entered: no such file or directory"),
        ("dir = \"junk\"", "of `true` cannot be entered: not a directory"),
        ("stdin = { file = \"none.txt\" }", "none.txt` cannot be opened: no such file or directory"),
        ("affinity = \"8191\"", "sched_setaffinity: EINVAL"),
        ("rlimits = { nofile = 99999999999 }", "setrlimit(nofile): EPERM"),
    ];
    let home = Home::new(&with_cases(&cases));
    for (name, text) in [("script", "#!/no/such/shell\n"), ("junk", "\u{1}\u{2}")] {
        fs::write(home.dir.join(name), text).expect("a file");
        fs::set_permissions(home.dir.join(name), fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    expect_each_told(Family::start(home, &[]), &cases);
}

/// A directory that nobody but root may enter, removed when dropped.
struct Locked(PathBuf);

impl Locked {
    fn new() -> Locked {
        let place = std::env::temp_dir().join(format!("doula-up-locked-{}", std::process::id()));
        fs::DirBuilder::new().mode(0o000).create(&place).expect("a directory");
        Locked(place)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        drop(fs::remove_dir(&self.0));
    }
}

#[test]
fn what_only_root_can_give_is_told_once_to_an_ordinary_user() {
    let locked = Locked::new();
    let within = |keys: &str| keys.replace("LOCKED", &locked.0.display().to_string());
    let dir = within("dir = \"LOCKED\"");
    let program = within("command = \"LOCKED/program\"");
    let input = within("stdin = { file = \"LOCKED/text\" }");
    let cases = [
        (
            "user = 0",
            "setgroups and setresgid: EPERM: operation not permitted (hint: only root can run a service",
        ),
        ("groups = [0]", "setgroups and setresgid: EPERM"),
        ("nice = -20", "setpriority: EACCES: permission denied (hint: without root"),
        ("oom-score = -1000", "writing oom_score_adj: EACCES"),
        ("capabilities = []", "setting capabilities: EPERM"),
        ("capabilities = { ambient = [\"SYS_ADMIN\"] }", "setting capabilities: EPERM"),
        (&dir, "cannot be entered: permission denied"),
        (&program, "/program` may not be executed: permission denied (hint: its user"),
        (&input, "cannot be opened: permission denied"),
    ];
    let home = Home::new(&with_cases(&cases));
    let mut command = home.command(env!("CARGO_BIN_EXE_doula"));
    if is_root() {
        // Where this test was built may be closed to others.
        let copies = [("doula", env!("CARGO_BIN_EXE_doula").into()), ("polite", actor("polite"))];
        for (name, program) in &copies {
            fs::copy(program, home.dir.join(name)).expect("a copy");
        }
        home.write(&with_cases(&cases).replace("ACTORS/polite", "./polite"));
        chown(&home.dir, Some(65534), Some(65534)).expect("chown");
        command = home.command("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "./doula"]);
    }
    command.arg("up");
    if is_root() && !home.command("setpriv").arg("true").status().is_ok_and(|status| status.success()) {
        return skipped("no setpriv here");
    }
    expect_each_told(Family::with(home, command), &cases);
}
