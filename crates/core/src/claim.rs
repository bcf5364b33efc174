//! Two supervisors want one place: what becomes of the one that finds it locked.
//!
//! The lock is held by whoever has its file open: the supervisor, and for a moment after its death its keeper, which closes what it
//! does not keep. So the one who comes asks whether the supervisor that has signed the lock is alive. Who has just got the lock and
//! has not signed yet is not known: what is read is the name of the one before, who is dead, and the next look tells.

use core::time::Duration;

/// How long a killed supervisor may take to be cleared away: its memory is given back, and its keeper closes what it had open.
pub const CLEARING: Duration = Duration::from_secs(10);
/// The pause between two looks for that.
pub const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// What is known of the one who has signed the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// It lives, or nobody knows.
    Alive,
    /// It is dead.
    Dead,
}

/// What becomes of the one who came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is refused: another one is there.
    Taken,
    /// It looks again after [`LOOK_AGAIN`].
    LookAgain,
    /// It is refused: nobody is there, and somebody keeps the lock.
    Kept,
}

/// Judges who has waited for so long before a lock that is held.
#[must_use]
pub fn judge(holder: Holder, waited: Duration) -> Verdict {
    match holder {
        Holder::Alive => Verdict::Taken,
        Holder::Dead if waited < CLEARING => Verdict::LookAgain,
        Holder::Dead => Verdict::Kept,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_a_living_holder_is_refused_at_once_and_a_dead_one_is_waited_for_a_while() {
        assert_eq!(judge(Holder::Alive, Duration::ZERO), Verdict::Taken);
        assert_eq!(judge(Holder::Dead, Duration::ZERO), Verdict::LookAgain);
        assert_eq!(judge(Holder::Dead, CLEARING - LOOK_AGAIN), Verdict::LookAgain);
        assert_eq!(judge(Holder::Dead, CLEARING), Verdict::Kept);
    }
}
