//! One `[service.NAME]` table, already checked, becomes the words of the model: once for each instance.

use super::accounts::{self, Account};
use super::commands;
use super::environment::{self, Environment, Surroundings};
use super::keys;
use super::policy;
use super::pool;
use super::problem::Complaint;
use super::value;
use super::view::{Item, Table, View, integer};
use doula_model::plan::{Capabilities, Credentials, Resource, Rlimit};
use doula_model::recipe::{Limits, LogPolicy, Recipe, Socket, SocketAddress, Stdin};
use doula_model::service::{Kind, ServiceSpec};
use std::ops::Range;
use toml::de::DeValue;

/// The accept queue of a socket that says nothing (the kernel cuts it to `net.core.somaxconn`, 4096 by default).
const BACKLOG: u32 = 4096;
/// Whoever reaches the directory may connect, as with systemd's sockets; a narrower mode is one key away.
const SOCKET_MODE: u32 = 0o666;

/// A service as it stands in the file.
pub(crate) struct Written<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Where the name stands.
    pub(crate) span: Range<usize>,
    /// Its keys, with the defaults behind.
    pub(crate) keys: View<'a>,
    /// The keys of the file.
    pub(crate) family: View<'a>,
    /// Its keys as a pool, if it is one.
    pub(crate) pool: Option<View<'a>>,
}

impl Written<'_> {
    /// How many instances there are; `None`: one, under the plain name.
    pub(crate) fn instances(&self) -> Option<u32> {
        if let Some(pool) = &self.pool {
            return Some(pool::places(pool));
        }
        self.keys.whole("instances").filter(|count| (1..=keys::MAX_INSTANCES).contains(&i64::from(*count)))
    }

    /// The names of its instances.
    pub(crate) fn names(&self) -> Vec<String> {
        match self.instances() {
            None => vec![self.name.to_owned()],
            Some(count) => (1..=count).map(|number| format!("{}@{number}", self.name)).collect(),
        }
    }
}

/// All instances of a service, without their dependencies.
pub(crate) fn read(written: &Written<'_>, around: &Surroundings<'_>) -> Vec<(ServiceSpec, Recipe)> {
    let account = account(&written.keys, around);
    let names = written.names();
    let numbered = written.pool.is_none() && written.instances().is_some();
    let one = |(index, name): (usize, &String)| {
        let mut environment =
            environment::of_service(&written.keys, &written.family, account.as_ref(), around);
        if numbered {
            environment.set("DOULA_INSTANCE", &(index + 1).to_string());
        }
        written.keys.layers("env").for_each(|table: &Table<'_>| environment.table(table, around));
        let recipe = recipe(written, &environment, account.as_ref(), around);
        let (recipe, fingerprint) = super::finish(recipe, environment, around);
        (ServiceSpec { fingerprint, ..policy::spec(&written.keys, name) }, recipe)
    };
    let mut read: Vec<(ServiceSpec, Recipe)> = names.iter().enumerate().map(one).collect();
    if let Some(keys) = &written.pool {
        let mut specs: Vec<ServiceSpec> = read.iter().map(|(spec, _)| spec.clone()).collect();
        pool::enlist(written, keys, &mut specs);
        read.iter_mut().zip(specs).for_each(|((old, _), new)| *old = new);
    }
    read
}

/// A recipe that lacks its environment.
fn recipe(
    written: &Written<'_>,
    environment: &Environment<'_>,
    account: Option<&Account>,
    around: &Surroundings<'_>,
) -> Recipe {
    let service = &written.keys;
    let texts = Texts { environment, around };
    let shell = service.bool("shell") == Some(true);
    let command = |item| commands::read(item, shell, &texts);
    let hook = |name| commands::hook(service, name, &keys::HOOK_TABLE).map_or_else(Vec::new, command);
    let ready = policy::ready_sign(service, &texts, shell);
    let watchdog = service.duration("watchdog");
    let fd_store = service.whole("fd-store").unwrap_or(0);
    let counts = written.pool.is_some_and(|pool| pool.item("max-requests").is_some());
    let dir = service.item("dir").map(|item| around.path(&texts.of(item)));
    Recipe {
        command: service.item("command").map_or_else(Vec::new, command),
        pre_start: hook("pre-start"),
        post_stop: hook("post-stop"),
        reload: commands::hook(service, "reload", &keys::RELOAD).map_or_else(Vec::new, command),
        dir: Some(dir.unwrap_or_else(|| around.dir.to_string_lossy().into_owned())),
        liveness: policy::liveness_probe(service, &texts, shell),
        notify: service
            .bool("notify")
            .unwrap_or_else(|| counts || policy::speaks(&ready, watchdog, fd_store)),
        fd_store,
        watchdog,
        sockets: sockets(written, &texts),
        stdin: stdin(service, &texts),
        schedule: policy::schedule(service).map(|(cron, _)| cron),
        log: log(service),
        seat: written.pool.as_ref().map(pool::seat),
        ready,
        ..rights(service, account)
    }
}

/// The part of a recipe that holds it in bounds.
fn rights(service: &View<'_>, account: Option<&Account>) -> Recipe {
    let affinity = service.item("affinity");
    Recipe {
        credentials: account.map(|account| account.credentials.clone()),
        capabilities: capabilities(service),
        no_new_privs: service.bool("no-new-privs").unwrap_or(false),
        umask: service.octal("umask"),
        rlimits: rlimits(service),
        nice: service.whole("nice"),
        affinity: affinity.map_or_else(Vec::new, cpus),
        oom_score_adj: service.whole("oom-score"),
        limits: limits(service),
        ..Recipe::default()
    }
}

/// Texts of one service with its variables filled in.
pub(crate) struct Texts<'a> {
    environment: &'a Environment<'a>,
    /// Everything outside of the file.
    pub(crate) around: &'a Surroundings<'a>,
}

