//! compose.yaml (the Compose specification): each service, without its image and its container.

use super::draft::{Draft, Service, duration, list, variables};
use super::yaml::Node;
use toml::{Table, Value};

/// Adds what the file says to the draft; the error is a sentence.
pub(super) fn import(text: &str, draft: &mut Draft) -> Result<(), String> {
    let document: Node = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    for (key, value) in document.entries() {
        match key.as_str() {
            "services" => {}
            "version" => {}
            "name" => draft.notes.push(format!("the compose project is called `{}`", value.brief())),
            other if other.starts_with("x-") => {}
            other => draft.notes.push(format!("not carried over: {other}: {}", value.brief())),
        }
    }
    let services = document.get("services").map(Node::entries).unwrap_or_default();
    if services.is_empty() {
        return Err("the file has no services".to_owned());
    }
    let first = draft.services.len();
    let read = |(name, node): &(String, Node)| service(name, node);
    draft.services.extend(services.iter().map(read));
    let once: Vec<&str> = services.iter().flat_map(|(_, node)| awaited(node)).collect();
    for service in &mut draft.services[first..] {
        if once.contains(&service.name.as_str()) {
            service.set("kind", "oneshot");
            service.set("restart", "never");
        }
    }
    Ok(())
}

/// Services whose successful end this one waits for.
fn awaited(service: &Node) -> impl Iterator<Item = &str> {
    let entries = service.get("depends_on").map(Node::entries).unwrap_or_default();
    let ends =
        |node: &Node| node.get("condition").and_then(Node::text) == Some("service_completed_successfully");
    entries.iter().filter(move |(_, node)| ends(node)).map(|(name, _)| name.as_str())
}

fn service(name: &str, node: &Node) -> Service {
    let mut service = Service::new(name);
    command(&mut service, node);
    // Compose does not restart unless it is told to.
    service.set("restart", "never");
    for (key, value) in node.entries() {
        let known = running(&mut service, key, value) || bounds(&mut service, key, value);
        if !known {
            service.lost(key, &value.brief(), why(key));
        }
    }
    service
}

fn why(key: &str) -> &'static str {
    match key {
        "image" | "build" => "doula runs programs of this machine; install what the image has",
        "ports" | "expose" => "the program itself listens on the machine's ports",
        "volumes" => "the program sees the machine's files",
        "networks" | "network_mode" | "links" | "hostname" | "extra_hosts" | "dns" => {
            "it uses the machine's network"
        }
        "logging" => "doula collects all output; `doula up --logs DIR` writes files",
        "container_name" => "there is no container",
        _ => "no equal",
    }
}

/// entrypoint and command together.
fn command(service: &mut Service, node: &Node) {
    let words = |key| node.get(key).map(|node| shell_words(node, variables)).unwrap_or_default();
    let all: Vec<String> = [words("entrypoint"), words("command")].concat();
    if all.is_empty() {
        service.note("the command is that of the image: write it here");
        service.set("command", list(["false"]));
    } else {
        if node.get("entrypoint").is_none() && node.get("image").is_some() {
            service.note("if the image has an entrypoint, write it before the command");
        }
        service.set("command", list(all));
    }
}

/// A string split into words, or a list, each passed through `change`.
fn shell_words(node: &Node, change: fn(&str) -> String) -> Vec<String> {
    match node.text() {
        Some(text) => shell_words::split(text).unwrap_or_default().iter().map(|word| change(word)).collect(),
        None => node.items().iter().filter_map(Node::text).map(change).collect(),
    }
}

