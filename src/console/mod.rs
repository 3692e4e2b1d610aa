//! The console: topics of the bus enter, pages and server-sent events leave, over plain HTTP. Pages are complete without
//! JavaScript and need nothing from anywhere else. It is read-only: nothing that is asked of it changes anything.

#[allow(clippy::unused_async)] // axum takes async handlers only
mod api;
#[allow(clippy::unused_async)] // as above
mod live;
#[allow(clippy::unused_async)] // as above
mod pages;
pub mod scrape;
pub mod table;
pub mod view;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use millrace_processors::failover::Failover;
use millrace_schemas::metrics::Registry;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::bus::{Assignment, From, Polled, SharedBus, follow};
use crate::roles::process::restored;
pub(crate) use live::line;
pub use view::View;

/// 64 open streams: each is a thread and a reader of the bus; a team's browsers need fewer.
const STREAMS_MAX: usize = 64;
/// The last 2,000 records of `windows` fill the pages at once: over a minute of revisions of 30 instances.
const WINDOWS_BACK: u64 = 2_000;
/// The last 100,000 records of `journal`: eight hours of a cluster of three, read in a second or two.
const JOURNAL_BACK: u64 = 100_000;
/// Nothing but what this server itself sends may be loaded, run, framed or posted to.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What every request may look at.
#[derive(Clone)]
struct Console {
    shown: Shown,
    bus: SharedBus,
    registry: Arc<Registry>,
    streams: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
    /// Only loopback names may be asked for: a page of somebody else's site cannot read this one by naming it anew.
    loopback_only: bool,
}

impl Console {
    fn view(&self) -> RwLockReadGuard<'_, View> {
        self.shown.view()
    }
}

/// What the bus has told so far, for pages and terminals.
#[derive(Clone, Debug)]
pub struct Shown(Arc<RwLock<View>>);

impl Shown {
    /// Follows the bus until `stop` says so. Needs a tokio runtime around it.
    pub fn follow(bus: &SharedBus, stop: watch::Receiver<bool>) -> Self {
        let shown = Self(Arc::default());
        tokio::spawn(read(Arc::clone(bus), shown.clone(), stop));
        shown
    }

    /// The view as it is now. Short looks only: the reader waits meanwhile.
    pub fn view(&self) -> RwLockReadGuard<'_, View> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Serves what is shown, on a socket that listens already, until `stop` says so.
pub async fn serve(
    bus: SharedBus,
    shown: Shown,
    listener: TcpListener,
    registry: Arc<Registry>,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let address = listener.local_addr().context("the console's socket has no address")?;
    let console = Console {
        shown,
        bus,
        registry,
        streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        stop: stop.clone(),
        loopback_only: address.ip().is_loopback(),
    };
    tracing::info!(%address, "console listens");
    let served = axum::serve(listener, router(console)).with_graceful_shutdown(async move {
        // An error means that whoever could say stop is gone.
        let _ = stop.wait_for(|stop| *stop).await;
    });
    served.await.context("the console stopped serving")
}

fn router(console: Console) -> Router {
    Router::new()
        .route("/", get(pages::fleet))
        .route("/cluster/{id}", get(pages::cluster))
        .route("/digests", get(pages::digests))
        .route("/digest/{id}", get(pages::digest))
        .route("/events", get(pages::events))
        .route("/console.css", get(pages::style))
        .route("/live.js", get(live::script))
        .route("/live", get(live::changes))
        .route("/metrics", get(api::metrics))
        .route("/healthz", get(api::health))
        .route("/api/state", get(api::state))
        .route("/api/why/{id}", get(api::why))
        .route("/api/events/{topic}", get(live::events))
        .fallback(pages::missing)
        .layer(axum::middleware::from_fn_with_state(console.clone(), guard))
        .with_state(console)
}

/// Refuses foreign names and adds the headers that every answer carries.
async fn guard(State(console): State<Console>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let mut response = if console.loopback_only && !host.is_some_and(is_loopback) {
        let text = "this console answers to loopback names only: ask for 127.0.0.1 or localhost\n";
        (StatusCode::MISDIRECTED_REQUEST, text).into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// True for `localhost`, `127.x.y.z` and `[::1]`, with or without a port.
fn is_loopback(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) { name } else { host }
    });
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Wall-clock time: how old what is shown is.
fn wall() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_microsecond())
}

/// Feeds the view until told to stop.
async fn read(bus: SharedBus, shown: Shown, mut stop: watch::Receiver<bool>) {
    let mut polled = loop {
        let subscribed = subscription(&bus, &shown).and_then(|assignment| follow(&bus, assignment));
        match subscribed {
            Ok(polled) => break polled,
            Err(error) => shown.change(|view| view.bus_away(error.to_string())),
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(std::time::Duration::from_secs(1)) => {}
        }
    };
    loop {
        let item = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            item = polled.recv() => item,
        };
        match item {
            Some(Ok(Polled::Record(record))) => shown.change(|view| view.take(&record)),
            Some(Ok(Polled::Gained { .. } | Polled::Lost { .. } | Polled::Refused { .. })) => {}
            Some(Err(error)) => shown.change(|view| view.bus_away(error.to_string())),
            None => {
                shown.change(|view| view.bus_away("the reader has ended: restart the console".to_owned()));
                return;
            }
        }
    }
}

/// What is read: little topics whole, and of the large ones as much as the pages show. The state of clusters goes on from the
/// deciders' snapshots, where they are newer than that.
fn subscription(bus: &SharedBus, shown: &Shown) -> Result<Assignment, crate::bus::Error> {
    let windows = From::Offsets(back(bus, Topic::Windows, WINDOWS_BACK)?);
    let mut journal = From::Start;
    let newest = back(bus, Topic::Journal, JOURNAL_BACK)?;
    // Without snapshots, or with some that cannot be read, the whole journal says the same, only later.
    if newest.values().any(|offset| *offset > 0)
        && let Ok(folds) = restored(bus, Failover)
    {
        // Where nothing was stored, a partition is read from its start.
        let stored = folds.next();
        let start = |(at, offset): (u32, u64)| stored.get(&at).map(|next| (at, offset.min(*next)));
        journal = From::Offsets(newest.into_iter().filter_map(start).collect());
        shown.change(|view| view.go_on_from(folds));
    }
    let topics = [Topic::Digests, Topic::Routes, Topic::Inventory, Topic::Alerts, Topic::Actions];
    let whole = topics.into_iter().map(|topic| (topic, From::Start));
    Ok(Assignment::Manual(whole.chain([(Topic::Journal, journal), (Topic::Windows, windows)]).collect()))
}

/// The offsets from which about `records` of a topic are left.
fn back(bus: &SharedBus, topic: Topic, records: u64) -> Result<BTreeMap<u32, u64>, crate::bus::Error> {
    let ends = bus.ends(topic)?;
    let each = records / ends.len().max(1) as u64;
    Ok((0..).zip(ends).map(|(at, end)| (at, end.saturating_sub(each))).collect())
}

#[cfg(test)]
mod tests;
