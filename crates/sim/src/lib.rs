//! Linux on paper: an executable specification of what processes do, from fork to wait.
//!
//! [`kernel::Kernel`] is plain data: it can be cloned, compared, hashed, and stepped back by keeping an older
//! one. Nothing happens by itself in it: a driver makes system calls for simulated tasks and lets the kernel
//! work, either in one fixed order or in every order that Linux could choose.
//!
//! ```
//! use doula_sim::kernel::{Kernel, Outcome, call::{Call, Clone, Value, Wait}};
//! let mut kernel = Kernel::new();
//! let init = kernel.init();
//! let Outcome::Done(Ok(Value::Number(child))) = kernel.call(init, Call::Clone(Clone::FORK)) else { panic!() };
//! let born = kernel.find(child).expect("a child");
//! kernel.call(born, Call::ExitGroup(7));
//! assert_eq!(kernel.look(born).expect("a zombie").state, 'Z');
//! let Outcome::Done(Ok(Value::Waited(end))) = kernel.call(init, Call::Wait4(Wait::any())) else { panic!() };
//! assert_eq!((end.pid, end.status), (child, 7 << 8));
//! ```

#![no_std]
extern crate alloc;

pub mod kernel;
pub mod leases;
pub mod oracle;
pub mod pools;
pub mod program;
mod shrink;
pub mod what_if;
pub mod world;
