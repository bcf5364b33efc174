//! systemd's `*.service` files (systemd.service(5), systemd.exec(5), systemd.kill(5)).

use super::draft::{Draft, Service, duration, list, literal, variables};
use super::ini::{self, Dialect, Section};
use toml::{Table, Value};

/// Adds the unit to the draft. Names of other units are kept as they are until [`finish`].
pub(super) fn import(name: &str, text: &str, draft: &mut Draft) {
    let unit = name.strip_suffix(".service").unwrap_or(name);
    let mut service = Service::new(unit);
    let sections = ini::parse(text, Dialect::Systemd);
    usual(&mut service);
    for section in &sections {
        match section.name.as_str() {
            "Service" => in_service(&mut service, section, unit),
            "Unit" => in_unit(&mut service, section),
            "Install" => {}
            other => service.note(format!("not carried over: the section [{other}]")),
        }
    }
    if service.get("command").is_none() {
        service.note("the unit has no ExecStart=; write the command here");
        service.set("command", list(["true"]));
    }
    draft.services.push(service);
}

/// What holds in systemd without a word and not in doula.
fn usual(service: &mut Service) {
    service.set("env-inherit", list(["PATH", "LANG"]));
    service.set("restart", "never");
    service
        .table("stop")
        .extend([("scope".to_owned(), Value::from("tree")), ("grace".to_owned(), Value::from("90s"))]);
}

/// Leaves only dependencies on units that are there too.
pub(super) fn finish(draft: &mut Draft) {
    let names: Vec<String> = draft.services.iter().map(|service| service.name.clone()).collect();
    for service in &mut draft.services {
        for key in ["requires", "wants", "after"] {
            let Some(units) = service.get(key).and_then(Value::as_array).cloned() else { continue };
            let units: Vec<String> = units.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            let plain = |unit: &String| unit.strip_suffix(".service").unwrap_or(unit).to_owned();
            let (here, gone): (Vec<String>, Vec<String>) =
                units.iter().map(plain).partition(|unit| names.contains(unit) && *unit != service.name);
            service.set(key, list(here));
            if !gone.is_empty() {
                service.note(format!(
                    "not carried over: {key} {} (not among the imported units)",
                    gone.join(" ")
                ));
            }
        }
        service.drop_empty_lists();
    }
}

fn in_unit(service: &mut Service, section: &Section) {
    let mut limit = Table::new();
    for (key, value) in &section.keys {
        let units =
            |service: &mut Service, ours| value.split_whitespace().for_each(|unit| service.push(ours, unit));
        match key.as_str() {
            "Description" => service.note(value.clone()),
            "Documentation" => {}
            "Requires" | "BindsTo" | "Requisite" => units(service, "requires"),
            "Wants" => units(service, "wants"),
            "After" => units(service, "after"),
            "StartLimitBurst" => {
                drop(value.parse::<i64>().map(|burst| limit.insert("burst".to_owned(), burst.into())));
            }
            "StartLimitIntervalSec" | "StartLimitInterval" => {
                drop(duration(value).map(|time| limit.insert("interval".to_owned(), time.into())));
            }
            _ => service.lost(key, value, "no equal"),
        }
    }
    if limit.get("interval") == Some(&Value::from("0s")) {
        restart_table(service).insert("limit".to_owned(), false.into());
    } else if !limit.is_empty() {
        restart_table(service).insert("limit".to_owned(), limit.into());
    }
}

fn in_service(service: &mut Service, section: &Section, unit: &str) {
    exec(service, section, unit);
    for (key, value) in &section.keys {
        let value = specifiers(value, unit);
        let known = rights(service, key, &value)
            || ending(service, key, &value)
            || surroundings(service, key, &value);
        if !known && !key.starts_with("Exec") {
            service.lost(key, &value, "no equal");
        }
    }
    let files = section.all("EnvironmentFile");
    for file in files {
        match file.strip_prefix('-') {
            None => service.push("env-file", file),
            Some(path) => {
                let table =
                    [("path".to_owned(), Value::from(path)), ("optional".to_owned(), Value::from(true))];
                service.push("env-file", Table::from_iter(table));
            }
        }
    }
    for words in section.all("Environment").iter().filter_map(|line| shell_words::split(line).ok()) {
        for (name, value) in words.iter().filter_map(|word| word.split_once('=')) {
            let value = literal(&specifiers(value, unit));
            service.table("env").insert(name.to_owned(), value.into());
        }
    }
}

