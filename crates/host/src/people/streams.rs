//! Requests that go on: output, events, and a terminal or pipe that somebody is attached to.

use super::answers::{Answer, Asker};
use super::history::History;
use super::views::refuse;
use super::{Desk, People, views};
use crate::control::{ClientId, Passed, Server};
use crate::logs::{Filter, Followed, FollowerId, Mark, Record, SourceId};
use doula_model::control::{
    Bytes, LogRecord, Refusal, RefusalKind, Reply, Request, Stream, Wall, WindowSize,
};
use doula_model::id::ServiceId;
use doula_model::plan::Errno;
use doula_sys::fd;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// So many records are passed on in one turn, to whom they may go: more than are kept, so that a single follower of a
/// flood misses nothing by our fault.
const RECORDS_PER_TURN: usize = 16_384;

/// So many of them everybody gets at least.
const RECORDS_FOR_EACH: usize = 256;

/// What goes on, by who asked for it.
#[derive(Default)]
pub(super) struct Streams {
    open: BTreeMap<Asker, Flow>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Flow {
    Logs {
        follower: FollowerId,
        goes_on: bool,
    },
    /// `until`: the number of the first event that is left out, if it does not go on.
    Events {
        services: Vec<ServiceId>,
        next: u64,
        until: Option<u64>,
    },
    Attached {
        service: ServiceId,
        /// Another one for the program that we become.
        #[serde(skip)]
        source: SourceId,
    },
}

/// Carries out a request that begins, feeds or ends a stream.
pub(super) fn carry_out(people: &mut People, desk: &mut Desk<'_>, asker: Asker, request: Request) -> Answer {
    let streams = &mut people.streams;
    match request {
        Request::Logs { names, follow, since, lines } => {
            let services = if names.is_empty() { Vec::new() } else { views::find(desk.engine, &names)? };
            let since = since.map(|Wall(micros)| Duration::from_micros(micros));
            let filter = Filter { services: services.into_iter().collect(), since };
            let last = lines.map(|lines| lines as usize);
            let follower = desk.home.logs.follow(filter, last, follow);
            streams.open.insert(asker, Flow::Logs { follower, goes_on: follow });
        }
        Request::Events { names, follow, since, lines } => {
            let services = if names.is_empty() { Vec::new() } else { views::find(desk.engine, &names)? };
            let since = since.map_or(people.history.start(), |since| people.history.since(since));
            let next = lines.map_or(since, |lines| people.history.last(since, lines, &services));
            let until = (!follow).then(|| people.history.end());
            streams.open.insert(asker, Flow::Events { services, next, until });
        }
        Request::Attach { name, size } => streams.attach(desk, asker, &name, size)?,
        Request::Input { attach, data } => streams.input(desk, (asker.0, attach), &data.0),
        Request::Resize { attach, size } => streams.resize(desk, (asker.0, attach), size),
        Request::Cancel { which } => {
            let ended = (asker.0, which);
            if streams.end(desk, ended) {
                people.server.answer(ended.0, ended.1, &Reply::End);
            }
        }
        Request::Hello { .. }
        | Request::Status { .. }
        | Request::Start { .. }
        | Request::Stop { .. }
        | Request::Restart { .. }
        | Request::Reload { .. }
        | Request::ReloadConfig { .. }
        | Request::Signal { .. }
        | Request::Why { .. }
        | Request::Wait { .. }
        | Request::Upgrade { .. }
        | Request::Shutdown { .. } => unreachable!("these are no streams"),
    }
    Ok(None)
}

impl Streams {
    fn attach(
        &mut self,
        desk: &mut Desk<'_>,
        asker: Asker,
        name: &str,
        size: Option<WindowSize>,
    ) -> Result<(), Refusal> {
        let id = views::find_one(desk.engine, name)?;
        let unsupported = |text: String| refuse(RefusalKind::Unsupported, text);
        let service = desk.home.services.get(id).filter(|service| service.console.is_some());
        let source = service.and_then(|service| service.source).ok_or_else(|| {
            unsupported(format!(
                "`{name}` has no input to attach to: set stdin = \"pipe\" or \"terminal\", and start it"
            ))
        })?;
        desk.home.logs.tap(source, true);
        self.open.insert(asker, Flow::Attached { service: id, source });
        if let Some(size) = size {
            self.resize(desk, asker, size);
        }
        Ok(())
    }

    /// Input for a service. What it does not take at once is lost to it, as with a terminal whose buffer is
    /// full: we never wait for a service.
    fn input(&mut self, desk: &mut Desk<'_>, asker: Asker, bytes: &[u8]) {
        let Some(Flow::Attached { service, .. }) = self.open.get(&asker) else { return };
        let Some(service) = desk.home.services.get_mut(*service) else { return };
        if bytes.is_empty() {
            service.end_input();
        } else if let Some(console) = &service.console
            && fd::write(console, bytes) == Err(Errno::EPIPE)
        {
            service.console = None;
        }
    }

    fn resize(&mut self, desk: &mut Desk<'_>, asker: Asker, size: WindowSize) {
        let Some(Flow::Attached { service, .. }) = self.open.get(&asker) else { return };
        let console = desk.home.services.get(*service).and_then(|service| service.console.as_ref());
        if let Some(console) = console {
            // A pipe has no size; that is no error.
            let _ = doula_sys::group::set_window_size(console, size.rows, size.columns);
        }
    }

