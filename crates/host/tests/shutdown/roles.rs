//! What this program plays when it is started in a role.

use crate::harness::{os_error, say};
use crate::{bits, copies, server};
use doula_host::Command;
use doula_host::shutdown::{Event, Phase, Report, Settings, Shutdown, on_exit};
use doula_sys::fd::{self, AsFd as _, Standard};
use doula_sys::poll::{Epoll, Happening, Interest};
use std::io::{self, Read as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

pub(crate) fn play(role: &str) -> io::Result<u8> {
    match role {
        "blocked-read" => blocked_read(),
        "hooks" => hooks(),
        "slow" => slow(),
        "immortal" => immortal(),
        "stuck" => stuck(),
        "poll-loop" => poll_loop(),
        "signals" => signals(),
        "children" => children(),
        "server" => fd::inherited(3).map_err(os_error).and_then(|fd| server::serve(TcpListener::from(fd))),
        "copies" => copies::play(),
        "worker" => copies::play_worker(),
        "busy" => copies::play_busy(),
        unknown => panic!("{unknown} is no role"),
    }
}

/// Times are no part of what is compared.
fn tell(report: &Report) -> io::Result<u8> {
    for line in report.to_string().lines() {
        let without = line.split(" in ").next().unwrap_or(line);
        let hurried = if line.ends_with(", in a hurry") { ", in a hurry" } else { "" };
        say(&format!("{}{hurried}", without.split(" after ").next().unwrap_or(without)))?;
    }
    Ok(report.exit_code())
}

fn blocked_read() -> io::Result<u8> {
    let shutdown = patient().install()?;
    let mut socket = UnixStream::from(fd::duplicate(fd::standard(Standard::In), 3).map_err(os_error)?);
    shutdown.hang_up(Phase::StopAccepting, "input", &socket)?;
    let hold = shutdown.stop().hold("the reading thread");
    thread::spawn(move || {
        say("reads")?;
        if socket.read(&mut [0; 16])? == 0 {
            say("the end of the stream")?;
        }
        drop(hold);
        io::Result::Ok(())
    });
    Ok(shutdown.wait()?.exit_code())
}

const HOUR: Duration = Duration::from_secs(3600);
/// More than a thread of a loaded machine needs to begin and to end.
const LEAST: Duration = Duration::from_secs(1);

/// No time is over by itself, however slow the machine.
fn patient() -> Settings {
    Phase::ALL.into_iter().fold(Shutdown::settings(), |settings, phase| settings.limit(phase, HOUR))
}

fn hooks() -> io::Result<u8> {
    std::panic::set_hook(Box::new(|_| {}));
    let shutdown = patient().install()?;
    let late = |error| io::Error::other::<doula_host::shutdown::TooLate>(error);
    on_exit("earlier entry", || say("earlier entry"))?;
    shutdown.on(Phase::Flush, "journal", || say("journal")).map_err(late)?;
    shutdown.on(Phase::FinishPending, "first", || say("first")).map_err(late)?;
    let full = || say("second").and(Err(io::Error::other("no room")));
    shutdown.on(Phase::FinishPending, "second", full).map_err(late)?;
    shutdown.on(Phase::CloseConnections, "connections", || say("connections")).map_err(late)?;
    shutdown.on(Phase::Flush, "broken", || panic!("out of {}", "paper")).map_err(late)?;
    shutdown.on(Phase::StopAccepting, "listener", || say("listener")).map_err(late)?;
    on_exit("later entry", || say("later entry").and(Err(io::Error::other("not there"))))?;
    on_exit("cancelled", || say("cancelled"))?.cancel();
    say("ready")?;
    tell(&shutdown.wait()?)
}

/// Nobody waits for it.
fn for_hours() -> io::Result<()> {
    say("a hook that takes hours")?;
    loop {
        thread::park();
    }
}

fn slow() -> io::Result<u8> {
    let shutdown = patient().least(LEAST).install()?;
    shutdown.on(Phase::StopAccepting, "hours", for_hours).map_err(io::Error::other)?;
    shutdown.on(Phase::Flush, "quick", || Ok(())).map_err(io::Error::other)?;
    let request = shutdown.at(Phase::FinishPending).hold("a request");
    say("ready")?;
    let report = shutdown.wait()?;
    drop(request);
    say("flushed")?;
    tell(&report)
}

fn immortal() -> io::Result<u8> {
    let shutdown = patient().least(HOUR).install()?;
    shutdown.on(Phase::Flush, "hours", for_hours).map_err(io::Error::other)?;
    say("ready")?;
    loop {
        // Interrupted by the handler or not: there is something to take.
        let _ = doula_sys::poll::readable(&shutdown, None);
        if shutdown.take_events()?.contains(&Event::Hurried) {
            say("hurried")?;
        }
    }
}

/// Nobody ever calls `take_events`.
fn stuck() -> io::Result<u8> {
    let _shutdown = Shutdown::new()?;
    say("ready")?;
    loop {
        thread::park();
    }
}

fn poll_loop() -> io::Result<u8> {
    const INPUT: u64 = 1;
    let shutdown = patient().install()?;
    let watch = Epoll::new().map_err(os_error)?;
    let input = fd::standard(Standard::In);
    watch.add(&shutdown, Interest::READ, 0).map_err(os_error)?;
    watch.add(input.as_fd(), Interest::READ, INPUT).map_err(os_error)?;
    let pending = shutdown.at(Phase::FinishPending);
    let mut request = None;
    say("ready")?;
    loop {
        let mut buffer = [Happening::EMPTY; 2];
        let happened = match watch.wait(&mut buffer, None) {
            Err(doula_host::Errno::EINTR) => continue,
            happened => happened.map_err(os_error)?,
        };
        if happened.iter().any(|it| it.token() == INPUT) {
            let mut bytes = [0; 64];
            let count = fd::read(input, &mut bytes).map_err(os_error)?;
            match (&request, bytes[..count].ends_with(b"\n")) {
                (None, false) => {
                    request = pending.hold("a request");
                    say("request begun")?;
                }
                (_, true) => {
                    say("answered")?;
                    watch.delete(input.as_fd()).map_err(os_error)?;
                    request = None;
                }
                (Some(_), false) => {}
            }
        }
        for event in shutdown.take_events()? {
            match event {
                Event::Began(phase) => say(phase.name())?,
                Event::Hurried => say("hurried")?,
                Event::Over(report) => return say("over").map(|()| report.exit_code()),
            }
        }
    }
}

fn mask_of(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line of /proc/PID/status");
    bits(line.trim_start_matches(':').trim())
}

fn signals() -> io::Result<u8> {
    let shutdown = Shutdown::new()?;
    let status = std::fs::read_to_string("/proc/self/status")?;
    say(&format!("{:x}", mask_of(&status, "SigCgt")))?;
    Ok(shutdown.wait()?.exit_code())
}

/// The signals 1 to 31.
const STANDARD: u64 = 0x7fff_ffff;

fn children() -> io::Result<u8> {
    let shutdown = Shutdown::new()?;
    let ours = Command::new("cat").arg("/proc/self/status").output().map_err(io::Error::other)?;
    let stds = std::process::Command::new("cat").arg("/proc/self/status").output()?;
    for (who, text) in [
        ("doula", ours.stdout_text().to_owned()),
        ("std", String::from_utf8_lossy(&stds.stdout).into_owned()),
    ] {
        for mask in ["SigBlk", "SigIgn", "SigCgt"] {
            // The C library ignores two signals of its own in what its posix_spawn(3) bears.
            say(&format!("{who} {mask}: {:x}", mask_of(&text, mask) & STANDARD))?;
        }
    }
    Ok(shutdown.wait()?.exit_code())
}
