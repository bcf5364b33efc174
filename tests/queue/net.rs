//! A machine that is cut off from the others: network namespaces and links of our own between them.

use super::*;

/// Three machines: `hub`, and two that have a link to it.
struct Net {
    names: [String; 3],
}

impl Net {
    /// `None`, said aloud, where none can be made.
    #[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
    fn new() -> Option<Net> {
        let name = |which: &str| format!("doula-{}-{which}", std::process::id());
        let net = Net { names: [name("hub"), name("one"), name("two")] };
        let [hub, one, two] = &net.names;
        let mut steps: Vec<String> = net.names.iter().map(|name| format!("netns add {name}")).collect();
        for (number, name) in [(1, one), (2, two)] {
            steps.push(format!("-n {hub} link add v{number} type veth peer name up netns {name}"));
            steps.push(format!("-n {hub} addr add 10.87.{number}.1/30 dev v{number}"));
            steps.push(format!("-n {hub} link set v{number} up"));
            steps.push(format!("-n {name} addr add 10.87.{number}.2/30 dev up"));
            steps.push(format!("-n {name} link set up up"));
        }
        steps.push(format!("-n {hub} link set lo up"));
        if !steps.iter().all(|step| ip(step)) {
            println!("skipped: no network namespaces can be made here (ip netns)");
            return None;
        }
        Some(net)
    }

    /// A command on one of the machines.
    fn on(&self, machine: usize, command: &[&str]) -> Command {
        let mut on = Command::new("ip");
        on.args(["netns", "exec", &self.names[machine]]).args(command);
        on
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in &self.names {
            ip(&format!("netns del {name}"));
        }
    }
}

fn ip(words: &str) -> bool {
    let mut ip = Command::new("ip");
    ip.args(words.split(' ')).stdout(Stdio::null()).stderr(Stdio::null());
    ip.status().is_ok_and(|status| status.success())
}

#[test]
fn a_machine_that_is_cut_off_and_comes_back_makes_no_second_result() {
    if !has_server() {
        return;
    }
    let Some(net) = Net::new() else { return };
    let scratch = Scratch::new("cut");
    let (mut began, mut one, mut two) = (scratch.fifo("began"), scratch.fifo("one"), scratch.fifo("two"));
    let store = scratch.path("js");
    let server =
        Beside::start(&mut net.on(0, &["nats-server", "-a", "0.0.0.0", "-p", "4222", "-js", "-sd", &store]));
    server.says("Server is ready");
    let told = began.path.clone();
    let worker = |machine: usize, gate: &str| {
        let url = format!("nats://10.87.{machine}.1:4222/q");
        let mut command = net.on(machine, &[DOULA, "worker", "--queue", &url, "-j", "1", "--lease", "2s"]);
        let worker = Beside::start(command.env("BEGAN", &told).env("GATE", gate));
        worker.says("works at the queue");
        worker
    };
    let cut_off = worker(1, &one.path);
    let script = "test $0 != 1 || { echo $0 >$BEGAN; read line <$GATE; echo $0 $line; }; echo $0";
    let words = numbers(10);
    let submit = [&["run", "--submit", "--queue", "nats://127.0.0.1:4222/q", "--run", "cut"][..]].concat();
    let args = [&submit[..], &with(&["sh", "-c", script], &words)[..]].concat();
    let mut submit = net.on(0, &[DOULA]);
    submit.args(&args);
    let submit = std::thread::spawn(move || run(&mut submit).expect("doula starts"));
    assert_eq!(began.says(), "1");
    assert!(ip(&format!("-n {} link set v1 down", net.names[0])));
    let _other = worker(2, &two.path);
    // Its lease is over, so the other machine has the job now.
    assert_eq!(began.says(), "1");
    two.open("there");
    let said = submit.join().expect("no panic");
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    let mut expected: Vec<&str> = words.iter().map(String::as_str).chain(["1 there"]).collect();
    expected.sort_unstable();
    assert_eq!(sorted(&said), expected);
    // Back again, with a late result: it is not the first.
    assert!(ip(&format!("-n {} link set v1 up", net.names[0])));
    one.open("late");
    cut_off.signal(rustix::process::Signal::TERM);
    assert_eq!(cut_off.end(), Some(0), "its results are brought to the queue, or are there");
    let again = run(net.on(0, &[DOULA]).args(&args)).expect("doula starts");
    assert_eq!(sorted(&again), expected, "{}", again.err);
}
