//! Bad situations: each gives one clear error, and nobody else is touched.

use crate::family::{Family, count, place};

#[test]
fn a_program_that_does_not_exist_is_tried_a_few_times_and_has_then_failed_with_the_reason() {
    let mut family = Family::up(
        "[service.web]\ncommand = \"no-such-program --port 80\"\nrestart = { delay = \"1ms\" }\n\
         [service.other]\ncommand = \"ACTORS/polite\"\n",
    );
    family.expect("web is failed, because it could not be started (execve: ENOENT");
    let why = family.home.ctl(&["why", "web"]);
    assert!(why.out.contains("failed") && why.out.contains("execve: ENOENT"), "{why:?}");
    assert_eq!(family.status("other")["state"], "up");
    let (code, lines) = family.shut_down();
    assert_eq!(count(&lines, "web starts again in"), 5, "{}", lines.join("\n"));
    place(&lines, "`no-such-program` was not found in PATH=");
    place(&lines, "other exited cleanly");
    assert_eq!(code, Some(0), "it was asked to end");
}
