//! `/`: every cluster in a row with what is the matter, and the alerts that fire.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use millrace_processors::failover::explain::explain;
use millrace_processors::failover::{self, Verdict};
use millrace_schemas::ids::ClusterId;

use super::parts::{badge, health, page, rate, severity, sparkline, stamp};
use crate::console::Console;
use crate::console::view::{AlertLine, View};

pub(in crate::console) async fn fleet(State(console): State<Console>) -> Response {
    let view = console.view();
    let body = html! {
        (summary(&view))
        (clusters(&view))
        (alerts(&view.alerts(), true))
    };
    page(&view, "Fleet", "/", &body).into_response()
}

fn summary(view: &View) -> Markup {
    let clusters = view.clusters().count();
    let members = view.replicas();
    let ok = members.iter().filter(|member| member.health == "ok").count();
    let load = view.total_load(None);
    html! {
        h1 { "Fleet" }
        dl.figures {
            div { dt { "Clusters" } dd { (clusters) } }
            div { dt { "Members healthy" } dd { (ok) " of " (members.len()) } }
            div { dt { "Alerts firing" } dd { (view.alerts().len()) } }
            div { dt { "Statements per second" } dd { (load.as_ref().map_or("unknown".to_owned(), |load| rate(load.per_second))) } }
            @if let Some(load) = &load { div.spark-cell { dt { "Five minutes" } dd { (sparkline(&load.trend, true)) } } }
        }
    }
}

fn clusters(view: &View) -> Markup {
    html! {
        section {
            h2 { "Clusters" }
            @if view.clusters().next().is_none() {
                p.empty { "No cluster has been declared yet. The journal will say when one is." }
            } @else {
                div.scroll { table {
                    thead { tr {
                        th scope="col" { "Cluster" } th scope="col" { "Health" } th scope="col" { "Primary" }
                        th.n scope="col" { "Epoch" } th scope="col" { "Members" } th.n scope="col" { "Alerts" }
                    } }
                    tbody { @for (id, state) in view.clusters() { (row(view, id, state)) } }
                } }
            }
        }
    }
}

fn row(view: &View, id: &ClusterId, state: &failover::State) -> Markup {
    let why = explain(state, view.now());
    let name = state.spec.as_ref().map_or(id.as_str(), |spec| spec.name.as_str());
    let firing = view.alerts().iter().filter(|alert| alert.cluster == *id).count();
    html! {
        tr {
            th scope="row" { a href=(format!("/cluster/{id}")) { (name) } @if name != id.as_str() { " " small { (id) } } }
            td { (verdict(&why.verdict)) " " (why.sentence) }
            td { (state.primary.as_ref().map_or("none", |primary| primary.as_str())) }
            td.n { (state.epoch) }
            td { @for member in view.members(id) { span.member { (member.instance) " " (health(&member.health)) } " " } }
            td.n { (firing) }
        }
    }
}

/// A verdict in a word.
pub(super) fn verdict(verdict: &Verdict) -> Markup {
    match verdict {
        Verdict::Fine => badge("good", "healthy"),
        Verdict::Unknown { .. } => badge("warn", "unknown"),
        Verdict::NoPrimaryYet => badge("info", "no primary yet"),
        Verdict::AgentDead => badge("warn", "agent silent"),
        Verdict::StoppedOnPurpose { .. } => badge("warn", "stopped"),
        Verdict::Dead { .. } => badge("bad", "primary down"),
        Verdict::Closed => badge("bad", "closed"),
        Verdict::Isolated { .. } => badge("bad", "isolated"),
        Verdict::WritesBlocked | Verdict::Stalled { .. } => badge("bad", "writes blocked"),
    }
}

/// The alerts that fire.
pub(super) fn alerts(alerts: &[AlertLine], with_cluster: bool) -> Markup {
    html! {
        section {
            h2 { "Alerts" }
            @if alerts.is_empty() { p.empty { "None fires." } } @else {
                div.scroll { table {
                    thead { tr {
                        th scope="col" { "Severity" } th scope="col" { "Alert" }
                        @if with_cluster { th scope="col" { "Cluster" } }
                        th scope="col" { "What" } th scope="col" { "Since" } th scope="col" { "What to do" }
                    } }
                    tbody { @for alert in alerts { tr {
                        td { (severity(alert.severity)) }
                        th scope="row" { (alert.name) }
                        @if with_cluster { td { a href=(format!("/cluster/{}", alert.cluster)) { (alert.cluster) } } }
                        td {
                            (alert.summary)
                            @for remark in alert.remarks() { br; small { (remark) } }
                        }
                        td { (stamp(alert.starts_at)) }
                        td { code { (alert.runbook) } }
                    } } }
                } }
            }
        }
    }
}
