//! Finding the family that is meant, and speaking with its supervisor.

use crate::config;
use crate::error::{Failure, Kind};
use doula_host::control::place::{Bases, Found};
use doula_host::control::{Connection, ConnectionError};
use doula_host::usage;
use doula_model::control::{
    Answer, FamilyStatus, Refusal, RefusalKind, Reply, Request, RequestId, ServiceStatus,
};
use std::path::{Path, PathBuf};

/// A conversation with one supervisor.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: Connection,
    socket: PathBuf,
}

impl Link {
    /// Connects to the family of this name, or to the one that is meant without a name.
    pub(super) fn open(name: Option<&str>) -> Result<Link, Failure> {
        let bases = Bases::from_env();
        // With a name the file here does not matter, nor whether it has errors.
        let wanted = name.map_or_else(here, |name| Ok(Some(name.to_owned())))?;
        let found = choose(wanted.as_deref(), bases.running());
        let found = found.or_else(|failure| of_others(wanted.as_deref(), bases.of_others(), failure));
        let found = found.map_err(|failure| {
            let looked: Vec<_> = bases.dirs().iter().map(|dir| dir.display().to_string()).collect();
            Failure { text: format!("{} (looked in {})", failure.text, looked.join(", ")), ..failure }
        })?;
        let client = concat!("doula ctl ", env!("CARGO_PKG_VERSION"));
        let connection = Connection::open(&found.socket, client).map_err(failed)?;
        Ok(Link { connection, socket: found.socket })
    }

    /// Asks, and gives the number under which the answers come.
    pub(super) fn send(&mut self, request: Request) -> Result<RequestId, Failure> {
        self.connection.ask(request).map_err(failed)
    }

    /// Adds what the services use, if we see the same processes as the supervisor.
    pub(super) fn measure(&self, services: &mut [ServiceStatus]) {
        if self.connection.is_of_our_namespace() {
            usage::fill(services);
        }
    }

    /// Fills in the memory of the workers of pools, slowly.
    pub(super) fn measure_workers(&self, status: &mut FamilyStatus) {
        if self.connection.is_of_our_namespace() {
            crate::scoreboard::measure(status);
        }
    }

    /// The next answer to any request; a refusal is a failure.
    pub(super) fn next(&mut self) -> Result<Answer, Failure> {
        self.next_or_end()?.ok_or_else(|| failed(ConnectionError::Closed))
    }

    /// The same; `None` when the family has come to its end. A supervisor that was killed leaves its socket behind.
    pub(super) fn next_or_end(&mut self) -> Result<Option<Answer>, Failure> {
        let answer = match self.connection.next(None) {
            Err(ConnectionError::Closed | ConnectionError::Broken(_)) if !self.socket.exists() => {
                return Ok(None);
            }
            answer => answer.map_err(failed)?.ok_or_else(|| failed(ConnectionError::Silent))?,
        };
        match answer.reply {
            Reply::Error(refusal) => Err(refused(refusal)),
            reply => Ok(Some(Answer { reply, ..answer })),
        }
    }

    /// Asks a question that has one answer.
    pub(super) fn ask(&mut self, request: Request) -> Result<Reply, Failure> {
        let id = self.send(request)?;
        loop {
            let answer = self.next()?;
            if answer.id == id {
                return Ok(answer.reply);
            }
        }
    }

    /// Asks a question that has many answers, until the last.
    pub(super) fn each(
        &mut self,
        request: Request,
        mut show: impl FnMut(Reply) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let id = self.send(request)?;
        loop {
            let answer = self.next()?;
            if answer.id == id && !answer.reply.goes_on() {
                return Ok(());
            }
            show(answer.reply)?;
        }
    }
}

/// The name of the family whose configuration is in this directory, if there is one.
fn here() -> Result<Option<String>, Failure> {
    let path = config::find(None);
    if !Path::new(&path).exists() {
        return Ok(None);
    }
    let family = config::load(&path).map_err(|_| {
        let file = path.display();
        Failure::usage(format!("the name of the family is in `{file}`, which has errors"))
            .hint(format!("see them with `doula check {file}`, or name the family with --name"))
    })?;
    Ok(Some(family.name))
}

