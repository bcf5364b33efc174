//! `doula up` and `doula ctl` from outside: real families of difficult children, on this kernel.

#[path = "../common/actors.rs"]
mod actors;
mod asking;
mod attached;
mod attributes;
#[path = "../common/bounded.rs"]
mod bounded;
mod contain;
mod datagrams;
mod end;
mod errors;
mod family;
#[path = "../common/freezer.rs"]
mod freezer;
mod hidden;
mod jobs;
mod killed;
mod limits;
mod logged;
mod peers;
mod people;
mod pools;
mod pools_go_on;
mod procfile;
mod ready;
mod restart;
mod sandboxes;
#[path = "../common/scope.rs"]
mod scope;
mod scoreboards;
mod servers;
mod start;
mod storm;
mod stuck;
mod takeover;
#[path = "../common/terminal.rs"]
mod terminal;
mod trouble;
mod upgrade;
