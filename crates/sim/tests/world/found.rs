//! What the soak found once and made small: each of these was wrong, and is right. They are played with the sites that there were when
//! they were found.

use doula_sim::world::{Options, Scenario, Sites, run};

/// One of them.
struct Found {
    seed: u64,
    pool: bool,
    /// After so many events nothing goes wrong any more.
    steps: u64,
    kill_at: Option<u64>,
    /// So many steps later the next supervisor was killed too.
    kill_again: Option<u64>,
    without: &'static str,
    /// So many sites there were.
    sites: u32,
}

impl Found {
    const fn among(self, sites: u32) -> Found {
        Found { sites, ..self }
    }
}

/// A pool.
const fn pool(seed: u64, (steps, kill_at): (u64, Option<u64>), without: &'static str) -> Found {
    Found { seed, pool: true, steps, kill_at, kill_again: None, without, sites: Sites::WHEN_FIRST_KEPT }
}

/// A pool whose next supervisor was killed as well.
const fn twice(seed: u64, (steps, kill_at, again): (u64, u64, u64), without: &'static str) -> Found {
    Found {
        seed,
        pool: true,
        steps,
        kill_at: Some(kill_at),
        kill_again: Some(again),
        without,
        sites: Sites::WHEN_FIRST_KEPT,
    }
}

/// A family without pools.
const fn plain(seed: u64, (steps, kill_at): (u64, Option<u64>), without: &'static str) -> Found {
    Found { seed, pool: false, steps, kill_at, kill_again: None, without, sites: Sites::WHEN_FIRST_KEPT }
}

