//! One client as the supervisor sees it: a unix socket that speaks JSON. How it is talked with is [`doula_core::talk`].

use doula_core::talk::{Asked as Heard, Garbled, Line, Protocol, Took, Why};
use doula_model::control::{
    Asked, Bytes, PROTOCOL, REPLY_LIMIT, REQUEST_LIMIT, RefusalKind, Reply, Request, RequestId,
};
use doula_model::plan::Errno;
use doula_sys::socket::{self, Peer};
use serde::{Deserialize, Serialize};
use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;

/// A client.
pub(super) type Client = doula_core::talk::Client<Wire, Words>;

/// A connection.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) stream: UnixStream,
    /// Who connected.
    pub(super) peer: Peer,
}

impl Line for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> Took {
        match self.stream.read(buffer) {
            Ok(0) => Took::Over,
            Ok(count) => Took::Bytes(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Took::Nothing,
            Err(error) if error.kind() == ErrorKind::Interrupted => Took::Interrupted,
            Err(_) => Took::Over,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Took {
        match socket::send(&self.stream, bytes, &[]) {
            Ok(count) => Took::Bytes(count),
            Err(Errno::EAGAIN) => Took::Nothing,
            Err(Errno::EINTR) => Took::Interrupted,
            Err(_) => Took::Over,
        }
    }
}

/// The words of [`doula_model::control`], as JSON.
#[derive(Debug)]
pub(super) struct Words;

/// [`doula_model::control::Answer`] without owning the reply.
#[derive(Serialize)]
struct Answering<'a> {
    id: RequestId,
    #[serde(flatten)]
    reply: &'a Reply,
}

/// What can be read of a request that is not understood.
#[derive(Deserialize)]
struct Stub {
    id: RequestId,
}

impl Protocol for Words {
    type Id = RequestId;
    type Request = Request;
    type Reply = Reply;

    const VERSION: u32 = PROTOCOL;
    const REQUEST_LIMIT: u32 = REQUEST_LIMIT;
    const REPLY_LIMIT: u32 = REPLY_LIMIT;
    const NOBODY: RequestId = RequestId(0);

    fn parse(frame: &[u8]) -> Result<Heard<RequestId, Request>, Garbled<RequestId>> {
        let Asked { id, request } = serde_json::from_slice(frame).map_err(|error| {
            let id = serde_json::from_slice::<Stub>(frame).ok().map(|stub| stub.id);
            (id, format!("the request is not understood: {error}"))
        })?;
        if let Request::Hello { protocol, .. } = request {
            return Ok(Heard::Hello(id, protocol));
        }
        let needs_none =
            matches!(request, Request::Input { .. } | Request::Resize { .. } | Request::Cancel { .. });
        Ok(if needs_none { Heard::Word(id, request) } else { Heard::Question(id, request) })
    }

    fn write(id: RequestId, reply: &Reply, to: &mut Vec<u8>) -> bool {
        serde_json::to_writer(to, &Answering { id, reply }).is_ok()
    }

    fn goes_on(reply: &Reply) -> bool {
        reply.goes_on()
    }

    fn refusal(why: Why, text: String) -> Reply {
        Reply::refuse(kind_of(why), text)
    }

    fn missed(records: u64) -> Reply {
        Reply::Missed { records }
    }
}

fn kind_of(why: Why) -> RefusalKind {
    match why {
        Why::BadRequest => RefusalKind::BadRequest,
        Why::Busy => RefusalKind::Busy,
        Why::Version => RefusalKind::Version,
        Why::Internal => RefusalKind::Internal,
        Why::Unsupported => RefusalKind::Unsupported,
    }
}

/// How far the talk with a client is, for the program that takes our place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Talk {
    unsent: Bytes,
    unread: Bytes,
    greeted: bool,
    open: Vec<(RequestId, u64)>,
    active: u64,
}

impl From<doula_core::talk::Talk<RequestId>> for Talk {
    fn from(talk: doula_core::talk::Talk<RequestId>) -> Talk {
        let doula_core::talk::Talk { unsent, unread, greeted, open, active } = talk;
        Talk { unsent: Bytes(unsent), unread: Bytes(unread), greeted, open, active }
    }
}

impl From<Talk> for doula_core::talk::Talk<RequestId> {
    fn from(talk: Talk) -> doula_core::talk::Talk<RequestId> {
        let Talk { unsent, unread, greeted, open, active } = talk;
        doula_core::talk::Talk { unsent: unsent.0, unread: unread.0, greeted, open, active }
    }
}
