//! The rules of Linux's processes, each as a test on the model whose name begins with the number of the rule.
//!
//! P birth and numbers, C copies of memory, E execution, X death, W burial, R orphans, sessions, signals and pipes,
//! G control groups, K sockets that listen.

mod birth;
mod burial;
mod cgroups;
mod death;
mod exec;
mod family;
mod files;
mod kthreads;
mod memory;
mod numbers;
mod orders;
mod signals;
mod sockets;
mod terminals;
mod tracing;
mod world;
