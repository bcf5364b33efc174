//! What fails made small: things are left out one after the other as long as the same check still fails.

use alloc::vec::Vec;

/// The smallest that was found.
#[derive(Clone, Debug)]
pub struct Smallest<C, O, R> {
    /// What was left out.
    pub cut: C,
    /// How it is played.
    pub options: O,
    /// How it ends.
    pub report: R,
}

/// From one that fails to a smaller one, until nothing more can go. `wishes` are the ways to make it smaller by one thing, `and` joins
/// what was left out before with a wish, for what was left out meanwhile stays out, and `fails` plays it: a report if the same check fails.
pub(crate) fn smallest<C: Clone + PartialEq, O: Copy + PartialEq, R>(
    mut best: Smallest<C, O, R>,
    wishes: impl Fn(&Smallest<C, O, R>) -> Vec<(C, O)>,
    and: impl Fn(&C, C) -> C,
    fails: impl Fn(&C, &O) -> Option<R>,
) -> Smallest<C, O, R> {
    loop {
        let before = (best.cut.clone(), best.options);
        for (cut, options) in wishes(&best) {
            let cut = and(&best.cut, cut);
            if let Some(report) = fails(&cut, &options) {
                best = Smallest { cut, options, report };
            }
        }
        if (&best.cut, best.options) == (&before.0, before.1) {
            return best;
        }
    }
}
