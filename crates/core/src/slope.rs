//! How fast something grows, by looks at it: the usual slope, which one jump or one odd look does not change.
//!
//! Of the slopes between any two looks a third may be smaller than the one that counts (as Theil and Sen take their
//! median), and a single jump leaves four of nine at nothing.

use alloc::vec::Vec;

/// By how much it grows while what is looked along goes on by `span`. The looks, in order: how far that was, and how much it was then.
pub(crate) fn usual(looks: impl Iterator<Item = (u64, u64)> + Clone, span: u64) -> i128 {
    let mut slopes = Vec::new();
    for (place, (from, before)) in looks.clone().enumerate() {
        for (to, after) in looks.clone().skip(place + 1) {
            let way = i128::from(to.saturating_sub(from)).max(1);
            let grown = i128::from(after) - i128::from(before);
            slopes.push(grown.saturating_mul(i128::from(span)) / way);
        }
    }
    slopes.sort_unstable();
    slopes.get(slopes.len() / 3).copied().unwrap_or(0)
}