/// The family that is wanted by name, else the only one.
fn choose(wanted: Option<&str>, running: Vec<Found>) -> Result<Found, Failure> {
    let names: Vec<_> = running.iter().map(|found| found.name.clone()).collect();
    let others = format!("running: {}", names.join(", "));
    if let Some(wanted) = wanted {
        let found = running.into_iter().find(|found| found.name == wanted);
        let hint = if names.is_empty() { "start it with `doula up`".to_owned() } else { others };
        return found
            .ok_or_else(|| Failure::new(Kind::Usage, format!("no family `{wanted}` is running")).hint(hint));
    }
    let mut running = running.into_iter();
    match (running.next(), running.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(Failure::usage("no family is running").hint("start one with `doula up`")),
        (Some(_), Some(_)) => {
            Err(Failure::usage("several families are running").hint(format!("choose with --name; {others}")))
        }
    }
}

/// For root: the family of another user that has the wanted name, if it is the only one; else the failure, with those
/// that there are.
fn of_others(wanted: Option<&str>, others: Vec<Found>, failure: Failure) -> Result<Found, Failure> {
    let list: Vec<_> = others.iter().map(|found| format!("{} of user {}", found.name, found.owner)).collect();
    let mut meant = others.into_iter().filter(|found| Some(found.name.as_str()) == wanted);
    match (meant.next(), meant.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err(Failure::usage("several users run a family of this name")
            .hint(format!("run `doula ctl` as one of them; running: {}", list.join(", ")))),
        (None, _) if list.is_empty() => Err(failure),
        (None, _) => {
            let others = format!("name one of those of others: {}", list.join(", "));
            let hint = failure.hint.clone().map_or(others.clone(), |own| format!("{own}; or {others}"));
            Err(failure.hint(hint))
        }
    }
}

/// What a refusal means for our exit code.
fn refused(refusal: Refusal) -> Failure {
    let kind = match refusal.kind {
        RefusalKind::NoSuchService
        | RefusalKind::BadRequest
        | RefusalKind::Configuration
        | RefusalKind::Unsupported => Kind::Usage,
        RefusalKind::Busy | RefusalKind::ShuttingDown => Kind::Ended,
        RefusalKind::Version | RefusalKind::Internal => Kind::Doula,
    };
    Failure { kind, text: refusal.text, hint: refusal.hint }
}

/// What a broken connection means.
pub(super) fn failed(error: ConnectionError) -> Failure {
    let hint = match &error {
        ConnectionError::Silent => Some("its process may be stopped (SIGSTOP) or wait for a terminal"),
        ConnectionError::Refused(_) | ConnectionError::Garbled(_) => {
            Some("the supervisor may be of another version of doula")
        }
        ConnectionError::Connect(_) | ConnectionError::Broken(_) | ConnectionError::Closed => None,
    };
    Failure { hint: hint.map(str::to_owned), ..Failure::doula(error.to_string()) }
}

/// An answer that does not fit the question.
pub(super) fn unexpected() -> Failure {
    Failure::doula("the supervisor gave an answer that does not fit the question")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str]) -> Vec<Found> {
        names.iter().map(|name| Found { name: (*name).into(), socket: "/s".into(), owner: 7 }).collect()
    }

    #[test]
    fn the_family_that_is_meant_is_the_named_one_or_the_only_one() {
        for (wanted, running, meant) in [(Some("b"), &["a", "b"][..], "b"), (None, &["b"], "b")] {
            let chosen = choose(wanted, found(running));
            assert_eq!(chosen.map(|found| found.name).as_deref(), Ok(meant));
        }
    }

    #[test]
    fn who_means_nobody_is_told_who_is_running() {
        for (wanted, running, text, hint) in [
            (Some("x"), &["a", "b"][..], "no family `x` is running", "running: a, b"),
            (Some("x"), &[], "no family `x` is running", "start it with `doula up`"),
            (None, &[], "no family is running", "start one with `doula up`"),
            (None, &["a", "b"], "several families are running", "choose with --name; running: a, b"),
        ] {
            let chosen = choose(wanted, found(running));
            assert_eq!(chosen, Err(Failure::usage(text).hint(hint)));
        }
    }

    #[test]
    fn root_finds_the_family_of_another_user_by_its_name_if_it_is_the_only_one() {
        let failure = || Failure::usage("no family is running");
        let chosen = of_others(Some("b"), found(&["a", "b"]), failure());
        assert_eq!(chosen.map(|found| found.name).as_deref(), Ok("b"));
        let chosen = of_others(Some("a"), found(&["a", "a"]), failure()).expect_err("not clear");
        assert!(chosen.to_string().contains("several users"), "{chosen}");
        for wanted in [None, Some("x")] {
            let chosen = of_others(wanted, found(&["a"]), failure());
            assert_eq!(chosen, Err(failure().hint("name one of those of others: a of user 7")));
            assert_eq!(of_others(wanted, Vec::new(), failure()), Err(failure()));
        }
    }
}
