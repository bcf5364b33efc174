//! The sides of bench/queue/run: who fills a queue, who watches it, a bare consumer of async-nats, and doula's gateway with a doula that
//! does nothing for a task but end it.
//!
//! `queue_bench fill|watch|bare|stores URL QUEUE COUNT`, `queue_bench gateway URL QUEUE SLOTS PROGRAM`

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{self, Context};
use doula_gateway::line::Line;
use doula_gateway::words::{Ask, Login, Tell};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use std::error::Error;
use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// So many are taken at once by a bare consumer, and handed in at once.
const BATCH: usize = 100;
const HANDED_IN: usize = 256;
const LOOK: Duration = Duration::from_millis(2);
/// A bare consumer that gets nothing for so long is done.
const IDLE: Duration = Duration::from_secs(1);
const TASK: &[u8; 64] = &[b't'; 64];
const RESULT: &[u8; 16] = &[b'r'; 16];

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [role, url, queue, count, rest @ ..] = args.as_slice() else {
        return Err("see the head of this file".into());
    };
    let count = count.parse::<u32>()?;
    if role == "gateway" {
        return gateway(url, queue, count, rest.first().ok_or("which program?")?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let js = jetstream::new(async_nats::connect(url).await?);
        match role.as_str() {
            "fill" => fill(&js, queue, count).await,
            "watch" => watch(&js, queue, count).await,
            _ => consume(&js, queue, role == "stores").await,
        }
    })
}

async fn fill(js: &Context, queue: &str, count: u32) -> Result<()> {
    let tasks = (1..=count).map(|task| {
        let (js, subject) = (js.clone(), format!("doula.{queue}.task.bench.{task}"));
        async move { js.publish(subject, TASK.as_slice().into()).await?.await }
    });
    let mut stored = futures_util::stream::iter(tasks).buffer_unordered(HANDED_IN);
    while let Some(stored) = stored.next().await {
        stored?;
    }
    Ok(())
}

/// Says how long it took from the first task that left the queue to the last.
async fn watch(js: &Context, queue: &str, count: u32) -> Result<()> {
    let mut stream = js.get_stream(format!("DOULA-{queue}")).await?;
    let mut out = std::io::stdout();
    writeln!(out, "watches")?;
    let mut begun = None;
    loop {
        let left = stream.info().await?.state.messages;
        if left < u64::from(count) && begun.is_none() {
            begun = Some((Instant::now(), left));
        }
        if let Some((since, before)) = begun.filter(|_| left == 0) {
            writeln!(out, "{:.0}", before as f64 / since.elapsed().as_secs_f64())?;
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Takes tasks in batches and acknowledges each; with `stores` after its result is stored, if it has none.
async fn consume(js: &Context, queue: &str, stores: bool) -> Result<()> {
    let stream = js.get_stream(format!("DOULA-{queue}")).await?;
    let consumer: PullConsumer = stream.get_consumer("workers").await.map_err(|error| error.to_string())?;
    loop {
        let mut batch = consumer.fetch().max_messages(BATCH).expires(IDLE).messages().await?;
        let mut taken = Vec::new();
        while let Some(message) = batch.next().await {
            let message = message?;
            match stores {
                true => taken.push(message),
                false => message.ack().await?,
            }
        }
        let ends = taken.iter().map(|message| async {
            let subject = message.subject.replace(".task.", ".result.");
            let mut headers = async_nats::HeaderMap::new();
            headers.insert("Nats-Expected-Last-Subject-Sequence", "0");
            js.publish_with_headers(subject, headers, RESULT.as_slice().into()).await?.await?;
            message.ack().await
        });
        for end in join_all(ends).await {
            end?;
        }
    }
}

/// What doula says to its gateway, without any job.
fn gateway(url: &str, queue: &str, slots: u32, program: &str) -> Result<()> {
    let (mut line, input, output) = Line::new()?;
    let mut child = Command::new(program).stdin(input).stdout(output).spawn()?;
    let login = Login { servers: vec![url.to_owned()], queue: queue.to_owned(), ..Login::default() };
    let name = format!("bench-{}", std::process::id());
    line.ask(&Ask::Work { login, name, lease: None }, b"")?;
    line.ask(&Ask::Slots(slots), b"")?;
    while let Ok((tell, _)) = line.wait() {
        let mut told = Some(tell);
        // All that was given together is ended together.
        while let Some(tell) = told {
            match tell {
                Tell::Given { lease, .. } => line.put(&Ask::Done(lease), RESULT)?,
                Tell::Ready => writeln!(std::io::stdout(), "ready")?,
                Tell::Refused { why, .. } => return Err(why.into()),
                Tell::Stored(_) | Tell::Result(_) | Tell::Withdrawn(_) | Tell::Note(_) => {}
            }
            told = line.told()?.map(|(tell, _)| tell);
        }
        line.flush()?;
    }
    child.wait()?;
    Ok(())
}
