//! The way to the process that has the bus: requests and appends in, replies out. A thread of its own talks. Appends leave in the
//! order in which they were made, many in a request when they come fast; everything else goes side by side.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc as sync};
use std::time::Duration;

use millrace_schemas::metrics::{BUS_REFUSED, Registry};
use millrace_schemas::record::{Bytes, NewRecord};
use millrace_schemas::topics::Topic;
use tokio::sync::{mpsc, oneshot};

use super::{Answer, PATH, Reply, Request, Token, encode, unique};
use crate::bus::{Error, Landed, Receipt, tally, too_large};

/// 2 s: on one host a connection is there in microseconds, or nobody listens.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// 10 s for an answer besides the time that a poll may wait: an owner that needs longer is as good as away.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// A day: the connection that stands for a process is made anew now and then; meanwhile its readers are opened again.
const STAY: Duration = Duration::from_hours(24);
/// 500 ms before it is made again.
const STAY_AGAIN: Duration = Duration::from_millis(500);
/// 256 appends or 4 MiB in a request: the owner commits them together, and one slow request holds up no more than that.
const APPENDS_MAX: usize = 256;
const BYTES_MAX: usize = 4 << 20;
/// 8,192 appends wait for the owner: a minute of an agent's facts. More is refused as unavailable, which callers know.
const QUEUE_MAX: usize = 8_192;

/// The way to the owner.
#[derive(Debug)]
pub(super) struct Line {
    address: SocketAddr,
    /// This process, to the owner.
    pub(super) client: u64,
    calls: mpsc::UnboundedSender<Call>,
    appends: mpsc::Sender<Append>,
    metrics: Arc<Registry>,
}

struct Call {
    request: Request,
    within: Duration,
    reply: sync::SyncSender<Reply>,
}

struct Append {
    records: Vec<NewRecord>,
    reply: oneshot::Sender<Result<Vec<Landed>, Error>>,
}

/// The connection to the owner: requests out, replies in.
#[derive(Clone)]
struct Wire {
    client: reqwest::Client,
    address: SocketAddr,
    url: String,
    /// As it was read last; absent while it is not there, and after it was refused.
    token: Arc<Mutex<Option<Token>>>,
    token_file: PathBuf,
    metrics: Arc<Registry>,
}

impl Line {
    /// Starts the thread that talks.
    pub(super) fn open(address: SocketAddr, token_file: &Path, metrics: Arc<Registry>) -> Result<Self, Error> {
        let token = match Token::read(token_file) {
            Ok(token) => Some(token),
            Err(Error::Unavailable(_)) => None, // it is looked for again with each request
            Err(error) => return Err(error),
        };
        let unavailable = |error: &dyn std::fmt::Display| Error::Unavailable(format!("no way to a bus: {error}"));
        let wire = Wire {
            // Never through a proxy: it is this very host.
            client: reqwest::Client::builder()
                .no_proxy()
                .connect_timeout(CONNECT_WITHIN)
                .tcp_nodelay(true)
                .build()
                .map_err(|error| unavailable(&error))?,
            address,
            url: format!("http://{address}{PATH}"),
            token: Arc::new(Mutex::new(token)),
            token_file: token_file.to_owned(),
            metrics: Arc::clone(&metrics),
        };
        let (calls, call_inbox) = mpsc::unbounded_channel();
        let (appends, append_inbox) = mpsc::channel(QUEUE_MAX);
        let client = unique();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| unavailable(&error))?;
        std::thread::Builder::new()
            .name("bus-client".to_owned())
            .spawn(move || runtime.block_on(talk(wire, client, call_inbox, append_inbox)))
            .map_err(|error| unavailable(&error))?;
        Ok(Self { address, client, calls, appends, metrics })
    }

    /// Asks and waits for the reply. Callers may be threads of an async runtime: it blocks them, but does not panic.
    pub(super) fn ask(&self, request: Request, wait: Duration) -> Reply {
        let (reply, answer) = sync::sync_channel(1);
        let gone = || Error::Unavailable(format!("the way to the bus at {} has ended", self.address));
        self.calls.send(Call { request, within: wait + ANSWER_WITHIN, reply }).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }

    /// Says something that needs no answer.
    pub(super) fn tell(&self, request: Request) {
        let (reply, _) = sync::sync_channel(1);
        // Nobody to send it to: then there is nobody to whom it would matter.
        let _ = self.calls.send(Call { request, within: ANSWER_WITHIN, reply });
    }

    /// Hands records over; the receipt resolves when the owner has answered.
    pub(super) fn append(&self, records: Vec<NewRecord>) -> Receipt {
        let (reply, receipt) = Receipt::pending();
        if let Some(error) = records.iter().find_map(too_large) {
            // The owner would say the same, after it had been carried there.
            tally(&self.metrics, &BUS_REFUSED, records.iter().map(|record| record.topic));
            let _ = reply.send(Err(error));
            return receipt;
        }
        if let Err(error) = self.appends.try_send(Append { records, reply }) {
            let (mpsc::error::TrySendError::Full(Append { records, reply })
            | mpsc::error::TrySendError::Closed(Append { records, reply })) = error;
            tally(&self.metrics, &BUS_REFUSED, records.iter().map(|record| record.topic));
            let why = format!("{QUEUE_MAX} appends wait for {} already", self.address);
            let _ = reply.send(Err(Error::Unavailable(why)));
        }
        receipt
    }

    pub(super) fn unexpected(&self, answer: &Answer) -> Error {
        Error::Unavailable(format!("the bus at {} answered something else: {answer:?}", self.address))
    }
}

