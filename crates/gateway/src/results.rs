//! Results: the first one of a task wins, decided by the server; long ones go in parts.
//!
//! A result is stored with the condition that its subject has none yet (`Nats-Expected-Last-Subject-Sequence: 0`). So two
//! workers that both did a task, because one of them was taken for lost, make one result, and whoever reads it never sees it change.

use crate::names::Names;
use async_nats::Client;
use async_nats::header::{HeaderMap, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID};
use async_nats::jetstream::Context;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::OutboundMessage;
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{Error, ErrorCode};
use std::error::Error as _;
use std::time::Duration;

/// A header that says where the parts of a result are, and how many.
const PARTS: &str = "Doula-Parts";
/// What a message has beside its bytes.
const ROOM: usize = 4096;
/// Pauses while a server does not answer.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// It is there.
    Yes,
    /// Another one was there before.
    Second,
    /// The stream takes no more.
    Full,
}

/// Hands a message to its stream, as often as it takes: while the servers are gone, that is for ever.
pub(crate) async fn publish(js: &Context, subject: &str, headers: &HeaderMap, bytes: &[u8]) -> Stored {
    let message = OutboundMessage::new(subject.into(), bytes.to_vec().into(), None);
    let mut pause = FIRST_PAUSE;
    loop {
        let (subject, bytes) = (message.subject.clone(), message.payload.clone());
        let answer = match js.publish_with_headers(subject, headers.clone(), bytes).await {
            Ok(answer) => answer.await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(_) => return Stored::Yes,
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => return Stored::Second,
            Err(error) if is_full(&error) => return Stored::Full,
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

/// The same until it is there, or another one was before: also a stream that is full is waited for.
pub(crate) async fn insist(js: &Context, subject: &str, headers: &HeaderMap, bytes: &[u8]) {
    while publish(js, subject, headers, bytes).await == Stored::Full {
        tokio::time::sleep(LONGEST_PAUSE).await;
    }
}

fn is_full(error: &PublishError) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<Error>());
    cause.is_some_and(|cause| {
        cause.error_code() == ErrorCode::STREAM_STORE_FAILED && cause.to_string().contains("maximum")
    })
}

/// The headers of a message that is stored only if its subject has none, and known by this name if it comes twice.
pub(crate) fn first_of(name: &str) -> HeaderMap {
    let mut headers = alone();
    headers.insert(NATS_MESSAGE_ID, name);
    headers
}

/// The headers of a message that is stored only if its subject has none.
pub(crate) fn alone() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
    headers
}

/// A longer result goes in parts.
pub(crate) fn most(client: &Client) -> usize {
    client.max_payload().saturating_sub(ROOM).max(ROOM)
}

/// Stores the result of a task, unless it has one. `lease` is a name that no other delivery of the task has.
pub(crate) async fn store(js: &Context, names: &Names, (run, task): (&str, u64), lease: &str, result: &[u8]) {
    let subject = names.subject("result", run, task);
    let (most, mut headers) = (most(&js.client()), alone());
    if result.len() <= most {
        return insist(js, &subject, &headers, result).await;
    }
    let mut count = 0;
    for (at, part) in result.chunks(most).enumerate() {
        let part_of = names.subject("part", run, format!("{task}-{lease}-{at}"));
        insist(js, &part_of, &HeaderMap::new(), part).await;
        count = at + 1;
    }
    headers.insert(PARTS, format!("{lease} {count}").as_str());
    insist(js, &subject, &headers, b"").await;
}

/// All of a result, whose first message this is. `None`: parts of it are gone.
pub(crate) async fn whole(
    stream: &Stream,
    names: &Names,
    (run, task): (&str, u64),
    message: &async_nats::Message,
) -> Option<Vec<u8>> {
    let parts = message.headers.as_ref().and_then(|headers| headers.get(PARTS));
    let Some(parts) = parts else { return Some(message.payload.to_vec()) };
    let (lease, count) = parts.as_str().split_once(' ')?;
    let mut result = Vec::new();
    for at in 0..count.parse::<usize>().ok()? {
        let subject = names.subject("part", run, format!("{task}-{lease}-{at}"));
        result.extend_from_slice(&stream.get_last_raw_message_by_subject(&subject).await.ok()?.payload);
    }
    Some(result)
}
