//! The keys of `[pool.NAME]`: its own, and behind them those of a service that make sense for a worker.

use super::keys::{Key, Kind, MAX_INSTANCES, SERVICE, Section};

/// Keys of a service that make no sense for a pool.
pub(crate) const NOT_IN_POOLS: &[&str] = &["kind", "schedule", "instances", "essential"];

/// One pool.
pub(crate) static POOL: Section = Section { what: "a pool", keys: &ALL, one_of: &["command"] };

/// As many as one pool may have, with the one that replaces another.
const MOST: i64 = MAX_INSTANCES - 1;

const WORKERS: Kind = Kind::Either(&[Kind::Whole(1, MOST), Kind::Choice(&["auto"])]);
const POLICIES: &[&str] = &["backlog", "apache", "fpm-dynamic", "fpm-ondemand", "uwsgi-spare", "fixed"];

/// What only a pool has.
pub(crate) const OWN: &[Key] = &[
    Key {
        name: "workers",
        kind: WORKERS,
        default: "none",
        doc: "Always so many workers; `\"auto\"`: one for each CPU. Instead of `max`.",
        example: "\"auto\"",
    },
    Key {
        name: "min",
        kind: Kind::Whole(0, MOST),
        default: "1 (`fpm-ondemand`: 0)",
        doc: "So many workers from the beginning.",
        example: "5",
    },
    Key {
        name: "max",
        kind: WORKERS,
        default: "none",
        doc: "The most workers: their number follows the work. Instead of `workers`.",
        example: "100",
    },
    Key {
        name: "policy",
        kind: Kind::Either(&[Kind::Choice(POLICIES), Kind::Table(&POLICY)]),
        default: "\"backlog\"",
        doc: "How a pool with a `max` finds the number of its workers (`doula pool plan` plays a load through each).",
        example: "{ by = \"apache\", min-spare = 5, max-spare = 10 }",
    },
    Key {
        name: "reuseport",
        kind: Kind::Bool,
        default: "false",
        doc: "Each slot has TCP and UDP sockets of its own at the same addresses (`SO_REUSEPORT`), kept across restarts of \
              its worker. Without it all workers accept from the same queue. Only for a fixed number of workers: a slot \
              that goes takes its queue along.",
        example: "true",
    },
    Key {
        name: "pin",
        kind: Kind::Bool,
        default: "false",
        doc: "One CPU for each slot, in turn and from one node of memory after the other: of `affinity`, or of all that doula may use.",
        example: "true",
    },
    Key {
        name: "surge",
        kind: Kind::Whole(1, MOST),
        default: "1",
        doc: "So many workers are replaced at the same time in a rolling restart; so many more than `max` may live then.",
        example: "2",
    },
    Key {
        name: "min-ready",
        kind: Kind::Duration,
        default: "0s, with `ready` by start 1s",
        doc: "A new worker must have been ready for so long before the old one is drained.",
        example: "\"5s\"",
    },
    Key {
        name: "on-start-failure",
        kind: Kind::Choice(&["keep", "roll-back"]),
        default: "\"keep\"",
        doc: "When a worker fails while the pool starts: `keep` the others and try it again, or stop all.",
        example: "\"roll-back\"",
    },
    Key {
        name: "max-requests",
        kind: Kind::Whole(1, i64::MAX),
        default: "none",
        doc: "A worker is replaced when it has told, by `X_DOULA_TASKS` (sd_notify(3)) or on its scoreboard, that it answered so \
              many requests.",
        example: "10000",
    },
    Key {
        name: "max-age",
        kind: Kind::Duration,
        default: "none",
        doc: "A worker is replaced when it has served for so long, less a random share of a tenth.",
        example: "\"24h\"",
    },
    Key {
        name: "max-leak",
        kind: Kind::Table(&LEAK),
        default: "none",
        doc: "A worker is replaced when the memory of its main process (what it has for itself, with swap) grows by so much in \
              so much time, and goes on to.",
        example: "{ memory = \"50M\", within = \"1h\" }",
    },
    Key {
        name: "scoreboard",
        kind: Kind::Bool,
        default: "false",
        doc: "Each worker gets a file of 64 bytes in memory, as the fd in `DOULA_SCOREBOARD`, on which it may write what it does: \
              a `u32` at byte 0 (1: nothing, 2: it has work) and a `u64` at byte 8 (requests answered).",
        example: "true",
    },
];

pub(crate) static LEAK: Section = Section {
    what: "a limit of growth",
    keys: &[
        Key {
            name: "memory",
            kind: Kind::Size,
            default: "required",
            doc: "By so much …",
            example: "\"50M\"",
        },
        Key {
            name: "within",
            kind: Kind::Duration,
            default: "1h",
            doc: "… in so much time. The first such span of each worker is not counted.",
            example: "\"1h\"",
        },
    ],
    one_of: &["memory"],
};

pub(crate) static POLICY: Section = Section {
    what: "a policy",
    keys: &[
        Key {
            name: "by",
            kind: Kind::Choice(POLICIES),
            default: "required",
            doc: "Which one.",
            example: "\"apache\"",
        },
        Key {
            name: "min-spare",
            kind: Kind::Whole(1, MOST),
            default: "5",
            doc: "`apache`, `fpm-dynamic`: fewer idle ones, and more are started.",
            example: "5",
        },
        Key {
            name: "max-spare",
            kind: Kind::Whole(1, MOST),
            default: "10",
            doc: "`apache`, `fpm-dynamic`: more idle ones, and one is drained each second.",
            example: "10",
        },
        Key {
            name: "idle-timeout",
            kind: Kind::Duration,
            default: "10s",
            doc: "`fpm-ondemand`: who is idle for longer is drained.",
            example: "\"30s\"",
        },
        Key {
            name: "step",
            kind: Kind::Whole(1, MOST),
            default: "1",
            doc: "`uwsgi-spare`: so many are started at once.",
            example: "4",
        },
        Key {
            name: "overload",
            kind: Kind::Whole(1, 3_600),
            default: "3",
            doc: "`uwsgi-spare`: after so many seconds in which all were busy.",
            example: "3",
        },
    ],
    one_of: &["by"],
};

const COUNT: usize = OWN.len() + SERVICE.keys.len() - NOT_IN_POOLS.len();

/// Both, in this order.
static ALL: [Key; COUNT] = {
    let mut all = [OWN[0]; COUNT];
    let mut place = 0;
    while place < OWN.len() {
        all[place] = OWN[place];
        place += 1;
    }
    let mut next = 0;
    while next < SERVICE.keys.len() {
        if !is_in(SERVICE.keys[next].name, NOT_IN_POOLS) {
            all[place] = SERVICE.keys[next];
            place += 1;
        }
        next += 1;
    }
    assert!(place == COUNT, "each key that is left out is one of a service");
    all
};

const fn is_in(name: &str, list: &[&str]) -> bool {
    let mut place = 0;
    while place < list.len() {
        if same(name.as_bytes(), list[place].as_bytes()) {
            return true;
        }
        place += 1;
    }
    false
}

const fn same(one: &[u8], other: &[u8]) -> bool {
    let mut place = 0;
    while place < one.len() && place < other.len() && one[place] == other[place] {
        place += 1;
    }
    place == one.len() && place == other.len()
}
