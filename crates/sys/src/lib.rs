//! The door to the kernel: one function is one system call, and all the unsafe code of doula is here.
#![no_std]
extern crate alloc;
