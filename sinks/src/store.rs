//! Writes points to a store of time series: one that takes the line protocol (InfluxDB 2 by `/api/v2/write`, InfluxDB 1 by `/write`,
//! and what speaks like them), one that takes Prometheus' remote write, or Graphite's lines ([`crate::graphite`]). Encoded points enter;
//! leaves that they are stored, that one is bad, or that the store is away. It never gives up a point itself.
//!
//! Two clients: the crate `influxdb2` writes by the v2 API, over plain HTTP ([`crate::influx`]). It cannot speak TLS here (it brings
//! an old one of its own), drops the path of a base address, knows no v1, and does not tell `Retry-After`; for those there is the
//! HTTP client of all sinks ([`crate::http`]). Both get bodies that are packed here.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use reqwest::Url;

use crate::graphite;
use crate::http::{Client, because, believing, retry_after};
use crate::influx::OfCrate;
use crate::line::{self, Point, Refused};
use crate::remote;

/// 10 s for an answer: a batch takes milliseconds; a store that takes longer is one that hangs.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// 2 s to connect.
pub(crate) const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// 64 KiB of an answer are read; its first words are shown.
const ANSWER_BYTES: usize = 64 << 10;
/// One connection is kept: requests go one after the other.
const IDLE: usize = 1;
/// 500 characters of what a store says are enough to know what it means.
const WORDS: usize = 500;

/// How Prometheus says that a point is older than what it takes, or that it has another one of that time; and how `InfluxDB` 1 and 2
/// say that it is older than what they keep.
const LATE: [&str; 5] =
    ["out of order", "too old", "duplicate sample", "beyond retention policy", "outside retention policy"];

/// Which API a store speaks, and where in it the points go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Api {
    /// InfluxDB 2 and what is compatible with it.
    V2 {
        /// The organisation.
        org: String,
        /// The bucket.
        bucket: String,
    },
    /// InfluxDB 1 and what is compatible with it.
    V1 {
        /// The database.
        database: String,
    },
    /// Prometheus' remote write, version 1: Prometheus itself, Mimir, Thanos, VictoriaMetrics and others.
    Remote,
    /// Graphite's plaintext lines.
    Graphite {
        /// Names have tags; else they are paths.
        tagged: bool,
    },
}

impl Api {
    /// Appends a point as the API wants it, and says how many characters were replaced. A point that is refused leaves `out` as it
    /// was.
    pub fn encode(&self, point: &Point, out: &mut Vec<u8>) -> Result<u64, Refused> {
        match self {
            Self::Remote => remote::encode(point, out).map(|()| 0),
            Self::Graphite { tagged } => graphite::encode(point, *tagged, out),
            Self::V2 { .. } | Self::V1 { .. } => line::encode(point, out),
        }
    }

    /// An encoded point as a person reads it.
    pub fn show(&self, point: &[u8]) -> String {
        match self {
            Self::Remote => remote::show(point),
            Self::V2 { .. } | Self::V1 { .. } | Self::Graphite { .. } => {
                String::from_utf8_lossy(point).trim_end().to_owned()
            }
        }
    }
}

/// Why lines are not stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// One of them at least is bad; the store may have stored none, or the others.
    #[error("the store refuses a point: {0}")]
    Bad(String),
    /// It has a newer point of a series, and takes no older one of it; or the point is older than what it keeps.
    #[error("the store takes no point that is older than what it has or keeps: {words}")]
    Late {
        /// What it said.
        words: String,
        /// How many of the request these are, where it says so, and has all others.
        dropped: Option<u64>,
    },
    /// It cannot now; the same lines may be taken later.
    #[error("the store is away: {why}")]
    Away {
        /// What it said, or what did not come about.
        why: String,
        /// When it wants to be asked again.
        after: Option<Duration>,
    },
}

/// Why there is no way to a store.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Not an address.
    #[error("{url}: {why}")]
    Address {
        /// As it was given.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// A client cannot be made.
    #[error("no client can be made: {0}")]
    Client(String),
}

/// A way to a store.
#[derive(Debug)]
pub struct Store {
    way: Way,
    runtime: tokio::runtime::Runtime,
}

#[derive(Debug)]
enum Way {
    Crate(OfCrate),
    Own(Own),
    /// Graphite at `HOST:PORT`.
    Lines(String),
}

/// Our own client.
#[derive(Debug)]
struct Own {
    client: Client,
    url: Url,
    token: String,
    is_remote: bool,
}

/// Points that a store would not have.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Their places, with the store's words.
    pub bad: Vec<(usize, String)>,
    /// Those that came too late for it: it has newer ones of their series, perhaps these too, or keeps none that are so old.
    pub late: u64,
}

impl Store {
    /// For the store at `url`. An empty token says nothing of who asks. Certificates are signed by who is in `ca_file`; absent: by
    /// who this host believes. Nothing is asked yet.
    pub fn new(url: &str, api: &Api, token: &str, ca_file: Option<&Path>) -> Result<Self, Unusable> {
        let address = |why: &dyn std::fmt::Display| Unusable::Address { url: url.to_owned(), why: why.to_string() };
        let base = Url::parse(url).map_err(|error| address(&error))?;
        let own = |path, is_remote| {
            let client = believing(IDLE, ca_file).map_err(Unusable::Client)?;
            Ok::<_, Unusable>(Own::new(client, &base, path, token, is_remote))
        };
        let way = match api {
            Api::V2 { org, bucket } if base.scheme() == "http" && base.path() == "/" => {
                Way::Crate(OfCrate::new(url, org, bucket, token)?)
            }
            Api::V2 { org, bucket } => own("api/v2/write", false)?.lines(&[("org", org), ("bucket", bucket)]),
            Api::V1 { database } => own("write", false)?.lines(&[("db", database)]),
            Api::Remote => Way::Own(own("api/v1/write", true)?),
            Api::Graphite { .. } => {
                let host = base.host_str().ok_or_else(|| address(&"it names no host"))?;
                Way::Lines(format!("{host}:{}", base.port().unwrap_or(graphite::PORT)))
            }
        };
        // A thread of its own looks after connections between requests: one that the store closed is not written to.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Ok(Self { way, runtime: runtime.map_err(|error| Unusable::Client(error.to_string()))? })
    }