/// The commands.
fn exec(service: &mut Service, section: &Section, unit: &str) {
    let lines = |key| section.all(key).into_iter().map(|line| specifiers(line, unit)).collect::<Vec<_>>();
    for (theirs, ours) in
        [("ExecStart", "command"), ("ExecStartPre", "pre-start"), ("ExecStopPost", "post-stop")]
    {
        let commands: Vec<Vec<String>> =
            lines(theirs).iter().filter_map(|line| words(service, theirs, line)).collect();
        match commands.as_slice() {
            [] => {}
            [one] => service.set(ours, list(one.iter().map(|word| variables(word)))),
            many => {
                // The shell of the joined line gets the variables as systemd writes them.
                let lines: Vec<String> = many.iter().map(shell_words::join).collect();
                service.note(format!("{theirs}= has {} lines, here joined by a shell", many.len()));
                service
                    .set(ours, list(["/bin/sh".to_owned(), "-c".to_owned(), literal(&lines.join(" && "))]));
            }
        }
    }
    for line in lines("ExecReload") {
        reload(service, &line);
    }
    for key in ["ExecStop", "ExecStartPost", "ExecCondition"] {
        for line in lines(key) {
            service.lost(key, &line, "no equal; `stop` sends a signal");
        }
    }
}

/// The words of a command line, without the prefixes of systemd.
fn words(service: &mut Service, key: &str, line: &str) -> Option<Vec<String>> {
    let plain = line.trim_start_matches(['@', '-', ':', '+', '!', '|']);
    let prefixes = &line[..line.len() - plain.len()];
    let mut words = shell_words::split(plain).ok().filter(|words| !words.is_empty())?;
    if prefixes.contains('@') && words.len() > 1 {
        let name = words.remove(1);
        service.lost(key, &name, "the name of argv[0]");
    }
    if prefixes.contains(['-', '+', '!']) {
        service.lost(key, prefixes, "this prefix has no equal");
    }
    Some(words)
}

fn reload(service: &mut Service, line: &str) {
    let Some(words) = words(service, "ExecReload", line) else { return };
    let is_kill = words.first().is_some_and(|program| program.ends_with("kill"));
    let main = words.iter().any(|word| word.contains("MAINPID"));
    let signal = words.iter().find_map(|word| word.strip_prefix('-')).filter(|name| config_signal(name));
    match (is_kill && main, signal) {
        (true, Some(signal)) => {
            let table = [("signal".to_owned(), Value::from(signal))];
            service.set("reload", Table::from_iter(table));
        }
        (false, _) if !main => service.set("reload", list(words.iter().map(|word| variables(word)))),
        _ => service.lost("ExecReload", line, "doula has no $MAINPID"),
    }
}

fn config_signal(name: &str) -> bool {
    name.parse::<doula_model::signal::Signal>().is_ok()
}

/// Keys about the end and the restart. `false`: not one of them.
fn ending(service: &mut Service, key: &str, value: &str) -> bool {
    match key {
        "Restart" => restart(service, value),
        "RestartSec" => {
            if let Some(time) = duration(value) {
                let table = restart_table(service);
                table.insert("delay".to_owned(), time.clone().into());
                table.insert("max-delay".to_owned(), time.into());
                table.insert("jitter".to_owned(), 0.0.into());
            }
        }
        "SuccessExitStatus" => {
            let outcomes = value.split_whitespace().filter_map(|word| match word.parse::<u8>() {
                Ok(code) => Some(Value::from(i64::from(code))),
                Err(_) => config_signal(word).then(|| Value::from(word)),
            });
            let outcomes: Vec<Value> = outcomes.collect();
            restart_table(service).insert("success".to_owned(), outcomes.into());
        }
        "KillMode" => match value {
            "mixed" => drop(service.table("stop").insert("scope".to_owned(), "main".into())),
            "process" | "none" => {
                service.table("stop").insert("scope".to_owned(), "main".into());
                service.lost(key, value, "doula leaves nothing behind");
            }
            _ => {}
        },
        "KillSignal" => drop(service.table("stop").insert("signal".to_owned(), value.into())),
        "TimeoutStopSec" | "TimeoutSec" => match duration(value) {
            Some(time) => drop(service.table("stop").insert("grace".to_owned(), time.into())),
            None => service.lost(key, value, "a stop always ends"),
        },
        "WatchdogSec" => {
            if let Some(time) = duration(value).filter(|time| time != "0s") {
                service.set("watchdog", time);
            }
        }

        _ => return false,
    }
    true
}

fn restart(service: &mut Service, value: &str) {
    let when = match value {
        "no" => "never",
        "always" => "always",
        "on-failure" => "on-failure",
        "on-abnormal" | "on-abort" | "on-watchdog" => {
            service.note(format!("Restart={value} is narrower than on-failure"));
            "on-failure"
        }
        _ => {
            service.lost("Restart", value, "no equal");
            "never"
        }
    };
    restart_table(service).insert("when".to_owned(), when.into());
}

/// The table under `restart`, made of the word that stands there if need be.
fn restart_table(service: &mut Service) -> &mut Table {
    let word = service.get("restart").and_then(Value::as_str).map(str::to_owned);
    let table = service.table("restart");
    if let Some(word) = word {
        table.insert("when".to_owned(), word.into());
    }
    table
}