/// Talks until nobody is left who could ask, and everything that was said has been answered.
async fn talk(wire: Wire, client: u64, mut calls: mpsc::UnboundedReceiver<Call>, mut inbox: mpsc::Receiver<Append>) {
    let stays = tokio::spawn(stay(wire.clone(), client));
    let appender = wire.clone();
    let appending = tokio::spawn(async move {
        let mut ready = Vec::new();
        while inbox.recv_many(&mut ready, APPENDS_MAX).await > 0 {
            while !ready.is_empty() {
                let few = at_most(&ready, BYTES_MAX);
                append(&appender, ready.drain(..few).collect()).await;
            }
        }
    });
    let mut asked = tokio::task::JoinSet::new();
    while let Some(Call { request, within, reply }) = calls.recv().await {
        let wire = wire.clone();
        asked.spawn(async move {
            let answer = wire.ask(&request, within).await;
            // Whoever asked may have gone: then nobody waits for it.
            let _ = reply.send(answer);
        });
        while asked.try_join_next().is_some() {}
    }
    asked.join_all().await;
    let _ = appending.await;
    stays.abort();
}

/// Keeps the connection that stands for this process.
async fn stay(wire: Wire, client: u64) {
    loop {
        // It is answered when the owner ends, or not at all.
        let _ = wire.ask(&Request::Stay { client }, STAY).await;
        tokio::time::sleep(STAY_AGAIN).await;
    }
}

/// How many of the first appends fit into `bytes`; at least one.
fn at_most(appends: &[Append], bytes: usize) -> usize {
    let size = |append: &Append| -> usize {
        append.records.iter().map(|record| record.value.as_ref().map_or(0, Bytes::len)).sum()
    };
    let mut sum = 0;
    let fit = appends.iter().take_while(|append| {
        sum += size(append);
        sum <= bytes
    });
    fit.count().max(1)
}

async fn append(wire: &Wire, appends: Vec<Append>) {
    let topics: Vec<Vec<Topic>> =
        appends.iter().map(|one| one.records.iter().map(|record| record.topic).collect()).collect();
    let (records, replies): (Vec<_>, Vec<_>) = appends.into_iter().map(|one| (one.records, one.reply)).unzip();
    let count = replies.len();
    let results = match wire.ask(&Request::Append(records), ANSWER_WITHIN).await {
        Ok(Answer::Appended(results)) if results.len() == count => results,
        Ok(_) => vec![Err(Error::Unavailable(format!("the bus at {} answered something else", wire.address))); count],
        Err(error) => vec![Err(error); count],
    };
    for ((reply, result), topics) in replies.into_iter().zip(results).zip(topics) {
        if result.is_err() {
            tally(&wire.metrics, &BUS_REFUSED, topics.into_iter());
        }
        // Whoever appended may not wait for it.
        let _ = reply.send(result);
    }
}

impl Wire {
    async fn ask(&self, request: &Request, within: Duration) -> Reply {
        let sent = self
            .client
            .post(&self.url)
            .header(reqwest::header::AUTHORIZATION, self.shown()?)
            .timeout(within)
            .body(encode(request))
            .send()
            .await;
        let answer = sent.map_err(|error| self.away(&error))?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(|error| self.away(&error))?;
        if status == reqwest::StatusCode::UNAUTHORIZED {
            *self.token() = None;
            return Err(self.refused(format!("the token in {} is not the one of that bus", self.token_file.display())));
        }
        if status == reqwest::StatusCode::NOT_FOUND || status == reqwest::StatusCode::BAD_REQUEST {
            return Err(self.refused("it speaks another version; run the same one on both sides".to_owned()));
        }
        if !status.is_success() {
            let text = String::from_utf8_lossy(&bytes);
            return Err(Error::Unavailable(format!("{} answered {status}: {}", self.address, text.trim())));
        }
        let reply = postcard::from_bytes::<Reply>(&bytes);
        reply.unwrap_or_else(|_| {
            Err(self.refused("its answer cannot be read; run the same version on both sides".to_owned()))
        })
    }

    fn token(&self) -> MutexGuard<'_, Option<Token>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The header that shows the token.
    fn shown(&self) -> Result<String, Error> {
        let mut token = self.token();
        if token.is_none() {
            *token = Some(Token::read(&self.token_file)?);
        }
        Ok(token.as_ref().map_or_else(String::new, Token::header))
    }

    fn refused(&self, problem: String) -> Error {
        Error::Refused { address: self.address.to_string(), problem }
    }

    fn away(&self, error: &reqwest::Error) -> Error {
        let why = if error.is_timeout() {
            "it did not answer in time".to_owned()
        } else {
            // The last cause says it best: "Connection refused (os error 111)".
            let mut cause: &dyn std::error::Error = error;
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            cause.to_string()
        };
        Error::Unavailable(format!("the process that has it does not answer at {}: {why}", self.address))
    }
}
