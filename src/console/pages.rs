//! The pages: requests enter, whole HTML documents leave. Everything that comes from outside is escaped by the templates;
//! nothing here changes anything.

mod cluster;
mod digests;
mod events;
mod fleet;
mod parts;
mod topology;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use maud::html;

pub(super) use cluster::cluster;
pub(super) use digests::{digest, digests};
pub(super) use events::events;
pub(super) use fleet::fleet;
use parts::plain;

const STYLE: &str = include_str!("pages/console.css");

pub(super) async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "max-age=300")], STYLE).into_response()
}

pub(super) async fn missing() -> Response {
    not_found("There is no such page.")
}

fn not_found(what: &str) -> Response {
    let body = html! {
        h1 { "Not found" }
        p { (what) }
        p { a href="/" { "Back to the fleet" } }
    };
    (StatusCode::NOT_FOUND, plain("Not found", &body)).into_response()
}