/// Keys about what the process may do. `false`: not one of them.
fn rights(service: &mut Service, key: &str, value: &str) -> bool {
    let limits = |service: &mut Service, name: &str, value: Value| {
        drop(service.table("limits").insert(name.to_owned(), value));
    };
    match key {
        "User" => service.set("user", value),
        "Group" => service.set("group", value),
        "SupplementaryGroups" => value.split_whitespace().for_each(|group| service.push("groups", group)),
        "UMask" => service.set("umask", value),
        "Nice" => drop(value.parse::<i64>().map(|nice| service.set("nice", nice))),
        "OOMScoreAdjust" => drop(value.parse::<i64>().map(|score| service.set("oom-score", score))),
        "CPUAffinity" => service.set("affinity", value.split_whitespace().collect::<Vec<_>>().join(",")),
        "NoNewPrivileges" => service.set("no-new-privs", matches!(value, "yes" | "true" | "on" | "1")),
        "CapabilityBoundingSet" | "AmbientCapabilities" if value.starts_with('~') => {
            service.lost(key, value, "name those that are left, not those that are taken away");
        }
        "CapabilityBoundingSet" => {
            drop(service.table("capabilities").insert("bounding".to_owned(), names(value)));
        }
        "AmbientCapabilities" => {
            drop(service.table("capabilities").insert("ambient".to_owned(), names(value)));
        }
        "MemoryMax" | "MemoryLimit" if value != "infinity" && !value.ends_with('%') => {
            limits(service, "memory", value.into());
        }
        "TasksMax" if value.parse::<i64>().is_ok() => {
            limits(service, "pids", value.parse().unwrap_or(1_i64).into());
        }
        "CPUQuota" => limits(service, "cpu", value.into()),
        "FileDescriptorStoreMax" => drop(value.parse::<i64>().map(|count| service.set("fd-store", count))),
        _ => return key.strip_prefix("Limit").is_some_and(|resource| rlimit(service, resource, value)),
    }
    true
}

fn names(value: &str) -> Value {
    list(value.split_whitespace())
}

/// `LimitNOFILE=1024:4096`.
fn rlimit(service: &mut Service, resource: &str, value: &str) -> bool {
    let name = resource.to_ascii_lowercase();
    let known = doula_model::plan::Resource::ALL.iter().any(|resource| resource.name() == name);
    let number = |text: &str| match text.parse::<i64>() {
        Ok(number) => Value::from(number),
        Err(_) => Value::from(text.replace("infinity", "unlimited")),
    };
    // LimitCPU= and LimitRTTIME= may be time spans, which have units that ours have not.
    let plain = value
        .split(':')
        .all(|part| part == "infinity" || part.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let timed =
        ["cpu", "rttime"].contains(&name.as_str()) && value.bytes().any(|byte| byte.is_ascii_alphabetic());
    if !known || !plain || (timed && value != "infinity") {
        return false;
    }
    let limit = match value.split_once(':') {
        None => number(value),
        Some((soft, hard)) => {
            let both = [("soft".to_owned(), number(soft)), ("hard".to_owned(), number(hard))];
            Table::from_iter(both).into()
        }
    };
    service.table("rlimits").insert(name, limit);
    true
}

/// Keys about type, directory and environment. `false`: not one of them.
fn surroundings(service: &mut Service, key: &str, value: &str) -> bool {
    match key {
        "Environment" | "EnvironmentFile" => {}
        "PassEnvironment" => value.split_whitespace().for_each(|name| service.push("env-inherit", name)),
        "Type" => match value {
            "notify" | "notify-reload" => service.set("ready", "notify"),
            "oneshot" => service.set("kind", "oneshot"),
            "forking" => {
                service.note("Type=forking: let the program stay in the foreground, by an option of its own");
            }
            "dbus" => service.lost(key, value, "ready when it was executed"),
            _ => {}
        },
        "NotifyAccess" if value != "none" => service.set("notify", true),
        "WorkingDirectory" => {
            let dir = value.trim_start_matches('-');
            service.set("dir", if dir == "~" { "${HOME}" } else { dir });
        }
        "StandardInput" => match value.strip_prefix("file:") {
            Some(path) => service.set("stdin", Table::from_iter([("file".to_owned(), Value::from(path))])),
            None if value == "null" => {}
            None => service.lost(key, value, "see `stdin`"),
        },
        "StandardOutput" | "StandardError" | "SyslogIdentifier" => {
            service.lost(key, value, "doula collects all output; `doula up --logs DIR` writes files");
        }
        _ => return false,
    }
    true
}

/// The `%` specifiers of systemd.unit(5) that mean something here.
fn specifiers(text: &str, unit: &str) -> String {
    let (prefix, instance) = unit.split_once('@').unwrap_or((unit, ""));
    let mut result = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            result.push(letter);
            continue;
        }
        match letters.next() {
            Some('%') => result.push('%'),
            Some('n') => result.push_str(&format!("{unit}.service")),
            Some('N') => result.push_str(unit),
            Some('p') => result.push_str(prefix),
            Some('i' | 'I') => result.push_str(instance),
            Some('h') => result.push_str("${HOME}"),
            Some('t') => result.push_str("/run"),
            Some('S') => result.push_str("/var/lib"),
            Some(other) => result.extend(['%', other]),
            None => result.push('%'),
        }
    }
    result
}
