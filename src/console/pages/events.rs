//! `/events`: the tail of journal, actions and alerts, newest first. Heartbeats, ticks, loads and the watchdog are left out: they come
//! every second or minute; `/api/events/journal` streams all of it.

use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use maud::html;
use millrace_schemas::topics::Topic;
use serde::Deserialize;

use super::parts::{badge, page, stamp};
use crate::console::Console;

/// 200 lines: two screens of scrolling.
const LINES: usize = 200;

#[derive(Debug, Default, Deserialize)]
pub(in crate::console) struct Filter {
    topic: Option<String>,
}

pub(in crate::console) async fn events(State(console): State<Console>, Query(filter): Query<Filter>) -> Response {
    let view = console.view();
    let chosen: Option<Topic> = filter.topic.and_then(|topic| topic.parse().ok());
    let lines: Vec<_> = view.tail().filter(|line| chosen.is_none_or(|topic| topic == line.topic)).take(LINES).collect();
    let body = html! {
        h1 { "Events" }
        nav.filter aria-label="Topic" {
            a href="/events" aria-current=[chosen.is_none().then_some("true")] { "all" }
            @for topic in [Topic::Journal, Topic::Actions, Topic::Alerts] {
                a href=(format!("/events?topic={topic}")) aria-current=[(chosen == Some(topic)).then_some("true")] { (topic) }
            }
        }
        @if lines.is_empty() { p.empty { "Nothing yet." } } @else {
            div.scroll { table {
                thead { tr {
                    th scope="col" { "Appended" } th scope="col" { "Topic" } th scope="col" { "Kind" }
                    th scope="col" { "About" } th scope="col" { "What" } th.n scope="col" { "Offset" }
                } }
                tbody { @for line in lines { tr {
                    td { (stamp(line.at)) }
                    td { (line.topic) }
                    td { (badge(class(line.kind), line.kind)) }
                    td { (line.subject) }
                    td { (line.text) }
                    td.n {
                        @if let Some(id) = line.id.filter(|_| line.topic != Topic::Alerts && line.kind != "step") {
                            a href=(format!("/api/why/{id}")) title="why" { (line.place) }
                        } @else { (line.place) }
                    }
                } } }
            } }
        }
    };
    page(&view, "Events", "/events", &body).into_response()
}

fn class(kind: &str) -> &'static str {
    match kind {
        "firing" => "bad",
        "resolved" => "good",
        "process" | "gap" => "warn",
        _ => "info",
    }
}
