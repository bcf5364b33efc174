//! The examples are right: `doula check` takes each, and the actors that they name exist.

#[path = "common/actors.rs"]
mod actors;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the examples find the actors.
const ACTORS: &str = "../target/release/";

fn examples() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the examples").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "toml") {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "there are examples");
    found
}

#[test]
fn doula_check_takes_every_example() {
    for example in examples() {
        let mut check = Command::new(env!("CARGO_BIN_EXE_doula"));
        let output = check.arg("check").arg(&example).output().expect("doula check");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", example.display());
    }
}

#[test]
fn every_actor_of_the_examples_exists() {
    for example in examples() {
        let text = fs::read_to_string(&example).expect("an example");
        for rest in text.split(&format!("\"{ACTORS}")).skip(1) {
            let name = rest.split([' ', '"']).next().unwrap_or_default();
            assert!(actors::actor(name).is_file());
        }
    }
}
