//! How many system calls a second the kernel on paper does on one core: families of up to seven processes that are
//! born, wait, signal each other, change groups, use pipes and end.

use doula_model::signal::Signal;
use doula_sim::kernel::call::{Call, Clone, Value, Wait};
use doula_sim::kernel::sigset::Action;
use doula_sim::kernel::{Kernel, Outcome, TaskId};
use std::io::{self, Write as _};
use std::time::Instant;

const CALLS: u64 = 5_000_000;
const MOST: usize = 7;

/// A small generator (xorshift): the measured thing is the kernel.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn call(random: &mut Random, kernel: &Kernel, alive: usize) -> Call {
    let number = |random: &mut Random| {
        let tasks: Vec<TaskId> = kernel.tasks().take(MOST).collect();
        kernel.look(tasks[random.below(tasks.len() as u64) as usize]).map_or(0, |look| look.pid)
    };
    let signals = [Signal::USR1, Signal::CONT, Signal::TERM, Signal::STOP];
    match random.below(20) {
        0..5 if alive < MOST => Call::Clone(Clone::FORK),
        5..7 => Call::ExitGroup(3),
        7..12 => Call::Wait4(Wait::any().no_hang()),
        12..15 => Call::Kill(number(random), signals[random.below(4) as usize].number()),
        15 => Call::Sigaction(Signal::USR1, Action::HANDLER),
        16 => Call::Setpgid(0, 0),
        17 => Call::Setsid,
        18 => Call::Getppid,
        _ => Call::Getpgid(0),
    }
}

fn main() -> io::Result<()> {
    let (mut random, mut kernel) = (Random(0x5eed), Kernel::new());
    let init = kernel.init();
    let began = Instant::now();
    let mut done = 0_u64;
    while done < CALLS {
        let tasks: Vec<TaskId> = kernel.tasks().filter(|task| kernel.is_in_program(*task)).collect();
        // Many calls for each look at who is there, so that the looking is not what is measured.
        for at in 0..16 {
            let task = tasks[at % tasks.len()];
            if !kernel.is_in_program(task) {
                continue;
            }
            let next = call(&mut random, &kernel, tasks.len());
            if task == init && matches!(next, Call::ExitGroup(_)) {
                continue;
            }
            if let Outcome::Done(Ok(Value::Number(_))) = kernel.call(task, next) {
                kernel.take_caught(task);
            }
            done += 1;
        }
        // Whoever was stopped goes on, and init buries whom it adopted.
        kernel.call(init, Call::Kill(-1, Signal::CONT.number()));
        while let Outcome::Done(Ok(Value::Waited(_))) = kernel.call(init, Call::Wait4(Wait::any().no_hang()))
        {
            done += 1;
        }
        done += 2;
    }
    let seconds = began.elapsed().as_secs_f64();
    writeln!(
        io::stdout(),
        "{:.2} M system calls/s ({done} in {seconds:.2} s), state {:016x}",
        done as f64 / seconds / 1e6,
        kernel.state_hash()
    )
}
