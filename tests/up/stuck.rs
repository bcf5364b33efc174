//! Processes that do not end when they should: in the kernel's hands, or out of sight.

use crate::contain::skipped;
use crate::family::{Family, Home, place};
use crate::hidden::{Hierarchies, without};
use std::fs;
use std::path::PathBuf;

/// A frozen group of cgroup v1: who is in it sleeps in the kernel and takes no signal, not even SIGKILL.
struct Freezer(PathBuf);

impl Freezer {
    fn new(name: &str) -> Option<Freezer> {
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        let mount = mounts.lines().find(|line| {
            let fields: Vec<_> = line.split(' ').collect();
            fields.get(2) == Some(&"cgroup")
                && fields.get(3).is_some_and(|options| options.split(',').any(|one| one == "freezer"))
        });
        let group = mount.and_then(|line| Some(PathBuf::from(line.split(' ').nth(1)?).join(name)));
        let made = group.filter(|group| fs::create_dir(group).is_ok());
        if made.is_none() {
            skipped(
                "there is no writable freezer of cgroup v1, the only way to make a process unkillable at will",
            );
        }
        made.map(Freezer)
    }

    fn freeze(&self, pid: &str) {
        fs::write(self.0.join("cgroup.procs"), pid).expect("to move it");
        fs::write(self.0.join("freezer.state"), "FROZEN").expect("to freeze it");
    }

    fn thaw(&self) {
        fs::write(self.0.join("freezer.state"), "THAWED").expect("to thaw it");
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        drop(fs::write(self.0.join("freezer.state"), "THAWED"));
        drop(fs::remove_dir(&self.0));
    }
}

#[test]
fn a_stop_that_waits_for_a_process_in_the_kernel_says_so_and_ends_when_it_wakes_up() {
    let home = Home::new(
        "[service.deaf]\ncommand = \"ACTORS/polite\"\nstop = { grace = \"100ms\" }\n\
         [service.other]\ncommand = \"sleep 1000\"\n",
    );
    let Some(freezer) = Freezer::new(&home.name) else { return };
    let mut family = Family::start(home, &[]);
    family.expect("polite: ready");
    let pid = family.status("deaf")["pid"].to_string();
    freezer.freeze(&pid);
    assert_eq!(family.ask(&["stop", "deaf", "--no-wait"])[0]["name"], "deaf");
    let told = family.expect("sleeps in the kernel (state D");
    assert!(told.contains(&format!("deaf waits for pid {pid}, which")), "{told}");
    let status = family.status("deaf");
    assert_eq!(
        (&status["state"], status["unkillable"]["pid"].to_string()),
        (&"stopping".into(), pid.clone())
    );
    let why = family.home.ctl(&["why", "deaf"]).out;
    assert!(why.contains(&format!("It waits for pid {pid}, which sleeps in the kernel")), "{why}");
    freezer.thaw();
    let said = family.home.ctl(&["wait", "deaf", "--until", "stopped"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    drop(freezer);
    family.shut_down();
}

#[test]
fn without_cgroups_the_family_is_said_empty_after_those_out_of_sight_are_ended() {
    // Two forks, two sessions, no environment: whose they are cannot be seen any more.
    let home = Home::new(
        "[service.hidden]\nshell = true\n\
         command = \"env -i setsid sh -c 'exec env -i setsid sleep 1000 &' & wait; echo hidden; exec sleep 1000\"\n",
    );
    let Some(command) = without(Hierarchies::V2, &home) else { return };
    let mut family = Family::with(home, command);
    family.expect("hidden | hidden");
    let (code, lines) = family.shut_down();
    let ended = place(&lines, "processes that belonged to no service were killed and buried");
    assert!(ended < place(&lines, "the family is empty"), "{}", lines.join("\n"));
    assert_eq!(code, Some(0));
}

#[test]
fn who_ignores_sigterm_in_a_session_of_its_own_is_ended_with_cgroups_and_without() {
    let configuration = "[service.wild]\nshell = true\nstop = { leftover-grace = \"100ms\" }\n\
         command = \"(setsid ACTORS/ignore_term &); exec sleep 1000\"\n\
         [service.other]\ncommand = \"sleep 1000\"\n";
    for hidden in [None, Some(Hierarchies::V2), Some(Hierarchies::ReadOnly)] {
        let home = Home::new(configuration);
        let mut family = match hidden {
            None => Family::start(home, &[]),
            Some(what) => {
                let Some(command) = without(what, &home) else { return };
                Family::with(home, command)
            }
        };
        family.expect("wild | ignore_term: ready");
        let said = family.home.ctl(&["stop", "wild"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        family.expect("wild is empty: no process of it is left (1 had outlived");
        family.shut_down();
    }
}
