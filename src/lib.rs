//! The whole life of a Linux process: birth, life, end and burial, as a library.
//!
//! ```
//! use doula::{Command, Signal};
//! use std::time::Duration;
//!
//! // Captured within limits: never a deadlock, never a hang on a grandchild that keeps the pipe.
//! let output = Command::new("sort").env("LC_ALL", "C").output_of(b"pear\napple\n")?;
//! assert_eq!(output.stdout_text(), "apple\npear\n");
//!
//! // A handle that can hit no stranger, and an end that is proven.
//! let mut child = Command::new("sh").args(["-c", "sleep 1000 & wait"]).contained().spawn()?;
//! child.signal(Signal::CONT)?;
//! let end = child.kill_tree(Duration::from_secs(20))?;
//! println!("sh {}; nobody is left, proven by {}", end.status, end.proof);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A program that wants the library alone says `doula = { …, default-features = false }`: then nothing is built of
//! what the command `doula` needs.
//!
//! - [`command`]: giving birth, with the whole context of the child as data;
//! - [`child`]: waiting, signalling, capturing, ending a whole tree;
//! - [`fork`]: a copy of this process, for those who must;
//! - [`jobs`]: many commands, a few at a time, with retries and quarantine; [`signals`] to wait for beside them;
//! - [`pool`]: workers that live on behind an iterator, in any language or for a Rust function; one that is killed costs one task;
//! - [`prefork`]: a server of several processes for a Rust function;
//! - [`pipeline`]: several commands in a row, each with its own status, times and bytes;
//! - [`daemonize`]: daemons that tell their launcher whether they are ready;
//! - [`procfs`]: looking at processes without ever hanging at one;
//! - [`lives`]: who was born and has ended between two looks;
//! - [`diagnosis`]: why processes are not buried, and what the blocked wait for;
//! - [`inject`]: burying a zombie of somebody else by a wait inside of its parent;
//! - [`aim`]: signals for processes that are not our children, which hit nobody else;
//! - [`reaper`]: burying orphans without stealing children;
//! - [`shutdown`]: ending well oneself;
//! - [`worker`]: being a worker of a pool: its sockets, and a scoreboard of its work;
//! - [`zygote`]: processes for Rust functions, born in a small copy of us.

pub use doula_host::{
    Capabilities, Capture, CaptureError, Child, Children, Command, CommandError, Credentials, Errno,
    Evidence, ExitStatus, Holder, Io, NotEmpty, OnDrop, Outcome, Output, Pid, Pipeline, PipelineEnd,
    PipelineError, Proof, Resource, Rlimit, Signal, StageEnd, Stdio, Step, Survivor, Task, TreeEnd, Usage,
    Zygote, ZygoteError, reap_left,
};
pub use doula_host::{
    aim, child, command, daemonize, diagnosis, fork, inject, jobs, lives, pipeline, pool, prefork, procfs,
    reaper, shutdown, signals, worker, zygote,
};
