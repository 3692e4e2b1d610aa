//! `/cluster/ID`: one cluster whole: drawn, explained, with its members, its recent switches and its alerts.

use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use millrace_processors::failover::explain::{Explanation, explain};
use millrace_schemas::ids::ClusterId;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::actions::StepOutcome;
use millrace_schemas::topics::journal::Outcome;

use super::fleet::{alerts, verdict};
use super::parts::{badge, counting, health, micros, page, stamp};
use super::{not_found, topology};
use crate::console::Console;
use crate::console::view::{ReplicaLine, Switch, View};

/// 10 switches: what happened lately; the events and the archive have the rest.
const SWITCHES: usize = 10;

pub(in crate::console) async fn cluster(State(console): State<Console>, Path(id): Path<String>) -> Response {
    let Ok(id) = ClusterId::parse(id) else { return not_found("That is no cluster id.") };
    let view = console.view();
    let Some(state) = view.cluster(&id) else { return not_found("No such cluster is in the journal.") };
    let why = explain(state, view.now());
    let members = view.members(&id);
    let name = state.spec.as_ref().map_or(id.as_str(), |spec| spec.name.as_str());
    let firing: Vec<_> = view.alerts().into_iter().filter(|alert| alert.cluster == id).collect();
    let route = view.route_of(&id);
    let body = html! {
        h1 { (name) @if name != id.as_str() { " " small { (id) } } }
        p.verdict { (verdict(&why.verdict)) " " (why.sentence) "." }
        p { strong { "Therefore: " } (why.therefore) "." }
        dl.figures {
            div { dt { "Primary" } dd { (state.primary.as_ref().map_or("none", |primary| primary.as_str())) } }
            div { dt { "Epoch" } dd { (state.epoch) } }
            div { dt { "Mode" } dd { (format!("{:?}", state.effective_mode()).to_lowercase()) } }
            div { dt { "Route" } dd { (route_text(route.and_then(|(_, route)| route.primary.as_ref()).map(millrace_schemas::cluster::Member::endpoint))) } }
        }
        // What wakes people is what they come for.
        @if !firing.is_empty() { (alerts(&firing, false)) }
        section { h2 { "Topology" } div.scroll { (topology::drawing(&members)) } }
        (members_table(&view, &members))
        (candidates(&why))
        (switches(&view, &id))
        @if firing.is_empty() { (alerts(&firing, false)) }
    };
    page(&view, name, "", &body).into_response()
}

fn route_text(endpoint: Option<String>) -> String {
    endpoint.unwrap_or_else(|| "nobody may be written to".to_owned())
}

fn members_table(view: &View, members: &[ReplicaLine]) -> Markup {
    html! {
        section {
            h2 { "Members" }
            div.scroll { table {
                thead { tr {
                    th scope="col" { "Instance" } th scope="col" { "Role" } th scope="col" { "Health" }
                    th scope="col" { "Follows" } th.n scope="col" { "Delay" } th.n scope="col" { "Threads" }
                    th.n scope="col" { "Connections" } th scope="col" { "Statements" } th scope="col" { "Version" } th scope="col" { "Heard" }
                } }
                tbody { @for member in members {
                    @let server = view.beat(&member.instance).and_then(|beat| beat.heartbeat.server.as_ref());
                    @let counted = view.instance(&member.instance).and_then(|instance| instance.counting);
                    tr {
                        th scope="row" { a href=(format!("/digests?instance={}", member.instance)) { (member.instance) } }
                        td { (member.role) }
                        td { (health(&member.health)) }
                        td { (member.source.as_deref().unwrap_or("–")) }
                        td.n { (member.delay_us.map_or("–".to_owned(), micros)) }
                        td.n { (server.map_or("–".to_owned(), |server| server.threads_running.to_string())) }
                        td.n { (server.map_or("–".to_owned(), |server| server.connections.to_string())) }
                        td { (counted.map_or("–".to_owned(), counting)) }
                        td { (server.map_or("unknown", |server| server.version.as_str())) }
                        td { (stamp(member.heard.unwrap_or(Timestamp::ZERO))) }
                    }
                } }
            } }
        }
    }
}

