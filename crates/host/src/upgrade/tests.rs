//! What a program says when it is asked whether it could go on. That it goes on is tried with whole families (`tests/up/upgrade.rs`).

use super::*;
use crate::journal::write::Journal;
use crate::journal::{self, Head, VERSION};
use crate::logs::test_directory::Scratch;
use doula_model::id::Pid;
use doula_model::recipe::FamilySpec;

/// The state of a family, as a program of this version has written it down.
fn write_down(directory: &Path, version: u32) {
    let head = Head {
        version,
        program: "9.9.9".to_owned(),
        pid: Pid::INIT,
        world: journal::this_world(),
        token: "web.1.1".to_owned(),
        cgroup: None,
    };
    Journal::new(journal::path(directory), head).begin(Vec::new()).expect("to write it");
}

#[test]
fn a_program_fits_that_can_read_the_whole_state_of_this_family() {
    let scratch = Scratch::new();
    let directory = scratch.dir().join("web");
    std::fs::create_dir(&directory).expect("a folder");
    let family = |name: &str| FamilySpec { name: name.to_owned(), ..FamilySpec::default() };
    let ask = |name| fit("1.0.0", &directory, &family(name));
    assert!(ask("web").expect_err("nothing is written down").contains("failed to read"));
    write_down(&directory, VERSION);
    assert_eq!(ask("web"), Ok(Fit { program: "1.0.0".to_owned(), state: VERSION }));
    assert!(ask("other").expect_err("another name").contains("another family"));
    write_down(&directory, VERSION + 1);
    assert!(ask("web").expect_err("newer").contains(&format!("has version {}", VERSION + 1)));
    write_down(&directory, VERSION);
    let mut text = std::fs::read(journal::path(&directory)).expect("to read it");
    text.extend(b"00000000 {\"unheard\":1}\n");
    std::fs::write(journal::path(&directory), text).expect("to write it");
    assert!(ask("web").expect_err("an unknown line").contains("does not understand"));
}
