//! Threads of the kernel itself: kthreadd, which is PID 2, and its children.
//!
//! kernel/kthread.c: `kthreadd`; kernel/signal.c: `ignore_signals`. A machine has them when it is made so
//! ([`Kernel::with_kernel_threads`]): they take the numbers after init's. They ignore all signals, SIGKILL too,
//! never end, are in group and session 0, and are nobody's to wait for.

use super::Kernel;
use super::sigset::{Action, Actions};
use super::slab::{PidId, TaskId};
use super::task::{Family, Place, Process, Task};
use doula_model::signal::Signal;

impl Kernel {
    /// A machine that has kthreadd and so many idle threads of the kernel below it.
    ///
    /// # Panics
    /// When it is not one that has just started.
    ///
    /// ```
    /// use doula_sim::kernel::Kernel;
    /// let kernel = Kernel::new().with_kernel_threads(1);
    /// let idle = kernel.look(kernel.find(3).unwrap()).unwrap();
    /// assert_eq!((idle.ppid, idle.state), (2, 'I'));
    /// ```
    #[must_use]
    pub fn with_kernel_threads(mut self, idle: u32) -> Kernel {
        assert!(self.births == 0 && self.tasks.iter().count() == 1, "they are the first after init");
        let host = self.make_pid_zero();
        let kthreadd = self.make_kernel_thread(host, false);
        for _ in 0..idle {
            let thread = self.make_kernel_thread(host, true);
            self.adopt(thread, Some(kthreadd));
        }
        self
    }

    fn make_kernel_thread(&mut self, host: PidId, idle: bool) -> TaskId {
        let pid = self.alloc_pid(self.root, None).expect("a machine that has just started has numbers");
        self.births += 1;
        let row = Task {
            pid,
            birth: self.births,
            family: Family::default(),
            files: None,
            memory: None,
            exit_signal: Some(Signal::CHLD),
            ..self.tasks[self.init].clone()
        };
        let process = Process {
            group: host,
            session: host,
            is_leader: false,
            unkillable: false,
            actions: Actions::all_ignored(),
            ..self.process(self.init).clone()
        };
        let thread = self.insert(row, process);
        self.set_place(thread, Place::Kernel { idle });
        thread
    }
}

impl Actions {
    /// What a thread of the kernel does about signals: nothing, and SIGKILL is one of them.
    pub(crate) fn all_ignored() -> Actions {
        let mut actions = Actions::default();
        Signal::all().for_each(|signal| actions.set(signal, Action::IGNORE));
        actions
    }
}
