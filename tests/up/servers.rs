//! Real servers, as Debian has them: the second example of the README, and each way in which they show readiness.
//! Where one is not installed, its test is skipped aloud.

use crate::bounded::{Said, run};
use crate::contain::skipped;
use crate::family::{Family, Home, count, place};
use rustix::process::{Signal, pidfd_send_signal};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Ports on which nobody listens just now, all different.
fn free_ports<const N: usize>() -> [u16; N] {
    let sockets = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    sockets.map(|socket| socket.local_addr().expect("its address").port())
}

/// The folders of everybody's programs, and those where Debian keeps servers.
fn path() -> String {
    let mut path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    for version in fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten() {
        path = format!("{path}:{}", version.path().join("bin").display());
    }
    path
}

fn are_installed(programs: &[&str]) -> bool {
    let path = path();
    let is_there =
        |program: &&&str| path.split(':').any(|folder| PathBuf::from(folder).join(program).is_file());
    let missing: Vec<_> = programs.iter().filter(|program| !is_there(program)).collect();
    if !missing.is_empty() {
        skipped(&format!("these programs are not installed: {missing:?}"));
    }
    missing.is_empty()
}

/// A folder for a family of servers, with a folder in it that they own.
struct Ground {
    home: Home,
    data: PathBuf,
    user: String,
}

impl Ground {
    fn new(configuration: &str) -> Ground {
        let home = Home::new(configuration);
        let data = home.dir.join("data");
        fs::create_dir(&data).expect("a folder for the servers");
        let ours = data.metadata().expect("its owner").uid();
        // PostgreSQL refuses to run as root.
        let user = if ours == 0 { "nobody".to_owned() } else { ours.to_string() };
        if ours == 0 {
            fs::set_permissions(&home.dir, fs::Permissions::from_mode(0o755)).expect("a folder for all");
            let uid = uid_of("nobody");
            std::os::unix::fs::chown(&data, Some(uid), None).expect("root may give it away");
        }
        Ground { home, data, user }
    }

    /// `doula up` with these words, knowing the ports of PostgreSQL, Redis and nginx.
    fn up(self, words: &[&str], ports: [u16; 3]) -> Family {
        let mut command = self.home.command(env!("CARGO_BIN_EXE_doula"));
        command.args(["up", "--name", &self.home.name]).args(words);
        command.env("PATH", path()).env("SERVERS_DIR", &self.data).env("SERVERS_USER", &self.user);
        for (name, port) in ["POSTGRES_PORT", "REDIS_PORT", "WEB_PORT"].iter().zip(ports) {
            command.env(name, port.to_string());
        }
        Family::with(self.home, command)
    }
}

fn uid_of(user: &str) -> u32 {
    let output = Command::new("id").args(["-u", user]).stdin(Stdio::null()).output().expect("id");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("the number of a user")
}

/// Sends this and reads until the other side closes, or `enough` has come.
fn talk(port: u16, request: &str, enough: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.write_all(request.as_bytes()).expect("it reads");
    let (mut answer, mut buffer) = (String::new(), [0; 4096]);
    while !answer.contains(enough) {
        match stream.read(&mut buffer).expect("it answers") {
            0 => break,
            length => answer.push_str(&String::from_utf8_lossy(&buffer[..length])),
        }
    }
    answer
}

fn get(port: u16) -> String {
    talk(port, "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n", "\0")
}

fn ping(port: u16) -> String {
    talk(port, "PING\r\n", "\r\n")
}

fn query(family: &Family, port: u16, words: &str) -> Said {
    let mut psql = family.home.command("psql");
    psql.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", "demo", "-Atc", words, "postgres"]);
    run(&mut psql).expect("psql starts")
}

fn answers(family: &Family, [postgres, redis, web]: [u16; 3]) {
    let said = query(family, postgres, "select 6 * 7");
    assert!(said.code == Some(0) && said.out == "42\n", "{said:?}");
    assert_eq!(ping(redis), "+PONG\r\n");
    assert!(get(web).ends_with("nginx, looked after by doula\n"), "{}", get(web));
}