    /// Ends a stream; `false` if there is none.
    fn end(&mut self, desk: &mut Desk<'_>, asker: Asker) -> bool {
        match self.open.remove(&asker) {
            None => return false,
            Some(Flow::Logs { follower, .. }) => desk.home.logs.unfollow(follower),
            Some(Flow::Events { .. }) => {}
            Some(Flow::Attached { source, .. }) => {
                let shared = self.open.values().any(|flow| flow.reads(source));
                desk.home.logs.tap(source, shared);
            }
        }
        true
    }

    /// All of them, as they are.
    pub(super) fn all(&self) -> Vec<(Asker, Flow)> {
        self.open.iter().map(|(asker, flow)| (*asker, flow.clone())).collect()
    }

    /// Goes on with those of the program that we were.
    pub(super) fn go_on(&mut self, flows: Vec<(Asker, Flow)>) {
        self.open.extend(flows);
    }

    /// The services are there again: those who are attached to them read on.
    pub(super) fn attach_again(&mut self, server: &mut Server, desk: &mut Desk<'_>) {
        self.open.retain(|(client, request), flow| {
            let Flow::Attached { service, source } = flow else { return true };
            let found = desk.home.services.get(*service).and_then(|service| service.source);
            match found {
                Some(found) => {
                    *source = found;
                    desk.home.logs.tap(found, true);
                }
                None => server.answer(*client, *request, &Reply::End),
            }
            found.is_some()
        });
    }

    /// A client is gone.
    pub(super) fn forget(&mut self, client: ClientId, desk: &mut Desk<'_>) {
        let gone: Vec<_> = self.open.keys().copied().filter(|(owner, _)| *owner == client).collect();
        for asker in gone {
            self.end(desk, asker);
        }
    }

    /// Raw output of a source, for those who are attached to it.
    pub(super) fn raw(&self, server: &mut Server, source: SourceId, bytes: &[u8]) {
        for ((client, request), flow) in &self.open {
            if flow.reads(source) {
                server.answer(*client, *request, &Reply::Output { data: Bytes(bytes.to_vec()) });
            }
        }
    }

    /// A source has ended: so have those who were attached to it.
    pub(super) fn ended(&mut self, server: &mut Server, source: SourceId) {
        self.open.retain(|(client, request), flow| {
            let ends = flow.reads(source);
            if ends {
                server.answer(*client, *request, &Reply::End);
            }
            !ends
        });
    }

    /// Whether nothing goes on.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Passes on what is new, and ends what has come to its end: all of it when the family is over. `true`: somebody
    /// could take more at once.
    pub(super) fn pump(
        &mut self,
        server: &mut Server,
        history: &History,
        desk: &mut Desk<'_>,
        over: bool,
    ) -> bool {
        let (mut more, mut ended) = (false, Vec::new());
        let mut budget = RECORDS_PER_TURN;
        for (asker, flow) in &mut self.open {
            let most = RECORDS_FOR_EACH.max(budget);
            let next = || {
                budget = budget.saturating_sub(1);
                flow.next(history, desk)
            };
            match server.pass_on(*asker, most, next) {
                Passed::All if over || !flow.goes_on() => ended.push(*asker),
                Passed::Most => more = true,
                Passed::All | Passed::AsManyAsItTakes => {}
            }
        }
        for asker in ended {
            self.end(desk, asker);
            server.answer(asker.0, asker.1, &Reply::End);
        }
        more
    }
}

impl Flow {
    fn reads(&self, from: SourceId) -> bool {
        matches!(self, Flow::Attached { source, .. } if *source == from)
    }

    fn goes_on(&self) -> bool {
        match self {
            Flow::Logs { goes_on, .. } => *goes_on,
            Flow::Events { until, .. } => until.is_none(),
            Flow::Attached { .. } => true,
        }
    }

    /// The next record; `None` when all was passed on.
    fn next(&mut self, history: &History, desk: &mut Desk<'_>) -> Option<Reply> {
        match self {
            Flow::Logs { follower, .. } => desk.home.logs.next_followed(*follower).map(|next| match next {
                Followed::Missed(records) => Reply::Missed { records },
                Followed::Record(record) => log(desk, record),
            }),
            Flow::Events { services, next, until } => {
                let missed = history.start().saturating_sub(*next);
                if missed > 0 {
                    *next = history.start();
                    return Some(Reply::Missed { records: missed });
                }
                let entry = history.from(*next).find(|entry| entry.is_about(services));
                let entry = entry.filter(|entry| until.is_none_or(|until| entry.number < until));
                *next = entry.map_or(history.end(), |entry| entry.number + 1);
                entry.map(|entry| Reply::Event(entry.record(|id| desk.name(id))))
            }
            // What it writes is passed on as it comes.
            Flow::Attached { .. } => None,
        }
    }
}

fn log(desk: &Desk<'_>, record: Record) -> Reply {
    let stream = if record.mark == Mark::Note { Stream::Doula } else { Stream::Stdout };
    let service = desk.home.logs.name(record.service).to_owned();
    Reply::Log(LogRecord { at: super::wall(record.at), service, stream, line: Bytes(record.bytes) })
}