impl Texts<'_> {
    /// A string with its variables filled in; empty if it is none.
    pub(crate) fn of(&self, item: &Item<'_>) -> String {
        let text = item.get_ref().as_str().unwrap_or_default();
        self.around.expand(text, self.environment, &item.span())
    }

    /// The same of a part of an item.
    pub(crate) fn part(&self, text: &str, item: &Item<'_>) -> String {
        self.around.expand(text, self.environment, &item.span())
    }

    /// Notes a problem at an item.
    pub(crate) fn note(&self, item: &Item<'_>, complaint: Complaint) {
        self.around.report.note(&item.span(), complaint);
    }
}

/// Who the service runs as, if it says so. Variables in it are doula's own: those of the service depend on who
/// it runs as.
fn account(service: &View<'_>, around: &Surroundings<'_>) -> Option<Account> {
    let note = |item: &Item<'_>, complaint| around.report.note(&item.span(), complaint);
    let text = |item: &Item<'_>| match item.get_ref().as_str() {
        Some(text) => around.expand(text, around.inherited, &item.span()),
        None => integer(item.get_ref()).map(|number| number.to_string()).unwrap_or_default(),
    };
    let user = service.item("user");
    let group = service.item("group");
    let groups = service.item("groups");
    if user.is_none() && group.is_none() && groups.is_none() {
        return None;
    }
    let mut account = match user.map(|item| (item, accounts::user(&text(item)))) {
        None => accounts::own(),
        Some((_, Ok(account))) => account,
        Some((item, Err(complaint))) => {
            note(item, complaint);
            accounts::own()
        }
    };
    let mut gid = |item: &Item<'_>| accounts::group(&text(item)).map_err(|error| note(item, error)).ok();
    let Credentials { gid: primary, groups: others, .. } = &mut account.credentials;
    if let Some(found) = group.and_then(&mut gid) {
        *primary = found;
    }
    if groups.is_some() {
        *others = service.list("groups").filter_map(gid).collect();
    }
    Some(account)
}

fn capabilities(service: &View<'_>) -> Option<Capabilities> {
    let bits = |items: &mut dyn Iterator<Item = &Item<'_>>| {
        let names = items.filter_map(|item| item.get_ref().as_str());
        names.filter_map(|name| value::capability(name).ok()).fold(0, |all, bit| all | bit)
    };
    service.item("capabilities")?;
    let Some(table) = service.table("capabilities", &keys::CAPABILITIES) else {
        let held = bits(&mut service.list("capabilities"));
        return Some(Capabilities { bounding: held, ambient: held });
    };
    let bounding = table.item("bounding").map(|_| bits(&mut table.list("bounding")));
    let bounding = bounding.unwrap_or(value::ALL_CAPABILITIES.bounding);
    // What the bounding set does not have cannot be held either.
    Some(Capabilities { bounding, ambient: bits(&mut table.list("ambient")) & bounding })
}

fn rlimits(service: &View<'_>) -> Vec<Rlimit> {
    let Some(table) = service.joined("rlimits", &keys::RLIMITS) else { return Vec::new() };
    let one = |resource: &Resource| {
        let both = table.item(resource.name())?;
        let (soft, hard) = match table.table(resource.name(), &keys::RLIMIT_TABLE) {
            None => (limit(both), limit(both)),
            Some(inner) => (inner.item("soft").and_then(limit), inner.item("hard").and_then(limit)),
        };
        let (soft, hard) = (soft.or(hard)?, hard.or(soft)?);
        Some(Rlimit { resource: *resource, soft: soft.min(hard), hard })
    };
    Resource::ALL.iter().filter_map(one).collect()
}

