//! How many system calls a second the kernel on paper does on one core: families of up to seven processes that are
//! born, wait, signal each other, change groups, use pipes and end.

use doula_model::signal::Signal;
use doula_sim::kernel::call::{Call, Clone, Value, Wait};
use doula_sim::kernel::sigset::Action;
use doula_sim::kernel::{Kernel, Outcome, TaskId};
use std::io::{self, Write as _};

const CALLS: u64 = 5_000_000;
const MOST: usize = 7;

/// A small generator (xorshift): the measured thing is the kernel.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((u128::from(self.0) * u128::from(bound)) >> 64) as u64
    }
}

fn call(random: &mut Random, kernel: &Kernel, alive: usize) -> Call {
    let number = |random: &mut Random| {
        // Who is not there is a number too.
        kernel
            .tasks()
            .nth(random.below(MOST as u64) as usize)
            .map_or(9, |task| kernel.look(task).map_or(0, |look| look.pid))
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

/// The nanoseconds that this process was on a CPU: others that want it too are not measured.
fn processor_time() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/schedstat")?;
    text.split(' ').next().and_then(|word| word.parse().ok()).ok_or(io::ErrorKind::InvalidData.into())
}

fn main() -> io::Result<()> {
    let (mut random, mut kernel) = (Random(0x5eed), Kernel::new());
    let init = kernel.init();
    let began = processor_time()?;
    let (mut done, mut tasks) = (0_u64, Vec::<TaskId>::new());
    while done < CALLS {
        tasks.clear();
        tasks.extend(kernel.tasks().filter(|task| kernel.is_in_program(*task)));
        // Many calls for each look at who is there, so that the looking is not what is measured.
        for task in tasks.iter().copied().cycle().take(16) {
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
    let seconds = processor_time()?.saturating_sub(began) as f64 / 1e9;
    writeln!(
        io::stdout(),
        "{:.2} M system calls/s ({done} in {seconds:.2} s on a CPU), state {:016x}",
        done as f64 / seconds / 1e6,
        kernel.state_hash()
    )
}
