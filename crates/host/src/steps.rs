//! Where a supervisor dies in the middle of something, if a test of a debug build wants it to: at the step that
//! `DOULA_DIE_AT` names, by SIGKILL. A step of a program that takes another one's place begins with `successor:`.
//!
//! In a release build nothing of it is there.

/// The supervisor has come to this step.
#[cfg(not(debug_assertions))]
pub(crate) fn reached(_step: &str) {}

/// The supervisor has come to this step.
#[cfg(debug_assertions)]
pub(crate) fn reached(step: &str) {
    use std::os::unix::ffi::OsStrExt as _;
    let Some(at) = std::env::var_os("DOULA_DIE_AT") else { return };
    let is_successor =
        std::env::args_os().any(|word| word.as_bytes().starts_with(crate::upgrade::SUCCESSOR.as_bytes()));
    let step = if is_successor { format!("successor:{step}") } else { step.to_owned() };
    if *at == *step {
        // One that cannot die so goes on, and the test fails.
        let _ = doula_sys::signal::raise(doula_model::signal::Signal::KILL);
    }
}