/// Keys about how it runs. `false`: not one of them.
fn running(service: &mut Service, key: &str, value: &Node) -> bool {
    match (key, value.text()) {
        ("command" | "entrypoint" | "init" | "platform" | "pull_policy", _) => {}
        ("environment", _) => environment(service, value),
        ("env_file", _) => env_file(service, value),
        ("depends_on", _) => depends_on(service, value),
        ("healthcheck", _) => healthcheck(service, value),
        ("restart", Some(policy)) => restart(service, policy),
        ("stop_signal", Some(signal)) => {
            drop(service.table("stop").insert("signal".to_owned(), signal.into()));
        }
        ("stop_grace_period", Some(time)) => match duration(time) {
            Some(time) => drop(service.table("stop").insert("grace".to_owned(), time.into())),
            None => return false,
        },
        ("working_dir", Some(dir)) => service.set("dir", variables(dir)),
        ("user", Some(user)) => match user.split_once(':') {
            None => service.set("user", user),
            Some((user, group)) => {
                service.set("user", user);
                service.set("group", group);
            }
        },
        ("tty", Some("true")) => service.set("stdin", "terminal"),
        ("stdin_open", Some("true")) if service.get("stdin").is_none() => service.set("stdin", "pipe"),
        ("tty" | "stdin_open", _) => {}
        ("profiles", _) => {
            service.set("autostart", false);
            service.note(format!("of the profiles {}: starts only when asked", value.brief()));
        }
        ("scale", Some(number)) => return instances(service, number),
        _ => return false,
    }
    true
}

fn instances(service: &mut Service, number: &str) -> bool {
    match number.parse::<i64>() {
        Ok(1) => true,
        Ok(0) => {
            service.set("autostart", false);
            true
        }
        Ok(number) => {
            service.set("instances", number);
            true
        }
        Err(_) => false,
    }
}

/// A mapping, or a list of `NAME=value` and `NAME`.
fn environment(service: &mut Service, value: &Node) {
    let mut set = |name: &str, value: Option<&str>| {
        let value = value.map_or_else(|| format!("${{{name}:-}}"), variables);
        service.table("env").insert(name.to_owned(), value.into());
    };
    for (name, value) in value.entries() {
        set(name, value.text());
    }
    for item in value.items().iter().filter_map(Node::text) {
        match item.split_once('=') {
            Some((name, value)) => set(name, Some(value)),
            None => set(item, None),
        }
    }
}

fn env_file(service: &mut Service, value: &Node) {
    let one = std::slice::from_ref(value);
    let files = if value.items().is_empty() { one } else { value.items() };
    for file in files {
        if let Some(path) = file.text() {
            service.push("env-file", path);
        } else if let Some(path) = file.get("path").and_then(Node::text) {
            let optional = file.get("required").and_then(Node::text) == Some("false");
            let table =
                [("path".to_owned(), Value::from(path)), ("optional".to_owned(), Value::from(optional))];
            service.push("env-file", Table::from_iter(table));
        }
    }
}

fn depends_on(service: &mut Service, value: &Node) {
    for name in value.items().iter().filter_map(Node::text) {
        service.push("requires", Service::new(name).name);
    }
    for (name, node) in value.entries() {
        let needed = node.get("required").and_then(Node::text) != Some("false");
        service.push(if needed { "requires" } else { "wants" }, Service::new(name).name);
    }
}

fn restart(service: &mut Service, policy: &str) {
    let (when, retries) = policy.split_once(':').unwrap_or((policy, ""));
    let when = match when {
        "always" | "unless-stopped" => "always",
        "on-failure" => "on-failure",
        _ => "never",
    };
    service.set("restart", when);
    if !retries.is_empty() {
        service
            .note(format!("on-failure:{retries}: doula limits restarts within a time, see `restart.limit`"));
    }
}

/// A health check says both when the service is ready and whether it lives.
fn healthcheck(service: &mut Service, value: &Node) {
    let test = value.get("test");
    let words: Vec<String> =
        test.map(|test| test.items().iter().map(Node::brief).collect()).unwrap_or_default();
    let off = value.get("disable").and_then(Node::text) == Some("true");
    let command = match (words.split_first(), test.and_then(Node::text)) {
        (Some((kind, rest)), _) if kind == "CMD" => rest.iter().map(|word| variables(word)).collect(),
        (Some((kind, rest)), _) if kind == "CMD-SHELL" => shell(&rest.join(" ")),
        (None, Some(line)) => shell(line),
        _ => Vec::new(),
    };
    if off || command.is_empty() {
        return;
    }
    let time = |key| value.get(key).and_then(Node::text).and_then(duration);
    let mut ready = Table::from_iter([("exec".to_owned(), list(command.clone()))]);
    let mut liveness = ready.clone();
    if let Some(timeout) = time("timeout") {
        ready.insert("probe-timeout".to_owned(), timeout.clone().into());
        liveness.insert("timeout".to_owned(), timeout.into());
    }
    // Compose asks every 30 s and counts three failures, if nothing is said.
    liveness.insert("interval".to_owned(), time("interval").unwrap_or_else(|| "30s".to_owned()).into());
    if let Some(start) = time("start_period") {
        liveness.insert("initial-delay".to_owned(), start.into());
    }
    if let Some(retries) = value.get("retries").and_then(Node::text).and_then(|text| text.parse::<i64>().ok())
    {
        liveness.insert("failures".to_owned(), retries.into());
    }
    service.note("the health check runs on this machine, not in the image");
    service.set("ready", ready);
    service.set("liveness", liveness);
}

