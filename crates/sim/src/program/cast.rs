//! The behaviours that a supervisor meets, as scripts.
//!
//! Each begins by saying what it does and what is to be seen of it. They are played on paper by [`Stage`](super::Stage)
//! and by worlds, and on Linux by the actor `script`.

macro_rules! cast {
    ($($name:literal)*) => {
        /// All of them: name and text.
        pub const ALL: &[(&str, &str)] = &[$(($name, include_str!(concat!("cast/", $name, ".script"))),)*];
    };
}

cast! {
    "polite"
    "ignores-term"
    "slow-stop"
    "crash-loop"
    "ready-then-dies"
    "double-forker"
    "fork-bomb"
    "zombie-maker"
    "stops-itself"
    "stuck-in-d"
    "holds-the-pipe-open"
    "exits-while-being-stopped"
    "log-flooder"
}

/// The text of a behaviour.
///
/// ```
/// let text = doula_sim::program::cast::find("polite").expect("a behaviour");
/// assert!(text.parse::<doula_sim::program::Script>().is_ok());
/// ```
pub fn find(name: &str) -> Option<&'static str> {
    ALL.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