    /// Sends encoded points in one request. They are stored only when this says so.
    pub fn send(&self, points: &[u8]) -> Result<(), Failed> {
        self.runtime.block_on(async {
            match &self.way {
                Way::Crate(way) => way.send(packed(points)).await,
                Way::Own(way) => way.send(points).await,
                Way::Lines(address) => graphite::send(address, points).await,
            }
        })
    }

    /// Sends encoded points and halves what the store refuses until what it refuses is alone: that is told in `left`, by its place,
    /// and all others are stored.
    pub fn deliver(&self, points: &[&[u8]], left: &mut Left) -> Result<(), Failed> {
        self.deliver_from(0, points, left)
    }

    fn deliver_from(&self, first: usize, points: &[&[u8]], left: &mut Left) -> Result<(), Failed> {
        match (self.send(&points.concat()), points.len()) {
            (Err(Failed::Bad(words)), 1) => {
                left.bad.push((first, words));
                Ok(())
            }
            // Which they are need not be found out.
            (Err(Failed::Late { dropped: Some(dropped), .. }), _) => {
                left.late += dropped.min(points.len() as u64);
                Ok(())
            }
            (Err(Failed::Late { .. }), 1) => {
                left.late += 1;
                Ok(())
            }
            (Err(Failed::Bad(_) | Failed::Late { .. }), 2..) => {
                let (one, other) = points.split_at(points.len() / 2);
                self.deliver_from(first, one, left)?;
                self.deliver_from(first + one.len(), other, left)
            }
            (sent, _) => sent,
        }
    }
}

impl Own {
    fn new(client: Client, base: &Url, path: &str, token: &str, is_remote: bool) -> Self {
        let mut url = base.clone();
        url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
        Self { client, url, token: token.to_owned(), is_remote }
    }

    /// For the line protocol, with what the address says of where in the store they go.
    fn lines(mut self, query: &[(&str, &String)]) -> Way {
        self.url.query_pairs_mut().extend_pairs(query).append_pair("precision", "ms");
        Way::Own(self)
    }

    async fn send(&self, points: &[u8]) -> Result<(), Failed> {
        let mut request = Request::post(self.url.as_str());
        let (body, scheme) = if self.is_remote {
            for (name, value) in remote::HEADERS {
                request = request.header(name, value);
            }
            (remote::packed(points), "Bearer")
        } else {
            request = request.header("content-encoding", "gzip");
            (packed(points), "Token")
        };
        if !self.token.is_empty() {
            request = request.header("authorization", format!("{scheme} {}", self.token));
        }
        // Neither the token nor what is wrong with it is shown.
        let request = request.body(Full::new(Bytes::from(body))).map_err(|_| Failed::Away {
            why: "the token has characters that HTTP cannot carry".to_owned(),
            after: None,
        })?;
        let answered = tokio::time::timeout(ANSWER_WITHIN, self.asked(request)).await;
        answered.unwrap_or_else(|_| {
            Err(Failed::Away { why: format!("no answer within {} s", ANSWER_WITHIN.as_secs()), after: None })
        })
    }

    async fn asked(&self, request: Request<Full<Bytes>>) -> Result<(), Failed> {
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| Failed::Away { why: because(&error), after: None })?;
        let (head, body) = answer.into_parts();
        // Read to its end also where it does not matter: the connection is used again.
        let text = Limited::new(body, ANSWER_BYTES).collect().await;
        if head.status.is_success() {
            return Ok(());
        }
        let text =
            text.map_or_else(|error| error.to_string(), |text| String::from_utf8_lossy(&text.to_bytes()).into_owned());
        Err(answered(head.status.as_u16(), &text, retry_after(&head.headers)))
    }
}

/// What an answer that is no success means. Only what says that the lines are bad makes them so; a store that does not know its
/// bucket, or the token, is waited for until somebody has mended that.
pub(crate) fn answered(status: u16, text: &str, after: Option<Duration>) -> Failed {
    let words: String = text.trim().chars().take(WORDS).collect();
    match status {
        400 | 422 if LATE.iter().any(|late| text.contains(late)) => Failed::Late { words, dropped: dropped(text) },
        400 | 413 | 422 => Failed::Bad(words),
        _ => Failed::Away { why: format!("it answers {status}: {words}"), after },
    }
}

/// How many points of a request `InfluxDB` did not take, where it says so and all of them are older than what it keeps: it counts what
/// it cannot read too.
fn dropped(text: &str) -> Option<u64> {
    let number = |rest: &str| rest.split(|char: char| !char.is_ascii_digit()).next()?.parse::<u64>().ok();
    let (before, all) = text.rsplit_once("dropped=")?;
    let (all, old) = (number(all)?, before.split_once("partial write: dropped "));
    let is_old = match old {
        Some((_, rest)) => rest.contains("points outside retention policy") && number(rest) == Some(all),
        None => before.ends_with("points beyond retention policy "),
    };
    is_old.then_some(all)
}

/// Packed at the fastest level: it takes a third of the bytes off the network, and the store unpacks it as fast.
fn packed(lines: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::with_capacity(lines.len() / 4), Compression::fast());
    let done = packer.write_all(lines).and_then(|()| packer.finish());
    done.expect("writing to memory does not fail")
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