fn shell(line: &str) -> Vec<String> {
    // The shell knows `$VAR` itself; compose writes a literal dollar sign as `$$`.
    let line = line.replace("$$", "$");
    vec!["/bin/sh".to_owned(), "-c".to_owned(), super::draft::literal(&line)]
}

/// Keys that hold it in bounds. `false`: not one of them.
fn bounds(service: &mut Service, key: &str, value: &Node) -> bool {
    let limit = |service: &mut Service, name: &str, value: Value| {
        drop(service.table("limits").insert(name.to_owned(), value));
    };
    match (key, value.text()) {
        ("deploy", _) => deploy(service, value),
        ("mem_limit", Some(size)) => limit(service, "memory", binary(size).into()),
        ("cpus", Some(share)) => limit(service, "cpu", share.into()),
        ("pids_limit", Some(count)) => match count.parse::<i64>() {
            Ok(count) if count > 0 => limit(service, "pids", count.into()),
            _ => {}
        },
        ("cpuset", Some(cpus)) => service.set("affinity", cpus),
        ("oom_score_adj", Some(score)) => {
            drop(score.parse::<i64>().map(|score| service.set("oom-score", score)));
        }
        ("ulimits", _) => value.entries().iter().for_each(|(name, value)| ulimit(service, name, value)),
        ("security_opt", _) if value.brief().starts_with("no-new-privileges") && value.items().len() == 1 => {
            service.set("no-new-privs", true);
        }
        _ => return false,
    }
    true
}

/// Compose's `512m` and `512mb` are both powers of 1024.
fn binary(size: &str) -> String {
    size.trim_end_matches(['b', 'B']).to_ascii_uppercase()
}

fn deploy(service: &mut Service, value: &Node) {
    for (key, value) in value.entries() {
        match (key.as_str(), value.get("limits")) {
            ("replicas", _) => drop(instances(service, value.text().unwrap_or_default())),
            ("resources", Some(limits)) => {
                let text = |key| limits.get(key).and_then(Node::text);
                let count = text("pids").and_then(|count| count.parse::<i64>().ok());
                let found = [
                    ("memory", text("memory").map(|size| Value::from(binary(size)))),
                    ("cpu", text("cpus").map(Value::from)),
                    ("pids", count.map(Value::from)),
                ];
                for (name, value) in found {
                    drop(value.map(|value| service.table("limits").insert(name.to_owned(), value)));
                }
            }
            _ => service.lost(&format!("deploy.{key}"), &value.brief(), "no equal"),
        }
    }
}

fn ulimit(service: &mut Service, name: &str, value: &Node) {
    let number = |node: &Node| match node.text()?.parse::<i64>().ok()? {
        -1 => Some(Value::from("unlimited")),
        number => Some(Value::from(number)),
    };
    let limit = match (number(value), value.get("soft").and_then(number), value.get("hard").and_then(number))
    {
        (Some(both), _, _) => both,
        (None, Some(soft), Some(hard)) => {
            Table::from_iter([("soft".to_owned(), soft), ("hard".to_owned(), hard)]).into()
        }
        _ => return service.lost(&format!("ulimits.{name}"), &value.brief(), "not a number"),
    };
    if doula_model::plan::Resource::ALL.iter().any(|resource| resource.name() == name) {
        service.table("rlimits").insert(name.to_owned(), limit);
    } else {
        service.lost(&format!("ulimits.{name}"), &value.brief(), "no such limit");
    }
}
