//! A cluster drawn: the primary on top, the replicas below it with their delay, whoever is quarantined marked. Each state has
//! a word besides its colour, and the drawing has a description for those who do not see it.

use maud::{Markup, html};

use super::parts::micros;
use crate::console::view::ReplicaLine;

/// A box of a member: wide enough for an id of 20 characters at 13 px.
const BOX: (usize, usize) = (190, 62);
const GAP: usize = 24;
/// Room for the arrows and their labels.
const BETWEEN: usize = 74;
/// 6 in a row: beyond, the next row.
const COLUMNS: usize = 6;

/// The drawing.
pub(super) fn drawing(members: &[ReplicaLine]) -> Markup {
    let (tops, below): (Vec<&ReplicaLine>, Vec<&ReplicaLine>) = members.iter().partition(|one| one.role == "primary");
    let columns = below.len().clamp(1, COLUMNS);
    let rows = below.len().div_ceil(COLUMNS);
    let width = columns.max(tops.len()) * (BOX.0 + GAP) + GAP;
    let height = GAP + BOX.1 + rows * (BOX.1 + BETWEEN) + GAP;
    let middle = width / 2;
    let place = |at: usize| {
        let in_row = (below.len() - at / COLUMNS * COLUMNS).min(COLUMNS);
        let left = (width - (in_row * (BOX.0 + GAP) - GAP)) / 2;
        (left + at % COLUMNS * (BOX.0 + GAP), GAP + BOX.1 + BETWEEN + at / COLUMNS * (BOX.1 + BETWEEN))
    };
    html! {
        svg.topology viewBox=(format!("0 0 {width} {height}")) role="img" aria-label=(describe(members)) {
            @for (at, member) in below.iter().enumerate() {
                @let (x, y) = place(at);
                (edge(middle, GAP + BOX.1, x + BOX.0 / 2, y, member))
            }
            @if tops.is_empty() {
                text.none x=(middle) y=(GAP + BOX.1 / 2) text-anchor="middle" { "no primary" }
            }
            @for member in &tops { (node(middle - BOX.0 / 2, GAP, member)) }
            @for (at, member) in below.iter().enumerate() {
                @let (x, y) = place(at);
                (node(x, y, member))
            }
        }
    }
}

fn node(x: usize, y: usize, member: &ReplicaLine) -> Markup {
    let class = match (member.role, member.health.as_str()) {
        ("quarantined", _) => "node out",
        (_, "ok") => "node good",
        (_, "unknown" | "stopped" | "agent silent") => "node warn",
        _ => "node bad",
    };
    html! {
        g class=(class) {
            rect x=(x) y=(y) width=(BOX.0) height=(BOX.1) rx="6" {}
            text.name x=(x + 12) y=(y + 25) { (member.instance) }
            text.role x=(x + 12) y=(y + 45) { (member.role) " · " (member.health) }
        }
    }
}

fn edge(from_x: usize, from_y: usize, to_x: usize, to_y: usize, member: &ReplicaLine) -> Markup {
    let bend = from_y.midpoint(to_y);
    let path = format!("M{from_x},{from_y} C{from_x},{bend} {to_x},{bend} {to_x},{}", to_y - 4);
    let (class, label) = match (member.role, member.source.is_some(), member.delay_us) {
        ("quarantined", _, _) => ("edge off", "out".to_owned()),
        (_, false, _) => ("edge off", "follows nobody".to_owned()),
        (_, true, None) => ("edge off", "delay unknown".to_owned()),
        (_, true, Some(us)) => ("edge", micros(us)),
    };
    // On the outer side of the arrow, where no line runs.
    let (label_x, anchor) = if to_x < from_x { (to_x - 8, "end") } else { (to_x + 8, "start") };
    html! {
        path class=(class) d=(path) {}
        text.delay x=(label_x) y=(to_y - 12) text-anchor=(anchor) { (label) }
    }
}

fn describe(members: &[ReplicaLine]) -> String {
    let lines = members.iter().map(|member| {
        let delay = member.delay_us.map_or(String::new(), |us| format!(", {} behind", micros(us)));
        format!("{}: {}, {}{delay}", member.instance, member.role, member.health)
    });
    lines.collect::<Vec<_>>().join("; ")
}