fn limit(item: &Item<'_>) -> Option<u64> {
    bytes(item.get_ref(), value::rlimit)
}

/// A number, or a text that `parse` understands.
pub(super) fn bytes(value: &DeValue<'_>, parse: fn(&str) -> Result<u64, Complaint>) -> Option<u64> {
    match value.as_str() {
        Some(text) => parse(text).ok(),
        None => u64::try_from(integer(value)?).ok(),
    }
}

fn limits(service: &View<'_>) -> Limits {
    let Some(table) = service.joined("limits", &keys::LIMITS) else { return Limits::default() };
    let cpu = table.item("cpu").map(toml::Spanned::get_ref).and_then(|share| match share.as_str() {
        Some(text) => value::cpu_share(text).ok(),
        None => value::cpu_share(&super::view::float(share)?.to_string()).ok(),
    });
    let memory = table.item("memory").and_then(|item| bytes(item.get_ref(), value::size));
    Limits { pids: table.whole("pids"), memory, cpu_milli: cpu }
}

fn cpus(item: &Item<'_>) -> Vec<u16> {
    if let Some(text) = item.get_ref().as_str() {
        return value::cpus(text).unwrap_or_default();
    }
    let number = |item: &Item<'_>| u16::try_from(integer(item.get_ref())?).ok();
    let list = item.get_ref().as_array().into_iter().flatten();
    let mut cpus: Vec<u16> = list.filter_map(number).collect();
    cpus.sort_unstable();
    cpus.dedup();
    cpus
}

fn stdin(service: &View<'_>, texts: &Texts<'_>) -> Stdin {
    if let Some(item) = service.table("stdin", &keys::STDIN).and_then(|table| table.item("file")) {
        return Stdin::File(texts.around.path(&texts.of(item)));
    }
    match service.text("stdin") {
        Some("pipe") => Stdin::Pipe,
        Some("terminal") => Stdin::Terminal,
        _ => Stdin::Null,
    }
}

fn log(service: &View<'_>) -> LogPolicy {
    let table = service.joined("log", &keys::LOG);
    let flood = table.and_then(|table| table.item("flood").map(|_| table.whole("flood")));
    flood.map_or_else(LogPolicy::default, |flood| LogPolicy { flood })
}

fn sockets(written: &Written<'_>, texts: &Texts<'_>) -> Vec<Socket> {
    let tables = written.keys.list("sockets").filter_map(|item| item.get_ref().as_table());
    tables
        .filter_map(|table| socket(written.name, &View::new(&keys::SOCKET, Some(table), None), texts))
        .collect()
}

fn socket(service: &str, table: &View<'_>, texts: &Texts<'_>) -> Option<Socket> {
    let name = match table.item("name") {
        None => service.to_owned(),
        Some(item) => {
            let name = texts.of(item);
            // LISTEN_FDNAMES joins the names with colons (sd_listen_fds(3)).
            if name.is_empty()
                || name.len() > 255
                || name.contains(|letter: char| letter == ':' || letter.is_control())
            {
                let what = format!("`{name}` cannot be the name of a socket");
                texts.note(item, Complaint::new(what, "empty, with a colon, or longer than 255 bytes"));
            }
            name
        }
    };
    let address = |item: &Item<'_>| {
        let text = texts.of(item);
        value::host_port(&text).map_err(|complaint| texts.note(item, complaint)).ok();
        text
    };
    let address = if let Some(item) = table.item("tcp") {
        SocketAddress::Tcp(address(item))
    } else if let Some(item) = table.item("udp") {
        SocketAddress::Udp(address(item))
    } else {
        let item = table.item("unix")?;
        let path = texts.around.path(&texts.of(item));
        // sockaddr_un has room for 107 bytes and a NUL (unix(7)).
        if path.len() > 107 {
            let complaint = Complaint::new("the path of a Unix socket has at most 107 bytes", "too long");
            texts.note(item, complaint.help(format!("it is {} bytes: {path}", path.len())));
        }
        SocketAddress::Unix { path, mode: table.octal("mode").unwrap_or(SOCKET_MODE) }
    };
    Some(Socket { name, address, backlog: table.whole("backlog").unwrap_or(BACKLOG) })
}

/// Whether the service runs to its end.
pub(crate) fn ends(kind: Kind) -> bool {
    match kind {
        Kind::Daemon => false,
        Kind::Oneshot | Kind::Scheduled { .. } => true,
    }
}
