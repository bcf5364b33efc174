//! Tasks of 64 bytes that are given back, two workers, for `bench/jobs/frames`: `pool_bench PROTOCOL WINDOW BATCH TASKS` prints
//! how many there were in a second, from the first answer on.

use doula_host::pool::{Pool, Protocol, functions};
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

const LENGTH: usize = 64;
/// Before, workers are born.
const WARM: u64 = 1000;

fn main() -> ExitCode {
    if let Some(code) = functions(&[("echo", echo)]) {
        return code;
    }
    let args: Vec<String> = std::env::args().collect();
    let number = |at: usize| args.get(at).and_then(|arg| arg.parse::<u32>().ok()).unwrap_or(1);
    let mut pool = Pool::function(2, "echo");
    pool.at_once(number(2), number(3));
    if args.get(1).is_some_and(|protocol| protocol == "ring") {
        pool.rules().protocol = Protocol::Ring;
    }
    let tasks = u64::from(number(4)).max(2 * WARM);
    let answers = pool.map((0..tasks).map(input)).expect("a pool");
    let mut begun = Instant::now();
    for (answer, number) in answers.zip(0_u64..) {
        assert!(answer.expect("an answer").starts_with(&number.to_le_bytes()));
        if number == WARM {
            begun = Instant::now();
        }
    }
    let rate = (tasks - WARM) as f64 / begun.elapsed().as_secs_f64();
    let _ = writeln!(std::io::stdout(), "{rate:.0}");
    ExitCode::SUCCESS
}

fn input(number: u64) -> Vec<u8> {
    let mut input = vec![0; LENGTH];
    input.iter_mut().zip(number.to_le_bytes()).for_each(|(to, from)| *to = from);
    input
}

fn echo(input: &[u8], output: &mut Vec<u8>) -> Result<(), String> {
    output.extend_from_slice(input);
    Ok(())
}
