//! What all pages are made of: the frame, badges, figures, bars and sparklines.

use axum::response::Html;
use maud::{DOCTYPE, Markup, html};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::alerts::Severity;
use millrace_schemas::topics::inventory::Counting;
use millrace_schemas::topics::queries::Source;

use crate::console::view::View;
use crate::console::wall;

/// 3 s without a record: ticks fill every silence five times a second, so the pipeline stands still.
const STALE: std::time::Duration = std::time::Duration::from_secs(3);

/// A page that shows the view: the frame says how old it is.
pub(super) fn page(view: &View, title: &str, here: &str, body: &Markup) -> Html<String> {
    let now = wall();
    let old = now.since(view.now());
    let notice = match view.away() {
        Some(why) => Some(format!("The bus does not answer ({why}): what you see is from {}.", clock(view.now()))),
        None if view.now() == Timestamp::ZERO => Some("Nothing has been read from the bus yet.".to_owned()),
        None if old > STALE => Some(format!("Nothing new since {}, {} ago.", clock(view.now()), span(old.as_secs()))),
        None => None,
    };
    let main = html! {
        @if let Some(notice) = &notice { p.notice role="status" { strong { "Stale" } " " (notice) } }
        (body)
        p.asof { "As of " (stamp(view.now())) ". Read-only." }
    };
    frame(title, here, &main)
}

/// A page that shows nothing of the view.
pub(super) fn plain(title: &str, body: &Markup) -> Html<String> {
    frame(title, "", body)
}

fn frame(title: &str, here: &str, main: &Markup) -> Html<String> {
    let link = |to: &'static str, name: &str| {
        html! { a href=(to) aria-current=[(to == here).then_some("page")] { (name) } }
    };
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Millrace" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="/console.css";
                script src="/live.js" defer {}
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header {
                    a.brand href="/" { "Millrace" }
                    nav aria-label="Pages" {
                        (link("/", "Fleet"))
                        (link("/digests", "Digests"))
                        (link("/events", "Events"))
                    }
                    span #live aria-live="polite" { "not live" }
                }
                main #main { (main) }
            }
        }
    };
    Html(document.into_string())
}

/// A word in a coloured frame; the word carries the meaning, the colour repeats it.
pub(super) fn badge(class: &str, word: &str) -> Markup {
    html! { span class=(format!("badge {class}")) { (word) } }
}

pub(super) fn severity(severity: Severity) -> Markup {
    let class = match severity {
        Severity::Critical => "bad",
        Severity::Warning => "warn",
        Severity::Info => "info",
    };
    badge(class, severity.name())
}

/// How a health word looks.
pub(super) fn health(word: &str) -> Markup {
    let class = match word {
        "ok" => "good",
        "unknown" | "closed" | "stopped" | "agent silent" => "warn",
        _ => "bad",
    };
    badge(class, word)
}

/// Microseconds with a unit that keeps three digits.
pub(super) fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..10_000 => format!("{:.2} ms", us as f64 / 1e3),
        10_000..100_000 => format!("{:.1} ms", us as f64 / 1e3),
        100_000..1_000_000 => format!("{:.0} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

/// What counts the statements of an instance, and how much of them no packet shows.
pub(super) fn counting(of: Counting) -> String {
    let source = match of.source {
        Source::Wire => "packets",
        Source::PerformanceSchema => "its own counters",
        Source::SlowLog => "the slow log",
    };
    match of.unseen_percent {
        Some(0) => source.to_owned(),
        Some(percent) => format!("{source}; {percent} % are in no packet"),
        None if of.source == Source::Wire => format!("{source}; how many are in none is not known"),
        None => source.to_owned(),
    }
}

/// Seconds in the largest unit that leaves a number above 1.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A rate with as many digits as it deserves.
pub(super) fn rate(value: f64) -> String {
    if value >= 99.5 {
        format!("{value:.0}")
    } else if value >= 9.95 || value == 0.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// The whole time, for machines and on hover; the time of day for eyes.
pub(super) fn stamp(at: Timestamp) -> Markup {
    if at == Timestamp::ZERO {
        return html! { "never" };
    }
    let text = at.to_string();
    html! { time datetime=(text) title=(text) { (clock(at)) } }
}

/// `HH:MM:SS.mmm`, UTC.
pub(super) fn clock(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(11..23).unwrap_or(&text).to_owned()
}

/// A bar from 0 to 1, with the figure beside it.
pub(super) fn bar(share: f64) -> Markup {
    let percent = share.clamp(0.0, 1.0) * 100.0;
    html! {
        span.share {
            svg.bar viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" {
                rect.track width="100" height="8" rx="1" {}
                rect.fill width=(format!("{percent:.1}")) height="8" rx="1" {}
            }
            span { (format!("{percent:.0} %")) }
        }
    }
}

/// Values over time, the newest at the right.
pub(super) fn sparkline(values: &[f64], wide: bool) -> Markup {
    let top = values.iter().copied().fold(0.0_f64, f64::max);
    let steps = values.len().saturating_sub(1).max(1) as f64;
    let points: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(at, value)| {
            let height = if top > 0.0 { value / top } else { 0.0 };
            format!("{:.1},{:.1}", at as f64 / steps * 100.0, 23.0 - height * 21.0)
        })
        .collect();
    let line = points.join(" ");
    let label = format!("statements per second over five minutes, at most {}", rate(top));
    html! {
        svg class=(if wide { "spark wide" } else { "spark" }) viewBox="0 0 100 24" preserveAspectRatio="none"
            role="img" aria-label=(label) {
            polygon.area points=(format!("0,24 {line} 100,24")) {}
            polyline.line points=(line) {}
        }
    }
}
