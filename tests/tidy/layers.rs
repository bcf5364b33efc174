//! Which crate may use which, what the pure crates promise, and how much is built from elsewhere.

use crate::tree::{expect_none, has_word, root, sources};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use toml::{Table, Value};

/// Each package: its folder, and the packages of this project that it may use. Lower rows only.
const ARROWS: [(&str, &str, &[&str]); 9] = [
    ("doula-model", "crates/model", &[]),
    ("doula-sys", "crates/sys", &["doula-model"]),
    ("doula-core", "crates/core", &["doula-model"]),
    ("doula-host", "crates/host", &["doula-sys", "doula-core", "doula-model"]),
    ("doula-gateway", "crates/gateway", &["doula-core", "doula-model"]),
    ("doula-sim", "crates/sim", &["doula-core", "doula-model"]),
    ("doula-init", "crates/init", &["doula-host", "doula-sys", "doula-core", "doula-model"]),
    ("doula", ".", &["doula-host", "doula-gateway", "doula-sim", "doula-core", "doula-model"]),
    ("actors", "actors", &["doula-sim", "doula-sys", "doula-model"]),
];
/// More crates than this in `Cargo.lock` want a discussion first. A hundred of them are async-nats (TLS, nkeys, URLs), which only
/// `doula-gateway` is built from: to speak the protocol and its logins ourselves would be worse.
const MOST_CRATES: usize = 260;
/// Licences that `MIT OR Apache-2.0` may be built from: the same list as in `deny.toml`.
const LICENCES: [&str; 10] = [
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "0BSD",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

fn manifest(folder: &str) -> Option<Table> {
    let text = fs::read_to_string(root().join(folder).join("Cargo.toml")).ok()?;
    Some(text.parse().expect("a manifest is TOML"))
}

fn dependencies(manifest: &Table) -> Vec<(String, Value)> {
    let sections = ["dependencies", "build-dependencies"].iter().filter_map(|name| manifest.get(*name));
    let entries = sections.filter_map(Value::as_table).flatten();
    entries.map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[test]
fn a_manifest_names_only_crates_of_lower_rows() {
    let mut findings = Vec::new();
    for (package, folder, allowed) in ARROWS {
        let Some(manifest) = manifest(folder) else { continue };
        for (name, _) in dependencies(&manifest) {
            let ours = ARROWS.iter().any(|(other, ..)| *other == name);
            if ours && !allowed.contains(&name.as_str()) {
                findings
                    .push(format!("{folder}/Cargo.toml:1: {package} uses {name}; go through a lower row"));
            }
        }
    }
    expect_none(&findings);
}

#[test]
fn source_names_only_crates_of_lower_rows() {
    let mut findings = Vec::new();
    for file in sources() {
        let owner = ARROWS.iter().filter(|(_, folder, _)| *folder != ".");
        let owner = owner.clone().find(|(_, folder, _)| file.is_in(&format!("{folder}/src/")));
        let app = ARROWS.iter().find(|(package, ..)| *package == "doula" && file.is_in("src/"));
        let Some((package, _, allowed)) = owner.or(app) else { continue };
        for (number, line) in file.product() {
            for (other, ..) in
                ARROWS.iter().filter(|(other, ..)| other != package && !allowed.contains(other))
            {
                let name = other.replace('-', "_");
                if has_word(&line, &name) && other.contains('-') {
                    findings
                        .push(format!("{}: {package} uses {other}; go through a lower row", file.at(number)));
                }
            }
        }
    }
    expect_none(&findings);
}

#[test]
fn every_package_has_a_place_in_the_rows() {
    let mut findings = Vec::new();
    for entry in fs::read_dir(root().join("crates")).expect("the crates").flatten() {
        let folder = format!("crates/{}", entry.file_name().to_string_lossy());
        if manifest(&folder).is_some() && !ARROWS.iter().any(|(_, known, _)| *known == folder) {
            findings.push(format!("{folder}/Cargo.toml:1: has no row; give it one in tests/tidy/layers.rs"));
        }
    }
    expect_none(&findings);
}

#[test]
fn model_depends_on_nothing_but_optionally_serde() {
    for (name, value) in dependencies(&manifest("crates/model").expect("model")) {
        let optional = value.get("optional").and_then(Value::as_bool) == Some(true);
        assert!(name == "serde" && optional, "crates/model/Cargo.toml:1: {name}; model is words only");
    }
}

#[test]
fn the_pure_crates_are_built_without_the_standard_library() {
    for (file, header) in [
        ("crates/model/src/lib.rs", "#![no_std]"),
        ("crates/core/src/lib.rs", "#![no_std]"),
        ("crates/sim/src/lib.rs", "#![no_std]"),
        ("crates/host/src/lib.rs", "#![cfg_attr(not(feature = \"std\"), no_std)]"),
    ] {
        let text = fs::read_to_string(root().join(file)).expect("a source file");
        assert!(text.lines().any(|line| line == header), "{file}:1: lacks {header}; no clock, no I/O here");
    }
}

/// A program that has nothing but them, and a panic handler of its own: the compiler takes only one in all of a program, and the
/// standard library has one. So it shows too what they are built from.
#[test]
fn the_pure_crates_and_all_that_they_are_built_from_do_without_the_standard_library() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("without-std");
    fs::create_dir_all(folder.join("src")).expect("a folder");
    let crates = ["model", "core", "sim"];
    let dependency = |name: &&str| {
        format!("doula-{name} = {{ path = {:?} }}\n", root().join("crates").join(name).display().to_string())
    };
    let dependencies: String = crates.iter().map(dependency).collect();
    let manifest = format!(
        "[workspace]\n[package]\nname = \"without-std\"\nedition = \"2024\"\n[dependencies]\n{dependencies}"
    );
    let uses: String = crates.iter().map(|name| format!("extern crate doula_{name};\n")).collect();
    let handler = "#[panic_handler]\nfn panic(_: &core::panic::PanicInfo<'_>) -> ! { loop {} }\n";
    fs::write(folder.join("Cargo.toml"), manifest).expect("a manifest");
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).expect("the same versions");
    let check = |source: &str| {
        fs::write(folder.join("src/lib.rs"), source).expect("a source file");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["check", "--offline", "--quiet"]).current_dir(&folder).env_remove("RUSTFLAGS");
        command.env("CARGO_TARGET_DIR", folder.join("target")).output().expect("cargo check")
    };
    let pure = check(&format!("#![no_std]\n{uses}{handler}"));
    assert!(pure.status.success(), "{}", String::from_utf8_lossy(&pure.stderr));
    let impure = check(&format!("#![no_std]\nextern crate std;\n{uses}{handler}"));
    assert!(String::from_utf8_lossy(&impure.stderr).contains("E0152"), "it would be found: {impure:?}");
}

#[test]
fn few_crates_are_built_from_elsewhere() {
    let lock: Table =
        fs::read_to_string(root().join("Cargo.lock")).expect("a lock file").parse().expect("TOML");
    let count = lock.get("package").and_then(Value::as_array).map_or(0, Vec::len);
    assert!(count <= MOST_CRATES, "Cargo.lock:1: {count} crates, {MOST_CRATES} at most; do without one");
}

#[test]
fn every_crate_has_a_licence_that_ours_may_be_built_from() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let metadata = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", &format!("{}-unknown-linux-gnu", std::env::consts::ARCH)])
        .current_dir(root())
        .output()
        .expect("cargo metadata");
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).expect("JSON");
    let mut findings = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let licence = package["license"].as_str().unwrap_or("none");
        if !is_allowed(licence) {
            findings.push(format!("Cargo.lock:1: {} is {licence}; do without it", package["name"]));
        }
    }
    expect_none(&findings);
}

/// `A OR B` (old: `A/B`) needs one, `A AND B` all of them.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.replace(['(', ')'], "").replace('/', " OR ");
    expression.split(" AND ").all(|part| part.split(" OR ").any(|one| LICENCES.contains(&one.trim())))
}
