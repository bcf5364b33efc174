//! `line_worker HOW [INPUT]`: a worker for `doula run --workers lines` that answers each task with `ok` and its input, except
//! that with this input (`7` unless told): HOW is the name of a signal that it sends itself; `exit`: it ends with 0; `close`:
//! it closes its standard output and lives on; `shares`: the same, and a child of it has that open still; `half`: it writes half an answer and ends; `silent`: it never answers; `wrong`: it answers
//! another task; `twice`: it answers two times; `garbage`: it answers what is no answer; `eats`: it takes memory until
//! it is killed; `error`: it answers that it failed; `none`: nothing odd. To the input `zombies` it answers how many of its siblings
//! stay zombies.

use actors::{argument, forever, named, pass, say};
use std::fs::File;
use std::io::{BufRead as _, stdin, stdout};
use std::time::{Duration, Instant};

/// It takes no more mebibytes than this.
const MOST: usize = 1024;

fn main() {
    let how = argument(1).unwrap_or_else(|| "none".to_owned());
    let odd = argument(2).unwrap_or_else(|| "7".to_owned());
    for line in stdin().lock().lines() {
        let line = line.expect("a line");
        let id = between(&line, "\"id\":", ",");
        let input = between(&line, "\"input\":\"", "\"");
        if input == "zombies" {
            say(&format!("{{\"id\":{id},\"output\":{}}}", zombies_beside_me()));
        } else if input != odd || how == "none" {
            say(&format!("{{\"id\":{id},\"output\":\"ok {input}\"}}"));
        } else if !goes_on(&how, id) {
            return;
        }
    }
}

/// Enough of JSON for inputs without quotes.
fn between<'l>(line: &'l str, before: &str, behind: &str) -> &'l str {
    let rest = line.split_once(before).expect("a task").1;
    rest.split_once(behind).expect("a task").0
}

/// Plays its part; whether it goes on then.
fn goes_on(how: &str, id: &str) -> bool {
    match how {
        "exit" => return false,
        "half" => {
            doula_sys::fd::write(stdout(), b"{\"id\":7,\"out").expect("written");
            return false;
        }
        "close" | "shares" => {
            if how == "shares" {
                // It is ended with us.
                drop(std::process::Command::new("sleep").arg("1000").spawn().expect("a child"));
            }
            let null = File::open("/dev/null").expect("/dev/null");
            doula_sys::fd::duplicate_onto(null, 1, false).expect("another standard output");
            forever();
        }
        "silent" => forever(),
        "wrong" => say("{\"id\":1000,\"output\":1}"),
        "twice" => say(&format!("{{\"id\":{id}}}\n{{\"id\":{id}}}")),
        "garbage" => say("Traceback (most recent call last):"),
        "error" => say(&format!("{{\"id\":{id},\"error\":\"no such thing\"}}")),
        "eats" => {
            let mut eaten = Vec::new();
            while eaten.len() < MOST {
                eaten.push(std::hint::black_box(vec![1_u8; 1 << 20]));
            }
            panic!("nobody ended it");
        }
        signal => {
            let signal = named(signal);
            let _unless_kill = doula_sys::signal::reset(signal);
            doula_sys::signal::raise(signal).expect("a signal sent to myself");
        }
    }
    true
}

/// How many children of my parent are zombies; they have ten seconds to be buried.
fn zombies_beside_me() -> usize {
    let me = std::fs::read_to_string("/proc/self/stat").expect("/proc");
    let parent = fields(&me).nth(1).expect("a parent").to_owned();
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let stats = std::fs::read_dir("/proc").expect("/proc").flatten();
        let stats = stats.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
        let count = stats.filter(|stat| fields(stat).take(2).eq(["Z", &parent])).count();
        if count == 0 || end < Instant::now() {
            return count;
        }
        pass(Duration::from_millis(10));
    }
}

/// Those of a `stat` behind the name: the state and the parent first.
fn fields(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace()
}
