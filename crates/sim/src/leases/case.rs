//! What a seed stands for: tasks, workers, what happens to those who work at them, and what goes wrong on the machine.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use core::time::Duration;
use doula_core::queue::{Pause, Policy, Timeout};
use doula_core::random::Random;

macro_rules! words {
    ($(#[$meta:meta])* $kind:ident: $($name:ident = $text:literal, $what:literal;)*) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $kind {
            $(#[doc = $what] $name,)*
        }

        impl $kind {
            /// All of them.
            pub const ALL: &[$kind] = &[$($kind::$name,)*];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self { $($kind::$name => $text,)* }
            }

            /// What happens.
            pub const fn what(self) -> &'static str {
                match self { $($kind::$name => $what,)* }
            }
        }
    };
}

words! {
    /// What a worker does with a task.
    Deed:
    Well = "well", "It does it, and says so.";
    Fails = "fails", "It says that it failed.";
    KillsItself = "kills-itself", "It dies of SIGKILL.";
    Crashes = "crashes", "It dies of SIGSEGV.";
    Exits = "exits", "It exits with 0 and says nothing.";
    ExitsBadly = "exits-badly", "It exits with 3 and says nothing.";
    ClosesOutput = "closes-output", "It closes what it answers on, and lives.";
    ClosesInput = "closes-input", "It closes what it is asked on, answers, and lives.";
    NeverAnswers = "never-answers", "It says nothing, and lives.";
    HalfThenExits = "half-then-exits", "It says half an answer and exits with 0.";
    HalfThenHangs = "half-then-hangs", "It says half an answer and nothing more, and lives.";
    Twice = "twice", "It answers twice at once.";
    Garbage = "garbage", "It says what is no answer.";
    AnswersBefore = "answers-before", "It answers the task that it answered before once more.";
    LeavesChild = "leaves-child", "It bears a process that holds its pipes, and answers.";
    Stops = "stops", "It stops itself by SIGSTOP.";
    AnswersThenDies = "answers-then-dies", "It answers, and dies of SIGKILL.";
    Large = "large", "Its answer is longer than a pipe has room for.";
}

impl Deed {
    /// Whether only an id in each answer can tell that it is none.
    const fn needs_numbers(self) -> bool {
        matches!(self, Deed::Twice | Deed::AnswersBefore | Deed::Garbage)
    }
}

words! {
    /// What goes wrong on the machine.
    Trouble:
    ForkAgain = "fork-again", "A birth finds too many processes: EAGAIN.";
    ForkMemory = "fork-memory", "A birth finds no memory: ENOMEM.";
    Interrupted = "interrupted", "A read or write is interrupted: EINTR.";
    SpuriousWake = "spurious-wake", "A wait ends though nothing has happened.";
    OnlySome = "only-some", "A wait tells of some of what has happened.";
    Late = "late", "The end of a process is told late.";
    Slow = "slow", "Workers go on before the run hears what they have done.";
    Preempted = "preempted", "Others run between two calls of the run.";
    Killed = "killed", "Somebody kills a worker.";
    OutOfMemory = "out-of-memory", "The kernel kills a worker for want of memory.";
    Stopped = "stopped", "Somebody stops a worker for a while.";
    TimerLate = "timer-late", "A deadline is noticed late.";
    KillMisses = "kill-misses", "A write to cgroup.kill misses the child that the last of the group bears meanwhile.";
}

impl Trouble {
    /// How often, in a thousand times that it could.
    pub(super) const fn per_mille(self) -> u64 {
        match self {
            Trouble::ForkAgain | Trouble::ForkMemory => 200,
            Trouble::KillMisses => 500,
            Trouble::Interrupted | Trouble::SpuriousWake => 150,
            Trouble::OnlySome | Trouble::Late | Trouble::Slow => 400,
            Trouble::Preempted => 300,
            Trouble::Killed | Trouble::OutOfMemory => 8,
            Trouble::Stopped => 10,
            Trouble::TimerLate => 100,
        }
    }
}

/// See the head of this file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// From which all chance comes.
    pub seed: u64,
    /// How many workers there are.
    pub slots: u32,
    /// The rules of the queue.
    pub policy: Policy,
    /// After so many answers a worker is replaced.
    pub max_tasks: Option<u64>,
    /// Answers say to which task they are.
    pub numbered: bool,
    /// A worker with several tasks does them in any order.
    pub any_order: bool,
    /// For each task what is done with it, and in how many attempts; then it is well.
    pub deeds: Vec<(Deed, u32)>,
    /// What goes wrong.
    pub troubles: Vec<Trouble>,
}