/// By what was wrong.
const FOUND: [Found; 27] = [
    // The check did not know that a new supervisor replaces workers already.
    pool(1_796_008_080_009_880, (1_000, Some(55)), ""),
    // A pool that looks at its queue had fewer than it begins with, because one failed, and did not look again.
    pool(110_058_169, (1_000, Some(720)), "d3,d2,d1,d0,wait-stolen,child-signal-late"),
    pool(
        130_023_907,
        (1_000, Some(1_401)),
        "d0,entry-vanishes,supervisor-stopped,preempted,spurious-wake,number-reused,exec-format",
    ),
    pool(
        140_057_354,
        (500, Some(404)),
        "keeper-lost,number-reused,exec-no-return,killed-before-first-step,fork-memory",
    ),
    pool(
        210_006_200,
        (500, Some(57)),
        "disk-broken,preempted,number-reused,no-descriptor,slow-birth,child-signal-late",
    ),
    pool(220_026_772, (1_000, Some(621)), "no-group-kill,fork-again"),
    // Three in one slot, each in the place of the one before, and the next supervisor let them be.
    pool(200_040_287, (500, Some(172)), "out-of-memory,disk-full,wait-stolen,child-signal-spurious,exec-io"),
    pool(
        50_013_899,
        (125, Some(83)),
        "d3,d0,entry-vanishes,disk-broken,clock-jumps,supervisor-stopped,wait-stolen,watch-refused,number-reused,exec-no-return",
    ),
    // A roll that began with a new supervisor took those whose turn had not come for others.
    pool(160_012_308, (500, Some(261)), "wait-stolen"),
    // The check looked when the supervisor had just been told what people asked for.
    pool(
        150_056_850,
        (500, None),
        "d4,d3,d1,killed-from-outside,wait-stolen,watch-refused,exec-io,child-first",
    ),
    pool(
        180_007_724,
        (500, None),
        "disk-broken,preempted,no-group-kill,killed-before-first-step,no-descriptor,slow-birth,fork-again",
    ),
    // The state file was behind for want of room, and looked whole.
    pool(
        60_003_463,
        (250, Some(146)),
        "d4,d3,d2,d1,d0,keeper-lost,supervisor-stopped,child-signal-spurious,child-signal-late",
    ),
    plain(
        60_041_785,
        (125, Some(98)),
        "d6,d5,d4,d3,d2,keeper-lost,disk-broken,wait-stolen,watch-refused,exec-refused,exec-missing",
    ),
    // Only children of children were left, in the group of the supervisor before the last.
    plain(
        60_004_215,
        (1_000, Some(448)),
        "s4,s2,s1,d4,d3,d2,d1,d0,out-of-memory,disk-broken,preempted,spurious-wake,exec-no-return,exec-busy,killed-before-first-step",
    ),
    plain(
        60_011_197,
        (1_000, Some(702)),
        "s0,d5,d4,d1,killed-from-outside,supervisor-stopped,wake-late,child-signal-spurious,number-reused,exec-format,no-group",
    ),
    // A life had moved into another group, and that was not written down before somebody was born there.
    twice(60_003_620, (125, 113, 45), "d0,clock-jumps,fork-again"),
    twice(1_796_008_080_020_734, (500, 168, 43), "disk-broken,clock-jumps,child-first,no-group"),
    // The world on paper took the group of an earlier life for that of one that its mark tells of.
    twice(1_796_008_080_004_209, (500, 152, 60), "d0,exec-refused"),
    // It took no socket from a process that only the group of its service tells of.
    pool(
        70_062_305,
        (500, Some(191)),
        "d1,preempted,wake-late,exec-busy,exec-format,killed-before-first-step",
    ),
    // One of which no handle was left had ended, and init had not buried it yet.
    plain(
        163_172_342_508_333,
        (62, Some(58)),
        "killed-from-outside,entry-vanishes,wake-late,exec-busy,killed-before-first-step",
    ),
    // Of two in the same role the first was buried, the second just born, and the successor was told of the first.
    plain(
        500_525_665,
        (250, Some(270)),
        "d3,d2,keeper-lost,disk-full,timer-late,wake-late,child-signal-spurious,exec-busy",
    ),
    // A supervisor that was stopped in a wait went on waiting when it went on, though somebody had knocked.
    pool(500_426_181, (1_000, None), "d0,disk-broken,wait-stolen,spurious-wake,watch-refused,no-group"),
    // Who was just born had got the number of one of another service that had ended, and was not found for that.
    plain(
        600_251_367,
        (62, Some(85)),
        "s3,d2,d1,d0,killed-from-outside,disk-full,clock-jumps,preempted,child-first",
    ),
    // The check waited for the end of a probe that a new supervisor had killed as nobody's, before the next one was born.
    plain(510_007_189, (1_000, None), "d6,d5,d4,killed-from-outside,entry-vanishes,disk-broken"),
    // The same of a probe, which init had not buried yet when the supervisor ended.
    plain(
        2_000_543_425,
        (250, Some(106)),
        "s3,d0,log-broken,slow-core,wall-jumps,stopped-from-outside,disk-broken,no-group-kill,exec-busy,child-first",
    ),
    // A wait that ended late lost that those who were killed and lived on were to be looked at.
    pool(
        224_585_835_492_315,
        (1_000, Some(660)),
        "d4,d1,interrupted,slow-core,entry-vanishes,disk-broken,disk-full,number-reused,exec-format",
    )
    .among(43),
    // A server that waits for all of its children had been given one on paper that never ends.
    pool(
        8_100_010_438,
        (1_000, None),
        "d1,d0,lines-in-pieces,out-of-memory,disk-full,wait-stolen,wake-late,watch-refused,no-group-kill,number-reused,exec-no-return,exec-busy",
    )
    .among(43),
];

#[test]
fn seeds_that_once_were_wrong_are_right() {
    for Found { seed, pool, steps, kill_at, kill_again, without, sites } in FOUND {
        let mut scenario = if pool { Scenario::of_pool(seed) } else { Scenario::of(seed) };
        scenario.sites = scenario.sites.when_there_were(sites);
        let scenario = scenario.without(&without.parse().expect("the names of faults"));
        let options = Options { most_events: steps, kill_at, kill_again, ..Options::default() };
        assert_eq!(run(&scenario, &options).violation, None, "seed {seed}");
    }
}