fn candidates(why: &Explanation) -> Markup {
    html! {
        section {
            h2 { "Who may be promoted" }
            @if why.candidates.is_empty() { p.empty { "Nobody is known." } }
            ul { @for line in &why.candidates { li { (line) } } }
        }
    }
}

fn switches(view: &View, id: &ClusterId) -> Markup {
    let recent: Vec<&Switch> = view.switches().filter(|switch| switch.action.cluster == *id).take(SWITCHES).collect();
    html! {
        section {
            h2 { "Recent actions" }
            @if recent.is_empty() { p.empty { "None yet." } }
            @for one in recent { (switch(one, view.is_older(one))) }
        }
    }
}

fn switch(switch: &Switch, older: bool) -> Markup {
    let action = &switch.action;
    let ended =
        switch.ended.as_ref().map(|(at, _)| u64::try_from(at.since(switch.decided).as_micros()).unwrap_or(u64::MAX));
    html! {
        article.switch {
            h3 {
                (action.kind.name()) ", epoch " (action.epoch) " "
                @match &switch.ended {
                    None if older => { (badge("info", "before what was read")) }
                    None => { (badge("info", "under way")) }
                    Some((_, Outcome::Done { primary })) => { (badge("good", "done")) " primary " (primary) }
                    Some((_, Outcome::Refused { .. })) => { (badge("warn", "refused")) }
                    Some((_, Outcome::Abandoned { .. })) => { (badge("bad", "abandoned")) }
                }
            }
            p {
                "Because " (action.reason) ". Decided at " (stamp(switch.decided))
                @if let Some(us) = ended { ", ended after " (micros(us)) }
                @match &switch.ended {
                    Some((_, Outcome::Refused { reason, unblock })) => { ": " (reason) "; " (unblock) " would unblock it" }
                    Some((_, Outcome::Abandoned { reason, .. })) => { ": " (reason) }
                    _ => {}
                }
                ". " a href=(format!("/api/why/{}", action.id)) { "Why, as JSON" }
            }
            @if !switch.steps.is_empty() { (steps(switch)) }
        }
    }
}

fn steps(switch: &Switch) -> Markup {
    let longest = switch.steps.iter().map(|(_, step)| step.took_us).max().unwrap_or(1).max(1) as f64;
    html! {
        div.scroll { table {
            thead { tr {
                th.n scope="col" { "Step" } th scope="col" { "What" } th scope="col" { "Instance" }
                th scope="col" { "Outcome" } th.n scope="col" { "Took" } th scope="col" { "Appended" }
            } }
            tbody { @for (at, step) in &switch.steps { tr {
                td.n { (step.number) }
                th scope="row" { (step.step) }
                td { (step.instance) }
                td { (outcome(&step.outcome)) }
                td.n { (micros(step.took_us)) " " (length(step.took_us as f64 / longest)) }
                td { (stamp(*at)) }
            } } }
        } }
    }
}

/// How long a step took beside the longest one.
fn length(share: f64) -> Markup {
    html! {
        svg.bar viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" {
            rect.fill width=(format!("{:.1}", share * 100.0)) height="8" rx="1" {}
        }
    }
}

fn outcome(outcome: &StepOutcome) -> Markup {
    match outcome {
        StepOutcome::Done(report) if report.already => badge("good", "done before"),
        StepOutcome::Done(_) => badge("good", "done"),
        StepOutcome::Refused { reason } => html! { (badge("warn", "refused")) " " (reason) },
        StepOutcome::Failed { error } => html! { (badge("bad", "failed")) " " (error) },
        StepOutcome::TimedOut {} => badge("bad", "timed out"),
    }
}