impl Case {
    /// The case of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Case {
        let mut random = Random::new(seed);
        let random = &mut random;
        let several = random.below(3) == 0;
        let window = if several { 2 + random.below(3) as u32 } else { 1 };
        let batch = if several { 1 + random.below(u64::from(window)) as u32 } else { 1 };
        let policy = Policy {
            window,
            batch,
            retries: random.below(3) as u32,
            deaths: random.below(4) as u32,
            pause: Pause { first: Duration::from_millis(random.below(100)), most: Duration::from_secs(1) },
            timeout: Some(Timeout::After(Duration::from_secs(2 + random.below(4)))),
            grace: Duration::from_millis(random.below(1_000)),
            ..Policy::PLAIN
        };
        let numbered = several || random.below(2) == 0;
        let tasks = 3 + random.below(18);
        Case {
            seed,
            slots: 1 + random.below(4) as u32,
            policy,
            max_tasks: (random.below(3) == 0).then(|| 1 + random.below(5)),
            numbered,
            any_order: random.below(2) == 0,
            deeds: (0..tasks).map(|_| deed(random, numbered)).collect(),
            troubles: Trouble::ALL.iter().copied().filter(|_| random.below(4) == 0).collect(),
        }
    }

    /// Tasks that are all done well but one, by two workers, with nothing that goes wrong.
    #[must_use]
    pub fn with_one(deed: Deed, tasks: u32, at: u32) -> Case {
        let timeout = Some(Timeout::After(Duration::from_secs(5)));
        let deeds = (1..=tasks).map(|task| if task == at { (deed, u32::MAX) } else { (Deed::Well, 0) });
        Case {
            seed: 0,
            slots: 2,
            policy: Policy { deaths: 2, timeout, ..Policy::PLAIN },
            max_tasks: None,
            numbered: true,
            any_order: false,
            deeds: deeds.collect(),
            troubles: Vec::new(),
        }
    }

    /// The same with some of it left out.
    #[must_use]
    pub fn without(&self, cut: &Cut) -> Case {
        let mut case = self.clone();
        for task in &cut.tasks {
            if let Some(deed) = case.deeds.get_mut((*task as usize).wrapping_sub(1)) {
                *deed = (Deed::Well, 0);
            }
        }
        case.troubles.retain(|trouble| !cut.troubles.contains(trouble));
        case
    }

    /// What is done with a task in the n-th attempt at it.
    pub(super) fn deed(&self, task: u64, attempt: u32) -> Deed {
        let (deed, attempts) = usize::try_from(task)
            .ok()
            .and_then(|task| self.deeds.get(task.checked_sub(1)?))
            .copied()
            .unwrap_or((Deed::Well, 0));
        if attempt <= attempts { deed } else { Deed::Well }
    }
}

fn deed(random: &mut Random, numbered: bool) -> (Deed, u32) {
    if random.below(3) > 0 {
        return (Deed::Well, 0);
    }
    let deed = Deed::ALL[random.below(Deed::ALL.len() as u64) as usize];
    let deed = if deed.needs_numbers() && !numbered { Deed::Crashes } else { deed };
    (deed, if random.below(2) == 0 { u32::MAX } else { 1 + random.below(2) as u32 })
}

/// What is left out of a case, as `--without` takes it: `t3,fork-again`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Tasks that are done well.
    pub tasks: Vec<u32>,
    /// What does not go wrong.
    pub troubles: Vec<Trouble>,
}

impl Cut {
    /// Whether nothing is left out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Cut::default()
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tasks = self.tasks.iter().map(|task| alloc::format!("t{task}"));
        let troubles = self.troubles.iter().map(|trouble| trouble.name().to_string());
        f.write_str(&tasks.chain(troubles).collect::<Vec<_>>().join(","))
    }
}

impl FromStr for Cut {
    type Err = String;

    fn from_str(text: &str) -> Result<Cut, String> {
        let mut cut = Cut::default();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            if let Some(task) = word.strip_prefix('t').and_then(|task| task.parse().ok()) {
                cut.tasks.push(task);
            } else if let Some(trouble) = Trouble::ALL.iter().find(|trouble| trouble.name() == word) {
                cut.troubles.push(*trouble);
            } else {
                return Err(alloc::format!("`{word}` is no task (t1) and no trouble of leases"));
            }
        }
        Ok(cut)
    }
}
