//! supervisord.conf (Supervisor 4): each `[program:x]` becomes a service.

use super::draft::{Draft, Service, duration, list, literal};
use super::ini::{self, Dialect, Section};
use toml::{Table, Value};

/// Keys about output: doula collects it by itself.
const OUTPUT: &[&str] = &[
    "redirect_stderr",
    "stdout_logfile",
    "stdout_logfile_maxbytes",
    "stdout_logfile_backups",
    "stdout_syslog",
    "stderr_logfile",
    "stderr_logfile_maxbytes",
    "stderr_logfile_backups",
    "stderr_syslog",
];

/// Adds what the file says to the draft.
pub(super) fn import(text: &str, draft: &mut Draft) {
    for section in ini::parse(text, Dialect::Supervisor) {
        match section.name.split_once(':') {
            Some(("program", name)) => draft.services.push(program(name, &section)),
            Some(("fcgi-program", name)) => {
                let mut service = program(name, &section);
                service.note(
                    "a FastCGI program gets its socket as fd 0 from supervisord; doula passes it as fd 3",
                );
                draft.services.push(service);
            }
            Some(("group", name)) => {
                let programs = section.get("programs").unwrap_or_default();
                draft
                    .notes
                    .push(format!("not carried over: the group {name} ({programs}); doula has no groups"));
            }
            None if section.name == "supervisord" => supervisord(&section, draft),
            _ => draft.notes.push(format!("not carried over: the section [{}]", section.name)),
        }
    }
}

/// What holds for every program.
fn supervisord(section: &Section, draft: &mut Draft) {
    for (key, value) in &section.keys {
        match key.as_str() {
            "environment" => draft.env.extend(environment(value)),
            "nodaemon" | "pidfile" | "logfile" | "childlogdir" | "loglevel" => {}
            _ => draft.notes.push(format!("not carried over: {key}={value} of [supervisord]")),
        }
    }
}

fn program(name: &str, section: &Section) -> Service {
    let mut service = Service::new(name);
    let expand = |text: &str| expand(text, name);
    service.set("command", command(&expand(section.get("command").unwrap_or_default())));
    // Supervisor's own default: a program comes back after an exit code that was not expected.
    service.table("restart").insert("when".to_owned(), "on-failure".into());
    for (key, value) in &section.keys {
        apply(&mut service, key, &expand(value));
    }
    service
}

/// The words of a command.
fn command(text: &str) -> Value {
    match shell_words::split(text) {
        Ok(words) if !words.is_empty() => list(words),
        _ => list([text.to_owned()]),
    }
}

fn apply(service: &mut Service, key: &str, value: &str) {
    match key {
        "command" => {}
        "directory" => service.set("dir", value),
        "user" => service.set("user", value),
        "umask" => service.set("umask", value),
        "environment" => service.set("env", environment(value)),
        "numprocs" => instances(service, value),
        "process_name" | "numprocs_start" if value.contains("DOULA_INSTANCE") || value == service.name => {}
        "autostart" => drop(truth(value).filter(|on| !on).map(|on| service.set("autostart", on))),
        "autorestart" => {
            let when = match (value, truth(value)) {
                (_, Some(true)) => "always",
                (_, Some(false)) => "never",
                (_, None) => "on-failure",
            };
            service.table("restart").insert("when".to_owned(), when.into());
        }
        "exitcodes" => {
            let codes = value.split(',').filter_map(|code| code.trim().parse::<u8>().ok());
            let codes: Vec<Value> =
                codes.filter(|code| *code != 0).map(|code| i64::from(code).into()).collect();
            if !codes.is_empty() {
                service.table("restart").insert("success".to_owned(), codes.into());
            }
        }
        "startsecs" => {
            if let Some(time) = duration(value).filter(|_| value != "0") {
                service.table("restart").insert("reset-after".to_owned(), time.into());
            }
        }
        "stopsignal" => stop(service, "signal", Some(value.to_owned())),
        "stopwaitsecs" => stop(service, "grace", duration(value)),
        "stopasgroup" if truth(value) == Some(true) => stop(service, "scope", Some("group".to_owned())),
        "stopasgroup" => {}
        "killasgroup" => {}
        "socket" => socket(service, value),
        _ if OUTPUT.contains(&key) => {
            service.lost(key, value, "doula collects all output; `doula up --logs DIR` writes files");
        }
        "priority" => service.lost(key, value, "the order comes from `requires`, `wants` and `after`"),
        "startretries" => {
            service.lost(key, value, "doula tries again with growing pauses; see `restart.limit`");
        }
        _ => service.lost(key, value, "no equal"),
    }
}

fn instances(service: &mut Service, value: &str) {
    match value.parse::<i64>() {
        Ok(1) => {}
        Ok(number) => {
            service.set("instances", number);
            service.note("supervisord counts process_num from 0 and doula its DOULA_INSTANCE from 1");
        }
        Err(_) => service.lost("numprocs", value, "not a number"),
    }
}

fn stop(service: &mut Service, key: &str, value: Option<String>) {
    if let Some(value) = value {
        service.table("stop").insert(key.to_owned(), value.into());
    }
}

fn socket(service: &mut Service, value: &str) {
    let (kind, address) = match (value.strip_prefix("tcp://"), value.strip_prefix("unix://")) {
        (Some(address), _) => ("tcp", address),
        (_, Some(path)) => ("unix", path),
        (None, None) => return service.lost("socket", value, "neither tcp:// nor unix://"),
    };
    service.push("sockets", Table::from_iter([(kind.to_owned(), Value::from(address))]));
}

fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// `KEY="value",KEY2=value2` over one or more lines.
fn environment(text: &str) -> Table {
    let mut variables = Table::new();
    let mut rest = text.trim();
    while let Some((name, after)) = rest.split_once('=') {
        let after = after.trim_start();
        let (value, next) = match after.chars().next().filter(|quote| ['"', '\''].contains(quote)) {
            Some(quote) => after[1..].split_once(quote).unwrap_or((&after[1..], "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        variables.insert(name.trim().to_owned(), value.trim_end().into());
        rest = next.trim_start().trim_start_matches(',').trim_start();
    }
    variables.retain(|name, _| !name.is_empty());
    variables
}

/// Python's `%(name)s` expressions.
fn expand(text: &str, program: &str) -> String {
    let mut result = String::new();
    let text = literal(text);
    let mut rest = text.as_str();
    while let Some(at) = rest.find('%') {
        result.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            result.push('%');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inside| inside.split_once(')')) {
            let format =
                after.find(|letter: char| letter.is_ascii_alphabetic()).map_or(after.len(), |at| at + 1);
            rest = &after[format..];
            result.push_str(&named(name, program));
        } else {
            result.push('%');
        }
    }
    result.push_str(rest);
    result
}

fn named(name: &str, program: &str) -> String {
    match (name, name.strip_prefix("ENV_")) {
        (_, Some(variable)) => format!("${{{variable}:-}}"),
        ("program_name" | "group_name", None) => program.to_owned(),
        ("process_num", None) => "${DOULA_INSTANCE:-1}".to_owned(),
        ("host_node_name", None) => "${HOSTNAME:-localhost}".to_owned(),
        ("here", None) => ".".to_owned(),
        (other, None) => format!("%({other})s"),
    }
}
