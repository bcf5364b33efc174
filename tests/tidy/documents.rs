//! That documents are found, link to what exists, and say of each part of the mission which test shows it.

use crate::tree::{File, expect_none, files, root, sources};
use std::path::Path;

/// Where readers start.
const INDEXES: [&str; 3] = ["README.md", "ARCHITECTURE.md", "docs/README.md"];
/// The longest that a page of architecture may be: two printed pages.
const ARCHITECTURE: usize = 120;
const MISSION: &str = "docs/mission.md";

fn documents() -> Vec<File> {
    files().into_iter().filter(|file| file.path.ends_with(".md")).collect()
}

/// The files that a document links to, from the root of the project, with the line of the link.
fn links(file: &File) -> Vec<(usize, String)> {
    let folder = Path::new(&file.path).parent().unwrap_or(Path::new(""));
    let mut found = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for target in line.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if !target.is_empty() && !target.contains("://") {
                let path = folder.join(target);
                found.push((index + 1, path.to_string_lossy().trim_start_matches("./").to_owned()));
            }
        }
    }
    found
}

#[test]
fn every_document_is_linked_from_an_index() {
    let all = documents();
    let indexes = all.iter().filter(|file| INDEXES.contains(&file.path.as_str()));
    let linked: Vec<_> =
        indexes.flat_map(links).filter_map(|(_, path)| root().join(path).canonicalize().ok()).collect();
    let pages = all.iter().filter(|file| file.is_in("docs/") && file.path != "docs/README.md");
    let lost =
        pages.filter(|file| !root().join(&file.path).canonicalize().is_ok_and(|path| linked.contains(&path)));
    let findings: Vec<String> =
        lost.map(|file| format!("{}: nobody finds it; link it from docs/README.md", file.at(1))).collect();
    expect_none(&findings);
}

#[test]
fn every_link_leads_to_a_file() {
    let mut findings = Vec::new();
    for file in documents() {
        for (line, path) in links(&file) {
            if !root().join(&path).exists() {
                findings.push(format!("{}: {path} does not exist; mend the link", file.at(line)));
            }
        }
    }
    expect_none(&findings);
}

#[test]
fn the_architecture_fits_on_two_pages_and_names_its_invariants() {
    let all = documents();
    let page = all.iter().find(|file| file.path == "ARCHITECTURE.md").expect("ARCHITECTURE.md");
    let length = page.text.lines().count();
    assert!(
        length <= ARCHITECTURE,
        "ARCHITECTURE.md:{length}: {ARCHITECTURE} lines at most; move it to docs/design"
    );
    assert!(page.text.contains("Invariant:"), "ARCHITECTURE.md:1: names no invariant");
}

#[test]
fn every_row_of_the_mission_names_its_test_or_what_it_comes_with() {
    let all = documents();
    let mission = all.iter().find(|file| file.path == MISSION).expect("docs/mission.md");
    let tests: String = sources().iter().map(|file| file.text.as_str()).collect();
    let mut findings = Vec::new();
    for (number, row) in rows(&mission.text) {
        let at = mission.at(number);
        let Some([_, _, place, proof]) = row.get(..4) else {
            findings.push(format!("{at}: a row has four columns"));
            continue;
        };
        for path in ticked(place).filter(|path| path.contains('/') && !root().join(path).exists()) {
            findings.push(format!("{at}: {path} does not exist; name where it is now"));
        }
        for name in ticked(proof).filter(|name| !tests.contains(&format!("fn {name}("))) {
            findings.push(format!("{at}: no test is called {name}; name the one that shows it"));
        }
        if ticked(proof).next().is_none() && !proof.starts_with("comes with ") {
            findings.push(format!("{at}: no test; name one, or write `comes with …`"));
        }
    }
    expect_none(&findings);
}

#[test]
fn every_trap_names_a_test_that_exists() {
    let all = documents();
    let traps = all.iter().find(|file| file.path == "docs/traps.md").expect("docs/traps.md");
    let tests: String = sources().iter().map(|file| file.text.as_str()).collect();
    let mut findings = Vec::new();
    for (number, row) in rows(&traps.text).into_iter().filter(|(_, row)| row[0] != "trap") {
        // A bar of a shell is written `\\|`, so that the last column is found from the end.
        let proof = row.last().map(String::as_str).unwrap_or_default();
        let shown = |name: &str| name.contains('/') || tests.contains(&format!("fn {name}("));
        if ticked(proof).next().is_none() || !ticked(proof).all(shown) {
            findings.push(format!("{}: names no test, or one that does not exist", traps.at(number)));
        }
    }
    expect_none(&findings);
}

/// The rows of all tables, without their heads.
fn rows(text: &str) -> Vec<(usize, Vec<String>)> {
    let lines = text.lines().enumerate().filter(|(_, line)| line.starts_with('|'));
    let cells = lines.map(|(index, line)| (index + 1, line.trim_matches('|').split('|')));
    let rows =
        cells.map(|(number, cells)| (number, cells.map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()));
    rows.filter(|(_, row)| row[0] != "§" && !row[0].starts_with('-')).collect()
}

/// What stands between backticks.
fn ticked(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2).filter(|text| !text.starts_with("doula "))
}
