//! A storm of kills: one of many services at a time, faster than anybody could look.

use crate::family::{Family, Home};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const SERVICES: usize = 200;
const KILLS: usize = 300;
/// One kill each.
const PACE: Duration = Duration::from_millis(10);
/// The longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What `doula ctl events` tells, and what follows from it.
struct Watch {
    ctl: Child,
    events: Receiver<Value>,
    /// The main process of each service that runs, with its life.
    running: BTreeMap<String, (u64, i32)>,
    deaths: Vec<(String, u64, Value)>,
    births: usize,
}

impl Watch {
    fn over(home: &Home) -> Watch {
        let mut command = home.command(env!("CARGO_BIN_EXE_doula"));
        command
            .args(["ctl", "--name", &home.name, "events", "--follow", "--since", "1h", "--json"])
            .stdout(Stdio::piped());
        let mut ctl = command.spawn().expect("doula ctl events");
        let (sender, events) = channel();
        let pipe = BufReader::new(ctl.stdout.take().expect("a pipe"));
        std::thread::spawn(move || {
            for line in pipe.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).expect("each line is JSON");
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Watch { ctl, events, running: BTreeMap::new(), deaths: Vec::new(), births: 0 }
    }

    /// Takes in what is told until this time, or until `enough` has come.
    fn listen(&mut self, until: Instant, enough: impl Fn(&Watch) -> bool) {
        while !enough(self) {
            let Ok(event) = self.events.recv_timeout(until.saturating_duration_since(Instant::now())) else {
                return;
            };
            self.take_in(&event);
        }
    }

    fn take_in(&mut self, event: &Value) {
        assert!(event.get("missed").is_none(), "no event is missed: {event}");
        let service = event["service"].as_str().unwrap_or_default().to_owned();
        let life = event["generation"].as_u64().unwrap_or_default();
        match event["news"].as_str() {
            Some("born") => {
                let pid = event["pid"].as_i64().expect("a number") as i32;
                self.births += 1;
                self.running.insert(service, (life, pid));
            }
            Some("exited") => {
                self.running.remove(&service);
                self.deaths.push((service, life, event["status"].clone()));
            }
            _ => {}
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.ctl.kill());
        drop(self.ctl.wait());
    }
}

/// The open descriptors of a process, and its children that are dead and not buried.
fn possessions(pid: i64) -> (usize, usize) {
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("our own supervisor").count();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("its children");
    let is_zombie = |child: &&str| {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z"))
    };
    (fds, children.split_whitespace().filter(is_zombie).count())
}

#[test]
fn in_a_storm_of_kills_every_death_is_told_with_its_status_and_nothing_is_lost_or_left() {
    let mut family = Family::up(&format!(
        "[service.web]\ncommand = \"ACTORS/sleeper\"\ninstances = {SERVICES}\n\
         restart = {{ when = \"always\", delay = \"0s\", limit = false }}\n"
    ));
    family.expect(&format!("web@{SERVICES} started"));
    let supervisor = family.ask(&["status"])["pid"].as_i64().expect("its number");
    let mut watch = Watch::over(&family.home);
    watch.listen(Instant::now() + PATIENCE, |watch| watch.running.len() == SERVICES);
    assert_eq!(watch.running.len(), SERVICES, "all run before the storm");
    let (fds, _) = possessions(supervisor);

    let mut killed = BTreeSet::new();
    let mut random: u64 = 0x2545_f491_4f6c_dd1d;
    while killed.len() < KILLS {
        watch.listen(Instant::now() + PACE, |_| false);
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let Some((service, (life, pid))) = watch.running.iter().nth((random >> 33) as usize % SERVICES)
        else {
            continue;
        };
        let pid = Pid::from_raw(*pid).expect("a process");
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        if killed.insert((service.clone(), *life)) {
            pidfd_send_signal(&handle, Signal::KILL).expect("nobody else ends it");
        }
    }
    watch.listen(Instant::now() + PATIENCE, |watch| {
        watch.deaths.len() == KILLS && watch.running.len() == SERVICES
    });

    let told: BTreeSet<_> = watch.deaths.iter().map(|(service, life, _)| (service.clone(), *life)).collect();
    assert_eq!(told, killed, "exactly those deaths are told");
    assert_eq!((watch.deaths.len(), watch.births), (KILLS, SERVICES + KILLS));
    for (service, life, status) in &watch.deaths {
        assert!(status["outcome"]["signal"]["signal"] == "SIGKILL", "{service} in its life {life}: {status}");
    }
    let status = family.ask(&["status"]);
    let services = status["services"].as_array().expect("a list");
    assert_eq!(services.iter().filter(|service| service["state"] == "up").count(), SERVICES);
    assert_eq!(services.iter().filter_map(|service| service["restarts"].as_u64()).sum::<u64>(), KILLS as u64);
    // The last pipes are closed when their last line was read.
    let end = Instant::now() + PATIENCE;
    while possessions(supervisor) != (fds, 0) && Instant::now() < end {
        family.status("web@1");
    }
    assert_eq!(possessions(supervisor), (fds, 0), "descriptors, and the dead who are not buried");
    drop(watch);
    assert_eq!(family.shut_down().0, Some(0));
}
