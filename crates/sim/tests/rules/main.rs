//! The rules of Linux's processes, each as a test on the model whose name begins with the number of the rule.
//!
//! P birth and numbers, X death, W burial, R orphans, sessions and signals.

mod birth;
mod burial;
mod death;
mod family;
mod numbers;
mod orders;
mod signals;
mod world;
