//! Every key of `doula.toml`: its name, its kind of value, its default, what it means, and an example.
//!
//! The one table behind three things that must never differ: what is accepted ([`super::check`]), the JSON
//! schema ([`super::schema()`]), and the reference in `docs/configuration.md`.

use super::pool_keys::POOL;
use doula_model::plan::Resource;

/// One key of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// As it is written.
    pub(crate) name: &'static str,
    /// What may stand behind it.
    pub(crate) kind: Kind,
    /// What holds without it, in words or as TOML.
    pub(crate) default: &'static str,
    /// What it means.
    pub(crate) doc: &'static str,
    /// A value, as TOML.
    pub(crate) example: &'static str,
}

/// What may stand behind a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Any string.
    Text,
    /// A name of a service or family.
    Name,
    /// `true` or `false`.
    Bool,
    /// A whole number in this range, both ends included.
    Whole(i64, i64),
    /// A number in this range, both ends included.
    Number(f64, f64),
    /// `"1m30s"`.
    Duration,
    /// `"512M"`, or a number of bytes.
    Size,
    /// `"022"` or `0o022`.
    Octal,
    /// `"TERM"`.
    Signal,
    /// `[0, 1]` or `"0-3,8"`.
    Cpus,
    /// `"NET_BIND_SERVICE"`.
    Capability,
    /// `"1.5"`, `1.5` or `"150%"`.
    CpuShare,
    /// A number, a size, or `"unlimited"`.
    LimitValue,
    /// A non-empty list of words, or a string that is split into words.
    Command,
    /// A user or group: a name or a number.
    Account,
    /// A cron line.
    Schedule,
    /// A regular expression.
    Regex,
    /// An exit code or a signal.
    Outcome,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `false`.
    False,
    /// A list of such values.
    List(&'static Kind),
    /// A table with these keys.
    Table(&'static Section),
    /// A table from free names to such values.
    Map(&'static Kind),
    /// Environment variables: names to strings, numbers or truth values.
    Env,
    /// A value of the first kind that fits its type.
    Either(&'static [Kind]),
    /// Such keys of a service as may be given for all of them.
    Defaults,
}

/// The keys of one table.
#[derive(Debug)]
pub(crate) struct Section {
    /// What the table is, for people: `a service`.
    pub(crate) what: &'static str,
    /// Its keys, in the order of the reference.
    pub(crate) keys: &'static [Key],
    /// Of these keys exactly one must be there (none: no such rule).
    pub(crate) one_of: &'static [&'static str],
}

/// Keys of a service that make no sense for all services together.
pub(crate) const NOT_IN_DEFAULTS: &[&str] = &["command", "sockets", "schedule"];

/// The whole file.
pub(crate) static FILE: Section = Section { what: "the file", keys: FILE_KEYS, one_of: &[] };

const FILE_KEYS: &[Key] = &[
    Key {
        name: "name",
        kind: Kind::Name,
        default: "the name of the directory",
        doc: "The name of the family, by which `doula ctl --name` finds it.",
        example: "\"shop\"",
    },
    Key {
        name: "env",
        kind: Kind::Env,
        default: "none",
        doc: "Environment variables of every service. A service's own `env` goes first.",
        example: "{ RUST_LOG = \"info\" }",
    },
    Key {
        name: "env-file",
        kind: ENV_FILE,
        default: "none",
        doc: "Files of `NAME=value` lines for every service, relative to this file.",
        example: "\".env\"",
    },
    Key {
        name: "defaults",
        kind: Kind::Defaults,
        default: "none",
        doc: "Keys that hold for every service that does not say otherwise. The tables `env`, `rlimits`, `limits`, \
              `restart`, `stop` and `log` are joined key by key; every other key is replaced as a whole.",
        example: "{ restart = \"always\", stop = { grace = \"5s\" } }",
    },
    Key {
        name: "service",
        kind: Kind::Map(&Kind::Table(&SERVICE)),
        default: "none",
        doc: "The services by name, one table each: `[service.NAME]`.",
        example: "{ web = { command = \"./web\" } }",
    },
    Key {
        name: "pool",
        kind: Kind::Map(&Kind::Table(&POOL)),
        default: "none",
        doc: "The pools by name, one table each: `[pool.NAME]`. A pool is a service of several workers at the same sockets.",
        example: "{ app = { command = \"./app\", workers = \"auto\", sockets = [{ tcp = \"*:80\" }] } }",
    },
];

const ENV_FILE: Kind =
    Kind::Either(&[Kind::Text, Kind::Table(&ENV_FILE_TABLE), Kind::List(&Kind::Either(ENV_FILE_ITEM))]);
const ENV_FILE_ITEM: &[Kind] = &[Kind::Text, Kind::Table(&ENV_FILE_TABLE)];

pub(crate) static ENV_FILE_TABLE: Section = Section {
    what: "an environment file",
    keys: &[
        Key {
            name: "path",
            kind: Kind::Text,
            default: "required",
            doc: "Where it is.",
            example: "\".env.local\"",
        },
        Key {
            name: "optional",
            kind: Kind::Bool,
            default: "false",
            doc: "Whether it may be missing.",
            example: "true",
        },
    ],
    one_of: &["path"],
};

/// One service.
pub(crate) static SERVICE: Section = Section { what: "a service", keys: SERVICE_KEYS, one_of: &["command"] };

const NAMES: Kind = Kind::List(&Kind::Text);
const ANY_U32: Kind = Kind::Whole(0, u32::MAX as i64);
/// As many instances as one service may have.
pub(crate) const MAX_INSTANCES: i64 = 1000;

const SERVICE_KEYS: &[Key] = &[
    Key {
        name: "command",
        kind: Kind::Command,
        default: "required",
        doc: "The program and its arguments: a list of words, or a string that is split into words as a shell would, \
              but without a shell. A program without a slash is searched in `PATH`.",
        example: "[\"postgres\", \"-D\", \"data\"]",
    },
    Key {
        name: "shell",
        kind: Kind::Bool,
        default: "false",
        doc: "Runs the commands of this service that are strings by `/bin/sh -c`. `${VAR}` in them is then the shell's.",
        example: "true",
    },
    Key {
        name: "kind",
        kind: Kind::Choice(&["daemon", "oneshot"]),
        default: "\"daemon\"",
        doc: "A `daemon` runs until it is stopped; a `oneshot` runs to its end, and is ready when it ended well.",
        example: "\"oneshot\"",
    },
    Key {
        name: "schedule",
        kind: Kind::Either(&[Kind::Schedule, Kind::Table(&SCHEDULE)]),
        default: "none",
        doc: "Makes it a job that runs to its end whenever it is due: minute, hour, day of month, month, day of week, \
              time zone. Without a zone: that of the machine.",
        example: "\"0 3 * * * Europe/Berlin\"",
    },
    Key {
        name: "instances",
        kind: Kind::Whole(1, MAX_INSTANCES),
        default: "one, under the plain name",
        doc: "So many of it, as `web@1`, `web@2` …; each finds its number in `DOULA_INSTANCE`. Instances that name the \
              same socket share it. A dependency on `web` is one on all of them.",
        example: "2",
    },
    Key {
        name: "autostart",
        kind: Kind::Bool,
        default: "true",
        doc: "Whether it starts with the family.",
        example: "false",
    },
    Key {
        name: "essential",
        kind: Kind::Bool,
        default: "false",
        doc: "Its end (one that no restart follows) ends the family, with its exit code.",
        example: "true",
    },
    Key {
        name: "requires",
        kind: NAMES,
        default: "[]",
        doc: "Services that are started too and must be ready before; it stops before they do, and when they fail it \
              does not start.",
        example: "[\"db\"]",
    },
    Key {
        name: "wants",
        kind: NAMES,
        default: "[]",
        doc: "Services that are started too, and before; it starts when they are ready or have failed.",
        example: "[\"cache\"]",
    },
    Key {
        name: "after",
        kind: NAMES,
        default: "[]",
        doc: "Only the order: if both start, these are first; if both stop, these are last.",
        example: "[\"migrate\"]",
    },
    Key {
        name: "restart",
        kind: Kind::Either(&[Kind::Choice(RESTART), Kind::Table(&RESTART_TABLE)]),
        default: "\"on-failure\"; \"never\" for a oneshot or scheduled job",
        doc: "When it starts again by itself.",
        example: "\"always\"",
    },
    Key {
        name: "stop",
        kind: Kind::Either(&[Kind::Signal, Kind::Table(&STOP)]),
        default: "{ signal = \"TERM\", scope = \"main\", grace = \"10s\", leftover-grace = \"5s\" }",
        doc: "How it is ended. After the grace time everything that is left of it gets SIGKILL.",
        example: "{ signal = \"INT\", grace = \"30s\" }",
    },
    Key {
        name: "ready",
        kind: Kind::Either(&[Kind::Choice(&["started", "notify"]), Kind::Table(&READY)]),
        default: "\"started\"",
        doc: "What shows that it is ready, so that those who require it may start: `started` (it was executed), \
              `notify` (`READY=1` by sd_notify), or a table.",
        example: "{ tcp = \"127.0.0.1:5432\", timeout = \"30s\" }",
    },
    Key {
        name: "watchdog",
        kind: Kind::Duration,
        default: "none",
        doc: "The longest silence between two `WATCHDOG=1` messages (sd_notify); then it is killed and has failed.",
        example: "\"30s\"",
    },
    Key {
        name: "liveness",
        kind: Kind::Table(&LIVENESS),
        default: "none",
        doc: "A probe that must succeed again and again; else it is stopped and has failed.",
        example: "{ http = \"http://127.0.0.1:8080/health\", interval = \"10s\" }",
    },
    Key {
        name: "pre-start",
        kind: HOOK,
        default: "none",
        doc: "A command before each start; if it fails, the start has failed.",
        example: "[\"./migrate\"]",
    },
    Key {
        name: "post-stop",
        kind: HOOK,
        default: "none",
        doc: "A command after each end, when nothing of the service is left.",
        example: "[\"rm\", \"-f\", \"web.pid\"]",
    },
    Key {
        name: "reload",
        kind: Kind::Either(&[Kind::Command, Kind::Table(&RELOAD)]),
        default: "it is restarted",
        doc: "How it reads its configuration again: a command, or a signal.",
        example: "{ signal = \"HUP\" }",
    },
    Key {
        name: "dir",
        kind: Kind::Text,
        default: "the directory of this file",
        doc: "Working directory, relative to this file.",
        example: "\"/var/lib/shop\"",
    },
    Key {
        name: "env",
        kind: Kind::Env,
        default: "none",
        doc: "Environment variables. Later ones may use earlier ones: `${VAR}`, `${VAR:-default}`; `$$` is a dollar sign.",
        example: "{ PORT = 8080, URL = \"http://localhost:${PORT}\" }",
    },
    Key {
        name: "env-file",
        kind: ENV_FILE,
        default: "none",
        doc: "Files of `NAME=value` lines, relative to this file; `env` goes before them.",
        example: "[\".env\", { path = \".env.local\", optional = true }]",
    },
    Key {
        name: "env-inherit",
        kind: Kind::Either(&[Kind::Choice(&["all", "none"]), Kind::List(&Kind::Text)]),
        default: "\"all\"",
        doc: "Which variables of doula's own environment it gets; a `*` at the end of a name stands for any rest.",
        example: "[\"PATH\", \"LC_*\"]",
    },
    Key {
        name: "user",
        kind: Kind::Account,
        default: "that of doula",
        doc: "Who it runs as; its groups come along, and HOME, USER, LOGNAME and SHELL are set unless `env` sets them. \
              Variables in it, and in `group` and `groups`, are those of doula itself.",
        example: "\"root\"",
    },
    Key {
        name: "group",
        kind: Kind::Account,
        default: "the user's primary group",
        doc: "Its group.",
        example: "0",
    },
    Key {
        name: "groups",
        kind: Kind::List(&Kind::Account),
        default: "the user's",
        doc: "Its supplementary groups.",
        example: "[\"root\"]",
    },
    Key {
        name: "capabilities",
        kind: Kind::Either(&[Kind::List(&Kind::Capability), Kind::Table(&CAPABILITIES)]),
        default: "what the user has",
        doc: "A list: what the program holds, and nothing else can ever be had.",
        example: "[\"NET_BIND_SERVICE\"]",
    },
    Key {
        name: "no-new-privs",
        kind: Kind::Bool,
        default: "false",
        doc: "No setuid program gives it more privileges (PR_SET_NO_NEW_PRIVS).",
        example: "true",
    },
    Key {
        name: "umask",
        kind: Kind::Octal,
        default: "that of doula",
        doc: "File mode creation mask, in octal.",
        example: "\"022\"",
    },
    Key {
        name: "rlimits",
        kind: Kind::Table(&RLIMITS),
        default: "those of doula",
        doc: "Limits of each process (setrlimit(2)).",
        example: "{ nofile = 4096, core = \"unlimited\" }",
    },
    Key {
        name: "limits",
        kind: Kind::Table(&LIMITS),
        default: "none",
        doc: "Limits of the service as a whole, by cgroups where they can be used.",
        example: "{ pids = 100, memory = \"512M\", cpu = \"150%\" }",
    },
    Key {
        name: "nice",
        kind: Kind::Whole(-20, 19),
        default: "that of doula",
        doc: "Nice value.",
        example: "10",
    },
    Key {
        name: "affinity",
        kind: Kind::Cpus,
        default: "all",
        doc: "The CPUs it may run on.",
        example: "\"0-3,8\"",
    },
    Key {
        name: "oom-score",
        kind: Kind::Whole(-1000, 1000),
        default: "that of doula",
        doc: "`oom_score_adj`: the higher, the sooner the kernel ends it when memory runs out.",
        example: "500",
    },
    Key {
        name: "stdin",
        kind: Kind::Either(&[Kind::Choice(&["null", "pipe", "terminal"]), Kind::Table(&STDIN)]),
        default: "\"null\"",
        doc: "Where its standard input comes from. `pipe` and `terminal` are for `doula ctl attach`.",
        example: "{ file = \"input.txt\" }",
    },
    Key {
        name: "sockets",
        kind: Kind::List(&Kind::Table(&SOCKET)),
        default: "[]",
        doc: "Sockets that doula opens, keeps over restarts and passes on from fd 3 (LISTEN_FDS, LISTEN_FDNAMES).",
        example: "[{ name = \"http\", tcp = \"127.0.0.1:8080\" }]",
    },
    Key {
        name: "notify",
        kind: Kind::Bool,
        default: "false; true with `ready = \"notify\"`, `watchdog` or `fd-store`",
        doc: "Whether it may speak by sd_notify (NOTIFY_SOCKET).",
        example: "true",
    },
    Key {
        name: "fd-store",
        kind: Kind::Whole(0, 4096),
        default: "0",
        doc: "How many fds it may leave with doula over a restart (`FDSTORE=1`).",
        example: "16",
    },
    Key {
        name: "log",
        kind: Kind::Table(&LOG),
        default: "{ flood = 20000 }",
        doc: "What happens to its output.",
        example: "{ flood = 1000 }",
    },
];

const RESTART: &[&str] = &["always", "on-failure", "never"];
const HOOK: Kind = Kind::Either(&[Kind::Command, Kind::Table(&HOOK_TABLE)]);

/// A command with a time limit.
pub(crate) static HOOK_TABLE: Section = Section {
    what: "a command with a time limit",
    keys: &[
        Key {
            name: "command",
            kind: Kind::Command,
            default: "required",
            doc: "The command.",
            example: "[\"./migrate\"]",
        },
        Key {
            name: "timeout",
            kind: Kind::Duration,
            default: "\"90s\"",
            doc: "How long it may take.",
            example: "\"5m\"",
        },
    ],
    one_of: &["command"],
};

pub(crate) static RELOAD: Section = Section {
    what: "`reload`",
    keys: &[
        Key {
            name: "signal",
            kind: Kind::Signal,
            default: "none",
            doc: "A signal to the main process.",
            example: "\"HUP\"",
        },
        Key {
            name: "command",
            kind: Kind::Command,
            default: "none",
            doc: "A command.",
            example: "[\"nginx\", \"-s\", \"reload\"]",
        },
        Key {
            name: "timeout",
            kind: Kind::Duration,
            default: "\"90s\"",
            doc: "How long the command may take.",
            example: "\"10s\"",
        },
    ],
    one_of: &["signal", "command"],
};

pub(crate) static SCHEDULE: Section = Section {
    what: "`schedule`",
    keys: &[
        Key {
            name: "cron",
            kind: Kind::Schedule,
            default: "required",
            doc: "When it runs.",
            example: "\"*/5 * * * * UTC\"",
        },
        Key {
            name: "overlap",
            kind: Kind::Choice(&["skip", "queue"]),
            default: "\"skip\"",
            doc: "When it is due while the last run goes on: left out, or run directly after.",
            example: "\"queue\"",
        },
    ],
    one_of: &["cron"],
};

pub(crate) static RESTART_TABLE: Section = Section {
    what: "`restart`",
    keys: &[
        Key {
            name: "when",
            kind: Kind::Choice(RESTART),
            default: "\"on-failure\"; \"never\" for a oneshot or scheduled job",
            doc: "After which ends: every one, a bad one, none.",
            example: "\"always\"",
        },
        Key {
            name: "success",
            kind: Kind::List(&Kind::Outcome),
            default: "[]",
            doc: "Exit codes and signals that count as good ends, beside code 0.",
            example: "[2, \"HUP\"]",
        },
        Key {
            name: "delay",
            kind: Kind::Duration,
            default: "\"100ms\"",
            doc: "The pause before the first restart.",
            example: "\"1s\"",
        },
        Key {
            name: "max-delay",
            kind: Kind::Duration,
            default: "\"30s\"",
            doc: "The longest pause.",
            example: "\"5m\"",
        },
        Key {
            name: "factor",
            kind: Kind::Number(1.0, 100.0),
            default: "2",
            doc: "How much the pause grows each time.",
            example: "1.5",
        },
        Key {
            name: "jitter",
            kind: Kind::Number(0.0, 1.0),
            default: "0.1",
            doc: "The random share of a pause.",
            example: "0.2",
        },
        Key {
            name: "reset-after",
            kind: Kind::Duration,
            default: "\"10s\"",
            doc: "After being up this long the pause is `delay` again.",
            example: "\"1m\"",
        },
        Key {
            name: "limit",
            kind: Kind::Either(&[Kind::Table(&START_LIMIT), Kind::False]),
            default: "{ burst = 8, interval = \"1m\" }",
            doc: "How many restarts in which time are too many; then it has failed. A program that cannot be \
                  executed (it is missing, or not allowed) has failed after 5 restarts in a row; one for which \
                  processes, memory or descriptors ran short is tried for ever. `false`: everything is tried \
                  for ever.",
            example: "{ burst = 5, interval = \"1m\" }",
        },
    ],
    one_of: &[],
};

pub(crate) static START_LIMIT: Section = Section {
    what: "`limit`",
    keys: &[
        Key {
            name: "burst",
            kind: Kind::Whole(1, u32::MAX as i64),
            default: "8",
            doc: "So many restarts …",
            example: "3",
        },
        Key {
            name: "interval",
            kind: Kind::Duration,
            default: "\"1m\"",
            doc: "… within this time.",
            example: "\"30s\"",
        },
    ],
    one_of: &[],
};

pub(crate) static STOP: Section = Section {
    what: "`stop`",
    keys: &[
        Key {
            name: "signal",
            kind: Kind::Signal,
            default: "\"TERM\"",
            doc: "The signal that asks it to end.",
            example: "\"QUIT\"",
        },
        Key {
            name: "scope",
            kind: Kind::Choice(&["main", "group", "tree"]),
            default: "\"main\"",
            doc: "Who gets it: the main process, its process group, or every descendant.",
            example: "\"group\"",
        },
        Key {
            name: "grace",
            kind: Kind::Duration,
            default: "\"10s\"",
            doc: "How long the main process has before SIGKILL.",
            example: "\"30s\"",
        },
        Key {
            name: "leftover-grace",
            kind: Kind::Duration,
            default: "\"5s\"",
            doc: "How long what the main process left behind has, between SIGTERM and SIGKILL.",
            example: "\"1s\"",
        },
    ],
    one_of: &[],
};

const TCP: Key = Key {
    name: "tcp",
    kind: Kind::Text,
    default: "none",
    doc: "Succeeds when this host and port accept a connection.",
    example: "\"127.0.0.1:5432\"",
};
const HTTP: Key = Key {
    name: "http",
    kind: Kind::Text,
    default: "none",
    doc: "Succeeds when this URL answers with a status from 200 to 399.",
    example: "\"http://127.0.0.1:8080/health\"",
};
const EXEC: Key = Key {
    name: "exec",
    kind: Kind::Command,
    default: "none",
    doc: "Succeeds when this command ends with code 0.",
    example: "[\"pg_isready\"]",
};
const INITIAL_DELAY: Key = Key {
    name: "initial-delay",
    kind: Kind::Duration,
    default: "\"0s\"",
    doc: "The pause before the first attempt.",
    example: "\"2s\"",
};

pub(crate) static READY: Section = Section {
    what: "`ready`",
    keys: &[
        Key {
            name: "started",
            kind: Kind::Bool,
            default: "none",
            doc: "`true`: ready when it was executed.",
            example: "true",
        },
        Key {
            name: "notify",
            kind: Kind::Bool,
            default: "none",
            doc: "`true`: ready when it says `READY=1` (sd_notify).",
            example: "true",
        },
        Key {
            name: "fd",
            kind: Kind::Whole(3, 1023),
            default: "none",
            doc: "Ready when it writes a newline to this fd (as under s6).",
            example: "3",
        },
        TCP,
        HTTP,
        EXEC,
        Key {
            name: "log-line",
            kind: Kind::Regex,
            default: "none",
            doc: "Ready when a line of its output matches this regular expression.",
            example: "'listening on port \\d+'",
        },
        Key {
            name: "timeout",
            kind: Kind::Duration,
            default: "no limit",
            doc: "The longest time until it is ready; then the start has failed.",
            example: "\"30s\"",
        },
        Key {
            name: "interval",
            kind: Kind::Duration,
            default: "\"250ms\"",
            doc: "The pause between two attempts of a probe.",
            example: "\"1s\"",
        },
        Key {
            name: "probe-timeout",
            kind: Kind::Duration,
            default: "\"5s\"",
            doc: "How long one attempt of a probe may take.",
            example: "\"1s\"",
        },
        INITIAL_DELAY,
    ],
    one_of: &["started", "notify", "fd", "tcp", "http", "exec", "log-line"],
};

pub(crate) static LIVENESS: Section = Section {
    what: "`liveness`",
    keys: &[
        TCP,
        HTTP,
        EXEC,
        Key {
            name: "interval",
            kind: Kind::Duration,
            default: "\"10s\"",
            doc: "The pause between two attempts.",
            example: "\"5s\"",
        },
        Key {
            name: "timeout",
            kind: Kind::Duration,
            default: "\"5s\"",
            doc: "How long one attempt may take.",
            example: "\"1s\"",
        },
        INITIAL_DELAY,
        Key {
            name: "failures",
            kind: Kind::Whole(1, 1000),
            default: "3",
            doc: "So many failures in a row are too many.",
            example: "5",
        },
    ],
    one_of: &["tcp", "http", "exec"],
};

pub(crate) static STDIN: Section = Section {
    what: "`stdin`",
    keys: &[Key {
        name: "file",
        kind: Kind::Text,
        default: "required",
        doc: "It reads this file, relative to the configuration.",
        example: "\"input.txt\"",
    }],
    one_of: &["file"],
};

pub(crate) static SOCKET: Section = Section {
    what: "a socket",
    keys: &[
        Key {
            name: "name",
            kind: Kind::Text,
            default: "the name of the service",
            doc: "Its name in LISTEN_FDNAMES.",
            example: "\"http\"",
        },
        Key {
            name: "tcp",
            kind: Kind::Text,
            default: "none",
            doc: "Listens on this host and port.",
            example: "\"127.0.0.1:8080\"",
        },
        Key {
            name: "udp",
            kind: Kind::Text,
            default: "none",
            doc: "Receives datagrams on this host and port.",
            example: "\"127.0.0.1:8125\"",
        },
        Key {
            name: "unix",
            kind: Kind::Text,
            default: "none",
            doc: "A Unix stream socket at this path, relative to the configuration.",
            example: "\"web.sock\"",
        },
        Key {
            name: "mode",
            kind: Kind::Octal,
            default: "\"0666\"",
            doc: "Permissions of a Unix socket.",
            example: "\"0660\"",
        },
        Key {
            name: "backlog",
            kind: ANY_U32,
            default: "4096",
            doc: "Length of the accept queue.",
            example: "128",
        },
    ],
    one_of: &["tcp", "udp", "unix"],
};

pub(crate) static CAPABILITIES: Section = Section {
    what: "`capabilities`",
    keys: &[
        Key {
            name: "bounding",
            kind: Kind::List(&Kind::Capability),
            default: "all",
            doc: "What can ever be had.",
            example: "[\"CHOWN\", \"NET_BIND_SERVICE\"]",
        },
        Key {
            name: "ambient",
            kind: Kind::List(&Kind::Capability),
            default: "[]",
            doc: "What the program holds, also as an ordinary user.",
            example: "[\"NET_BIND_SERVICE\"]",
        },
    ],
    one_of: &[],
};

pub(crate) static LIMITS: Section = Section {
    what: "`limits`",
    keys: &[
        Key {
            name: "pids",
            kind: Kind::Whole(1, 1 << 22),
            default: "none",
            doc: "Processes and threads at the same time.",
            example: "100",
        },
        Key { name: "memory", kind: Kind::Size, default: "none", doc: "Memory.", example: "\"512M\"" },
        Key {
            name: "cpu",
            kind: Kind::CpuShare,
            default: "none",
            doc: "CPU time per time: CPUs, or percent of one.",
            example: "\"150%\"",
        },
    ],
    one_of: &[],
};

pub(crate) static LOG: Section = Section {
    what: "`log`",
    keys: &[Key {
        name: "flood",
        kind: Kind::Either(&[Kind::Whole(1, u32::MAX as i64), Kind::False]),
        default: "20000",
        doc: "Lines a second (averaged over ten) that are passed on; the rest is dropped, counted and reported. \
              `false`: no limit.",
        example: "1000",
    }],
    one_of: &[],
};

const RLIMIT: Kind = Kind::Either(&[Kind::LimitValue, Kind::Table(&RLIMIT_TABLE)]);

pub(crate) static RLIMIT_TABLE: Section = Section {
    what: "a resource limit",
    keys: &[
        Key {
            name: "soft",
            kind: Kind::LimitValue,
            default: "the hard limit",
            doc: "The limit that is in force.",
            example: "1024",
        },
        Key {
            name: "hard",
            kind: Kind::LimitValue,
            default: "the soft limit",
            doc: "How far the process may raise it.",
            example: "4096",
        },
    ],
    one_of: &[],
};

pub(crate) static RLIMITS: Section = Section { what: "`rlimits`", keys: RLIMIT_KEYS, one_of: &[] };

const fn rlimit_key(resource: Resource, doc: &'static str, example: &'static str) -> Key {
    Key { name: resource.name(), kind: RLIMIT, default: "that of doula", doc, example }
}

const RLIMIT_KEYS: &[Key] = &[
    rlimit_key(Resource::Nofile, "Open files.", "{ soft = 1024, hard = 4096 }"),
    rlimit_key(Resource::Nproc, "Processes of the user.", "500"),
    rlimit_key(Resource::Core, "Size of a core file.", "\"unlimited\""),
    rlimit_key(Resource::As, "Address space.", "\"4G\""),
    rlimit_key(Resource::Data, "Data segment.", "\"1G\""),
    rlimit_key(Resource::Stack, "Stack.", "\"16M\""),
    rlimit_key(Resource::Fsize, "Size of a file it writes.", "\"1G\""),
    rlimit_key(Resource::Memlock, "Locked memory.", "\"64M\""),
    rlimit_key(Resource::Cpu, "Seconds of CPU time.", "3600"),
    rlimit_key(Resource::Rss, "Resident memory (without effect today).", "\"1G\""),
    rlimit_key(Resource::Locks, "File locks (without effect today).", "100"),
    rlimit_key(Resource::Sigpending, "Queued signals.", "1000"),
    rlimit_key(Resource::Msgqueue, "Bytes in POSIX message queues.", "819200"),
    rlimit_key(Resource::Nice, "How far nice may go down: 20 minus the value.", "20"),
    rlimit_key(Resource::Rtprio, "Real-time priority.", "10"),
    rlimit_key(Resource::Rttime, "Microseconds of real-time CPU time without a pause.", "200000"),
];
