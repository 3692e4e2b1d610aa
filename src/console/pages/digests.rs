//! `/digests` and `/digest/ID`: what the servers are busy with now, and one digest whole. Texts hold no literals.

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use millrace_schemas::ids::{DigestId, InstanceId};
use serde::Deserialize;

use super::not_found;
use super::parts::{bar, counting, micros, page, rate, sparkline, stamp};
use crate::console::Console;
use crate::console::view::{TopDigest, View};

/// 50 digests: the load of nearly every server is in fewer.
const TOP: usize = 50;
/// 160 characters of a text say what it is; its own page has all of it.
const TEXT_CHARS: usize = 160;

#[derive(Debug, Default, Deserialize)]
pub(in crate::console) struct Filter {
    instance: Option<String>,
}

pub(in crate::console) async fn digests(State(console): State<Console>, Query(filter): Query<Filter>) -> Response {
    let view = console.view();
    let chosen = filter.instance.and_then(|instance| InstanceId::parse(instance).ok());
    let top = view.top_digests_of(chosen.as_ref(), TOP);
    let total = view.total_load(chosen.as_ref());
    let body = html! {
        h1 { "Digests" @if let Some(instance) = &chosen { " of " (instance) } }
        (choice(&view, chosen.as_ref()))
        @if let Some(total) = &total { (figures(total)) }
        @if let Some(of) = chosen.as_ref().and_then(|chosen| view.instance(chosen)?.counting) {
            p { "Counted from " (counting(of)) "." }
        }
        @if top.is_empty() {
            p.empty { "No statement was counted in the last seconds." }
        } @else { (table(&top)) }
    };
    page(&view, "Digests", "/digests", &body).into_response()
}

fn choice(view: &View, chosen: Option<&InstanceId>) -> Markup {
    html! {
        nav.filter aria-label="Instance" {
            a href="/digests" aria-current=[chosen.is_none().then_some("true")] { "all instances" }
            @for instance in view.loaded_instances() {
                a href=(format!("/digests?instance={instance}")) aria-current=[(chosen == Some(instance)).then_some("true")] {
                    (instance)
                }
            }
        }
    }
}

fn figures(load: &TopDigest) -> Markup {
    html! {
        dl.figures {
            div { dt { "Statements per second" } dd { (rate(load.per_second)) } }
            div { dt { "Busy sessions" } dd { (rate(load.load)) } }
            div { dt { "Median" } dd { (micros(load.p50_us)) } }
            div { dt { "99th percentile" } dd { (micros(load.p99_us)) } }
            div { dt { "Errors per second" } dd { (rate(load.errors_per_second)) } }
            div.spark-cell { dt { "Five minutes" } dd { (sparkline(&load.trend, true)) } }
        }
    }
}

fn table(top: &[TopDigest]) -> Markup {
    html! {
        div.scroll { table.digests {
            caption { "By load: response time spent per second, over the last 10 to 20 seconds." }
            thead { tr {
                th scope="col" { "Share" } th scope="col" { "Statement" } th.n scope="col" { "Per second" }
                th.n scope="col" { "p50" } th.n scope="col" { "p99" } th.n scope="col" { "Rows/s" }
                th.n scope="col" { "Errors/s" } th scope="col" { "Five minutes" }
            } }
            tbody { @for one in top { tr {
                td { (bar(one.share)) }
                th scope="row" { a.sql href=(format!("/digest/{}", one.digest)) { (short(&one.text)) } }
                td.n { (rate(one.per_second)) }
                td.n { (micros(one.p50_us)) }
                td.n { (micros(one.p99_us)) }
                td.n { (rate(one.rows_per_second)) }
                td.n { @if one.errors_per_second > 0.0 { strong.err { (rate(one.errors_per_second)) } } @else { "0" } }
                td { (sparkline(&one.trend, false)) }
            } } }
        } }
    }
}

fn short(text: &str) -> String {
    if text.chars().count() <= TEXT_CHARS {
        return text.to_owned();
    }
    text.chars().take(TEXT_CHARS).chain(['…']).collect()
}

pub(in crate::console) async fn digest(State(console): State<Console>, Path(id): Path<String>) -> Response {
    let Ok(id) = id.parse::<DigestId>() else { return not_found("That is no digest id of 32 hexadecimal digits.") };
    let view = console.view();
    let (entry, load) = (view.digest(id), view.load_of(id, None));
    if entry.is_none() && load.is_none() && id.reserved().is_none() {
        return not_found("No such digest was seen lately.");
    }
    let text = id.reserved().map(str::to_owned).or_else(|| entry.map(|entry| entry.text.clone()));
    let per_instance = view.loaded_instances().filter_map(|one| Some((one, view.load_of(id, Some(one))?)));
    let body = html! {
        h1 { "Digest " small { (id) } }
        pre.sql { (text.unwrap_or_else(|| "(text not known yet)".to_owned())) }
        @if let Some(load) = &load { (figures(load)) } @else { p.empty { "It did nothing in the last seconds." } }
        @if let Some(entry) = entry {
            dl.facts {
                dt { "Kind" } dd { (entry.kind) }
                dt { "Tables" } dd { (if entry.tables.is_empty() { "none".to_owned() } else { entry.tables.join(", ") }) }
                dt { "First seen" } dd { (stamp(entry.first_seen)) }
                @if entry.truncated { dt { "Text" } dd { "cut: the statement was longer" } }
            }
        }
        section {
            h2 { "By instance" }
            div.scroll { table {
                thead { tr {
                    th scope="col" { "Instance" } th scope="col" { "Share there" } th.n scope="col" { "Per second" }
                    th.n scope="col" { "p50" } th.n scope="col" { "p99" } th scope="col" { "Five minutes" }
                } }
                tbody { @for (instance, load) in per_instance { tr {
                    th scope="row" { a href=(format!("/digests?instance={instance}")) { (instance) } }
                    td { (bar(load.share)) }
                    td.n { (rate(load.per_second)) }
                    td.n { (micros(load.p50_us)) }
                    td.n { (micros(load.p99_us)) }
                    td { (sparkline(&load.trend, false)) }
                } } }
            } }
        }
    };
    page(&view, "Digest", "", &body).into_response()
}
