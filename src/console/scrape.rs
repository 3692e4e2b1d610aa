//! `/metrics` of a process that has no console: the same text, and nothing else, over plain HTTP on loopback. It needs no bus and
//! asks for none: a process whose bus is away can be scraped all the same.

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use millrace_schemas::metrics::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::is_loopback;

/// Serves `registry` on a socket that listens already, until `stop` says so.
pub async fn serve(
    listener: TcpListener,
    registry: Arc<Registry>,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let address = listener.local_addr().context("the socket of the metrics has no address")?;
    tracing::info!(%address, "metrics are served");
    let router =
        Router::new().route("/metrics", get(metrics)).layer(axum::middleware::from_fn(guard)).with_state(registry);
    let served = axum::serve(listener, router).with_graceful_shutdown(async move {
        // An error means that whoever could say stop is gone.
        let _ = stop.wait_for(|stop| *stop).await;
    });
    served.await.context("the metrics are not served any more")
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    exposed(&registry)
}

/// The values as Prometheus reads them.
pub(super) fn exposed(registry: &Registry) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], registry.render()).into_response()
}

/// Only loopback names may be asked for: a page of somebody else's site cannot read this one by naming it anew.
async fn guard(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if !host.is_some_and(is_loopback) {
        let text = "metrics are told to loopback names only: ask for 127.0.0.1 or localhost\n";
        return (StatusCode::MISDIRECTED_REQUEST, text).into_response();
    }
    next.run(request).await
}