#[test]
fn the_real_servers_of_the_example_start_in_order_serve_come_back_reload_and_stop_in_reverse() {
    if !are_installed(&["postgres", "initdb", "pg_isready", "psql", "redis-server", "nginx"]) {
        return;
    }
    let ports = free_ports();
    let ground = Ground::new("");
    let configuration = ground.data.join("nginx/nginx.conf");
    let example = format!("{}/examples/servers.toml", env!("CARGO_MANIFEST_DIR"));
    let mut family = ground.up(&[&example], ports);
    family.expect("nginx is ready");
    answers(&family, ports);

    for service in ["redis", "postgres", "nginx"] {
        let main = family.main_of(service);
        pidfd_send_signal(&main, Signal::KILL).expect("a process of ours");
        family.expect(&format!("{service} was killed by SIGKILL"));
        family.expect(&format!("{service} is ready"));
        let said = family.home.ctl(&["wait", "nginx", "--until", "ready"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        answers(&family, ports);
    }

    let text = fs::read_to_string(&configuration).expect("what the pre-start command wrote");
    fs::write(&configuration, text.replace("looked after", "reloaded")).expect("to change it");
    let (before, said) = (family.status("nginx")["pid"].clone(), family.home.ctl(&["reload", "nginx"]));
    assert_eq!(said.code, Some(0), "{said:?}");
    family.expect("gracefully shutting down");
    assert!(get(ports[2]).ends_with("nginx, reloaded by doula\n"));
    assert_eq!(family.status("nginx")["pid"], before);
    let said = family.home.ctl(&["reload", "postgres"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    family.expect("received SIGHUP, reloading configuration files");

    let (code, lines) = family.shut_down();
    assert_eq!(code, Some(0), "{}", lines.join("\n"));
    let stop = place(&lines, "the family shuts down");
    let rest = &lines[stop..];
    assert!(place(rest, "nginx exited cleanly") < place(rest, "postgres is stopping"));
    assert!(place(rest, "nginx exited cleanly") < place(rest, "redis is stopping"));
    place(rest, "database system is shut down");
    place(rest, "postgres exited cleanly");
    place(rest, "redis exited cleanly");
    assert_eq!(count(rest, "SIGKILL"), 0, "{}", rest.join("\n"));
}

#[test]
fn real_servers_are_ready_by_message_by_port_and_by_log_line() {
    if !are_installed(&["postgres", "initdb", "psql", "redis-server"]) {
        return;
    }
    let log_lines =
        ("{ log-line = 'Ready to accept connections' }", "{ log-line = 'ready to accept connections' }");
    for (redis, postgres) in [("{ tcp = '127.0.0.1:${REDIS_PORT}' }", "'notify'"), log_lines] {
        let ports = free_ports();
        let ground = Ground::new(&format!(
            "[defaults]\nuser = '${{SERVERS_USER}}'\ndir = '/'\n\
             [service.redis]\nready = {redis}\n\
             command = 'redis-server --bind 127.0.0.1 --port ${{REDIS_PORT}} --dir ${{SERVERS_DIR}} --save \"\"'\n\
             [service.postgres]\nready = {postgres}\nstop = 'INT'\n\
             pre-start = 'initdb --auth=trust --username=demo --no-sync --pgdata=${{SERVERS_DIR}}/postgres'\n\
             command = 'postgres -D ${{SERVERS_DIR}}/postgres -h 127.0.0.1 -p ${{POSTGRES_PORT}} -k \"\"'\n\
             [service.later]\ncommand = 'sleep 100000'\nrequires = ['redis', 'postgres']\n",
        ));
        let mut family = ground.up(&[], ports);
        family.expect("later started");
        assert_eq!(ping(ports[1]), "+PONG\r\n", "{redis}");
        let said = query(&family, ports[0], "select 6 * 7");
        assert!(said.code == Some(0) && said.out == "42\n", "{postgres}: {said:?}");
        let (code, lines) = family.shut_down();
        assert_eq!(code, Some(0), "{}", lines.join("\n"));
    }
}
