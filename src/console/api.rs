//! What programs ask: metrics, health, the state and explanations as JSON. Every JSON document begins with its version.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use millrace_schemas::ids::{ClusterId, Epoch, InstanceId};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::journal::ServerState;
use serde::{Deserialize, Serialize};

use super::view::{AlertLine, ReplicaLine, TopDigest, View};
use super::{Console, wall};
use crate::journal;

/// 50 digests: what the page of digests shows.
const DIGESTS: usize = 50;

/// `/api/state`.
#[derive(Debug, Serialize)]
struct Shown {
    schema_version: u32,
    /// The newest append time seen, and the wall clock.
    now: Timestamp,
    wall: Timestamp,
    /// Why the bus does not answer, while it does not.
    away: Option<String>,
    /// Records that could not be shown.
    dropped: u64,
    clusters: Vec<Cluster>,
    alerts: Vec<AlertLine>,
    digests: Vec<TopDigest>,
}

#[derive(Debug, Serialize)]
struct Cluster {
    id: ClusterId,
    name: String,
    epoch: Epoch,
    primary: Option<InstanceId>,
    sentence: String,
    therefore: String,
    members: Vec<Member>,
}

/// A member, with what its server said of itself in the last heartbeat; null while it does not answer.
#[derive(Debug, Serialize)]
struct Member {
    #[serde(flatten)]
    line: ReplicaLine,
    server: Option<ServerState>,
}

pub(super) async fn metrics(State(console): State<Console>) -> Response {
    super::scrape::exposed(&console.registry)
}

pub(super) async fn health(State(console): State<Console>) -> Response {
    match console.view().away() {
        None => "ok\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("the bus does not answer: {why}\n")).into_response(),
    }
}

pub(super) async fn state(State(console): State<Console>) -> Response {
    let view = console.view();
    let clusters = view.clusters().map(|(id, state)| {
        let why = millrace_processors::failover::explain::explain(state, view.now());
        Cluster {
            id: id.clone(),
            name: state.spec.as_ref().map_or_else(String::new, |spec| spec.name.clone()),
            epoch: state.epoch,
            primary: state.primary.clone(),
            sentence: why.sentence,
            therefore: why.therefore,
            members: view.members(id).into_iter().map(|line| member(&view, line)).collect(),
        }
    });
    let shown = Shown {
        schema_version: journal::SCHEMA_VERSION,
        now: view.now(),
        wall: wall(),
        away: view.away().map(str::to_owned),
        dropped: view.dropped(),
        clusters: clusters.collect(),
        alerts: view.alerts(),
        digests: view.top_digests(DIGESTS),
    };
    Json(shown).into_response()
}

fn member(view: &View, line: ReplicaLine) -> Member {
    let server = view.beat(&line.instance).and_then(|beat| beat.heartbeat.server.clone());
    Member { line, server }
}

/// How an explanation is asked for.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    /// `text`, or JSON.
    output: Option<String>,
    /// As of this time.
    at: Option<String>,
}

pub(super) async fn why(
    State(console): State<Console>,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    let at = match asked.at.as_deref().map(str::parse::<Timestamp>).transpose() {
        Ok(at) => at,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let bus = std::sync::Arc::clone(&console.bus);
    // The journal is read from its start: on a thread that may block.
    let explained = tokio::task::spawn_blocking(move || journal::why(journal::appended(&bus)?, &id, at)).await;
    match explained {
        Ok(Ok(why)) if asked.output.as_deref() == Some("text") => why.to_string().into_response(),
        Ok(Ok(why)) => Json(why).into_response(),
        Ok(Err(error)) => (StatusCode::NOT_FOUND, format!("{error:#}\n")).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("the explanation failed: {error}\n")).into_response(),
    }
}
