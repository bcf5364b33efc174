//! A queue that is open: what submitters and workers both begin with.

use crate::connect::{self, Links};
use crate::names::Names;
use crate::words::{Login, Tell};
use async_nats::Client;
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{self, Context};
use std::time::Duration;

/// A connection, and all that a queue needs behind it.
pub(crate) struct Queue {
    pub(crate) client: Client,
    pub(crate) js: Context,
    pub(crate) names: Names,
    pub(crate) results: Stream,
    /// Where tasks are asked for.
    pub(crate) next: String,
    /// How long a task may be without a sign of life.
    pub(crate) lease: Duration,
    pub(crate) links: Links,
}

impl Queue {
    /// Connects, and makes what is not there yet. `most`: how many tasks at once; `lease`, where it is said.
    pub(crate) async fn open(
        login: &Login,
        most: Option<u64>,
        lease: Option<Duration>,
    ) -> Result<Queue, Tell> {
        let (client, links) = connect::connect(login).await?;
        let names = Names::of(login);
        let js = jetstream::new(client.clone());
        let doula = |why: String| Tell::Refused { usage: false, why };
        names.streams(&js, most).await.map_err(doula)?;
        let (next, lease) = names.consumer(&js, lease).await.map_err(doula)?;
        let results = js.get_stream(names.results()).await.map_err(|error| doula(error.to_string()))?;
        Ok(Queue { client, js, names, results, next, lease, links })
    }
}
