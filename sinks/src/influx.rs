//! Writes lines to a store that takes the line protocol: InfluxDB 2 (`/api/v2/write`), InfluxDB 1 (`/write`), and what speaks like
//! them. Lines enter; leaves that they are stored, that one is bad, or that the store is away. It never gives up a line itself.
//!
//! Two clients: the crate `influxdb2` writes by the v2 API, over plain HTTP. It cannot speak TLS here (it brings an old one of its
//! own), drops the path of a base address, knows no v1, and does not tell `Retry-After`; for those there is the HTTP client that
//! the rest of the program uses. Both get bodies that are packed here.

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use influxdb2::api::write::TimestampPrecision;
use influxdb2::{ClientBuilder, RequestError};
use reqwest::Url;
use reqwest_of_influxdb2::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};

/// 10 s for an answer: a batch takes milliseconds; a store that takes longer is one that hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// 2 s to connect.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// 500 characters of what a store says are enough to know what it means.
const WORDS: usize = 500;

/// Which API a store speaks, and where in it the lines go.
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
}

/// Why lines are not stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// One of them at least is bad; the store may have stored none, or the others.
    #[error("the store refuses a line: {0}")]
    Bad(String),
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
pub struct Influx {
    way: Way,
    runtime: tokio::runtime::Runtime,
}

#[derive(Debug)]
enum Way {
    Crate { client: influxdb2::Client, org: String, bucket: String },
    Own { client: reqwest::Client, url: Url, token: String },
}

impl Influx {
    /// For the store at `url`. An empty token says nothing of who asks. Nothing is asked yet.
    pub fn new(url: &str, api: &Api, token: &str) -> Result<Self, Unusable> {
        let address = |why: &dyn std::fmt::Display| Unusable::Address { url: url.to_owned(), why: why.to_string() };
        let base = Url::parse(url).map_err(|error| address(&error))?;
        let way = match api {
            Api::V2 { org, bucket } if base.scheme() == "http" && base.path() == "/" => {
                Way::Crate { client: of_crate(url, org, token)?, org: org.clone(), bucket: bucket.clone() }
            }
            Api::V2 { org, bucket } => own(&base, "api/v2/write", &[("org", org), ("bucket", bucket)], token)?,
            Api::V1 { database } => own(&base, "write", &[("db", database)], token)?,
        };
        // A thread of its own looks after connections between requests: one that the store closed is not written to.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Ok(Self { way, runtime: runtime.map_err(|error| Unusable::Client(error.to_string()))? })
    }

    /// Sends lines in one request. They are stored only when this says so.
    pub fn send(&self, lines: &str) -> Result<(), Failed> {
        let body = packed(lines);
        self.runtime.block_on(async {
            match &self.way {
                Way::Crate { client, org, bucket } => {
                    let precision = TimestampPrecision::Milliseconds;
                    let sent = client.write_line_protocol_with_precision(org, bucket, body, precision).await;
                    sent.map_err(of_crate_error)
                }
                Way::Own { client, url, token } => own_request(client, url, token, body).await,
            }
        })
    }

    /// Sends `lines`, each with its end, and halves what the store refuses until the bad ones are alone: those are pushed to `bad`,
    /// by their place, with the store's words, and all others are stored.
    pub fn deliver(&self, lines: &[&str], bad: &mut Vec<(usize, String)>) -> Result<(), Failed> {
        self.deliver_from(0, lines, bad)
    }

    fn deliver_from(&self, first: usize, lines: &[&str], bad: &mut Vec<(usize, String)>) -> Result<(), Failed> {
        match (self.send(&lines.concat()), lines.len()) {
            (Err(Failed::Bad(words)), 1) => {
                bad.push((first, words));
                Ok(())
            }
            (Err(Failed::Bad(_)), 2..) => {
                let (left, right) = lines.split_at(lines.len() / 2);
                self.deliver_from(first, left, bad)?;
                self.deliver_from(first + left.len(), right, bad)
            }
            (sent, _) => sent,
        }
    }
}

/// As the crate makes it, with our limits.
fn of_crate(url: &str, org: &str, token: &str) -> Result<influxdb2::Client, Unusable> {
    let headers = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
    let builder = reqwest_of_influxdb2::ClientBuilder::new();
    let builder = builder.default_headers(headers).timeout(ANSWER_WITHIN).connect_timeout(CONNECT_WITHIN).no_proxy();
    let client = ClientBuilder::with_builder(builder, url, org, token).build();
    client.map_err(|error| Unusable::Client(error.to_string()))
}

fn of_crate_error(error: RequestError) -> Failed {
    match error {
        RequestError::Http { status, text } => answered(status.as_u16(), &text, None),
        other => Failed::Away { why: because(&other), after: None },
    }
}

fn own(base: &Url, path: &str, query: &[(&str, &String)], token: &str) -> Result<Way, Unusable> {
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    url.query_pairs_mut().extend_pairs(query).append_pair("precision", "ms");
    let client = reqwest::Client::builder().timeout(ANSWER_WITHIN).connect_timeout(CONNECT_WITHIN).no_proxy().build();
    let client = client.map_err(|error| Unusable::Client(because(&error)))?;
    Ok(Way::Own { client, url, token: token.to_owned() })
}

async fn own_request(client: &reqwest::Client, url: &Url, token: &str, body: Vec<u8>) -> Result<(), Failed> {
    let mut request = client.post(url.clone()).header("content-encoding", "gzip").body(body);
    if !token.is_empty() {
        request = request.header("authorization", format!("Token {token}"));
    }
    let away = |error: reqwest::Error| Failed::Away { why: because(&error), after: None };
    let answer = request.send().await.map_err(away)?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let text = answer.text().await.map_err(away)?;
    Err(answered(status.as_u16(), &text, after.map(Duration::from_secs)))
}

/// What an answer that is no success means. Only what says that the lines are bad makes them so; a store that does not know its
/// bucket, or the token, is waited for until somebody has mended that.
fn answered(status: u16, text: &str, after: Option<Duration>) -> Failed {
    let words: String = text.trim().chars().take(WORDS).collect();
    match status {
        400 | 413 | 422 => Failed::Bad(words),
        _ => Failed::Away { why: format!("it answers {status}: {words}"), after },
    }
}

/// An error with what caused it.
fn because(error: &dyn std::error::Error) -> String {
    let mut why = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        why = format!("{why}: {error}");
        cause = error.source();
    }
    why
}

/// Packed at the fastest level: it takes a third of the bytes off the network, and the store unpacks it as fast.
fn packed(lines: &str) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::with_capacity(lines.len() / 4), Compression::fast());
    let done = packer.write_all(lines.as_bytes()).and_then(|()| packer.finish());
    done.expect("writing to memory does not fail")
}

#[cfg(test)]
#[path = "influx_tests.rs"]
mod tests;
