//! A profile as one page that needs nothing else: style and plots are in it, no script, no address of any other place. Whatever
//! comes from a log is escaped.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use millrace_schemas::profile::{
    Change, ChangeKind, Comparison, Group, GroupBy, Input, InputKind, Measured, Measures, Profile,
};

use super::compare;
use super::figures::{count, duration, fitted, harmless, percent, rate, some, span, three};
use super::plots;
use super::text::{names, place_of, rows, title};

const STYLE: &str = include_str!("report.css");
/// 90 characters of a text tell statements on one table apart.
const TEXT_COLUMNS: usize = 90;

/// The page.
pub(super) fn report(profile: &Profile) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                // Whatever a log may hold: this page loads nothing and runs nothing.
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:";
                link rel="icon" href="data:,";
                title { "Profile of " (of_what(profile)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header { h1 { "Profile of " (of_what(profile)) } (inputs(profile)) }
                main {
                    @if profile.overall.calls == 0 {
                        p.notice { "No statement is in it" @if profile.filtered > 0 { " that fits" } "." }
                    } @else {
                        (figures(profile))
                        @if let Some(comparison) = &profile.comparison { (changes(comparison)) }
                        h2 { "Load over time" }
                        p.soft { "How many statements ran at once, by when they ended; the colours are those of the shares below. UTC." }
                        div.card { (plots::load(profile)) }
                        h2 { "Share of the time" }
                        div.card { (plots::share(profile)) (table(profile)) }
                        @for group in &profile.groups { (section(profile, group)) }
                    }
                }
                footer {
                    "Made by Millrace " (env!("CARGO_PKG_VERSION")) ". Quantiles are within 1 %, sums are exact. "
                    @if profile.groups.iter().filter_map(|group| group.sample.as_ref()).all(|sample| sample.masked) {
                        "Literals are masked."
                    } @else {
                        strong { "Samples show their literals: this page may hold personal data." }
                    }
                }
            }
        }
    };
    page.into_string()
}

fn of_what(profile: &Profile) -> String {
    let name = |input: &Input| input.file.rsplit('/').next().unwrap_or_default().to_owned();
    match profile.inputs.as_slice() {
        [] => "nothing".to_owned(),
        [one] if one.file == "-" => "standard input".to_owned(),
        [one] => harmless(&name(one)),
        [first, rest @ ..] => format!("{} and {} more", harmless(&name(first)), rest.len()),
    }
}

fn inputs(profile: &Profile) -> Markup {
    let all = &profile.overall;
    html! {
        p {
            @if let (Some(first), Some(last)) = (&all.first_seen, &all.last_seen) {
                (span(first, last)) ", " (duration((profile.seconds * 1e6) as u64)) ". "
            }
            @if let Some(filter) = &profile.filter { "Filter: " code { (harmless(filter)) } ". " }
            @if profile.filtered > 0 { (count(profile.filtered)) " entries are left out. " }
        }
        @if profile.inputs.len() > 1 || profile.inputs.iter().any(|input| input.unreadable > 0 || input.error.is_some() || input.gaps.is_some()) {
            details {
                summary { "What was read" }
                ul {
                    @for input in &profile.inputs {
                        li {
                            (harmless(&input.file)) ": " (kind(input.kind)) ", " (count(input.entries)) " entries"
                            @if input.unreadable > 0 { ", " strong { (some(input.unreadable, "part")) " unreadable" } }
                            @if let Some(error) = &input.error { ", " strong { "not read to its end: " (harmless(error)) } }
                            @if let Some(gaps) = &input.gaps {
                                "; of " (count(gaps.captured_bytes)) " bytes captured, " (count(gaps.encrypted_bytes)) " are encrypted and "
                                (count(gaps.unusable_bytes)) " could not be used; " (count(gaps.missing_bytes)) " were not captured"
                            }
                        }
                    }
                }
            }
        }
    }
}

fn kind(kind: InputKind) -> &'static str {
    match kind {
        InputKind::MysqlSlowLog => "MySQL slow log",
        InputKind::MariadbSlowLog => "MariaDB slow log",
        InputKind::Capture => "capture",
        InputKind::PerformanceSchema => "performance_schema",
    }
}

fn figures(profile: &Profile) -> Markup {
    let all = &profile.overall;
    let figure = |label: &str, value: &str, more: &str| {
        html! { div { dt { (label) } dd { (value) @if !more.is_empty() { small { (more) } } } } }
    };
    html! {
        dl.figures {
            (figure("Calls", &count(all.calls), &rate(all.calls as f64 / profile.seconds)))
            (figure("Time", &duration(all.time_us), &format!("{} at once", three(profile.concurrency))))
            (figure("p50", &duration(all.p50_us), ""))
            (figure("p95", &duration(all.p95_us), ""))
            (figure("p99", &duration(all.p99_us), ""))
            (figure("Longest", &duration(all.max_us), ""))
            @if let Some(examined) = all.rows_examined {
                (figure("Rows examined", &count(examined), &each(all)))
            } @else {
                (figure("Rows sent", &count(all.rows_sent), ""))
            }
            @if let Some(errors) = all.errors { (figure("Errors", &count(errors), "")) }
        }
        @if all.sample_factor > 1 {
            p.notice {
                "The input is sampled: " (count(all.entries)) " entries stand for " (count(all.calls)) " calls (one of up to "
                (count(all.sample_factor)) " was logged)."
            }
        }
    }
}

fn each(measures: &Measures) -> String {
    measures.rows_examined_per_row_sent.map_or_else(String::new, |each| format!("{} per row sent", three(each)))
}

fn what(by: GroupBy) -> &'static str {
    match by {
        GroupBy::Digest => "Statement",
        GroupBy::Table => "Table",
        GroupBy::User => "User",
        GroupBy::Host => "Host",
        GroupBy::Schema => "Schema",
    }
}

fn table(profile: &Profile) -> Markup {
    html! {
        div.scroll {
            table {
                thead {
                    tr {
                        th.n { "#" } th { (what(profile.group_by)) } th { "Share" } th.n { "Time" } th.n { "Calls" }
                        th.n { "p50" } th.n { "p95" } th.n { "p99" } th.n { "Longest" } th.n { "Examined/sent" }
                    }
                }
                tbody {
                    @for group in &profile.groups {
                        tr {
                            td.n { (group.rank) }
                            th scope="row" {
                                a href=(format!("#g{}", group.rank)) { (title(group, profile.group_by)) }
                                @if let Some(class) = group.digest.as_ref().filter(|class| !class.tables.is_empty()) {
                                    div.sql.soft { (fitted(&harmless(&class.digest_text), TEXT_COLUMNS)) }
                                }
                            }
                            td { (bar(group.share_of_time)) }
                            (numbers(&group.measures))
                        }
                    }
                    @if let Some(other) = &profile.other {
                        tr.soft {
                            td {} th scope="row" { (count(other.groups)) " other" @if other.groups_at_least { ", or more" } }
                            td { (bar(other.share_of_time)) }
                            (numbers(&other.measures))
                        }
                    }
                }
            }
        }
    }
}

fn numbers(measures: &Measures) -> Markup {
    html! {
        td.n { (duration(measures.time_us)) } td.n { (count(measures.calls)) } td.n { (duration(measures.p50_us)) }
        td.n { (duration(measures.p95_us)) } td.n { (duration(measures.p99_us)) } td.n { (duration(measures.max_us)) }
        td.n { (measures.rows_examined_per_row_sent.map_or("–".to_owned(), three)) }
    }
}

fn bar(share: f64) -> Markup {
    html! {
        span.bar {
            svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" {
                rect.track width="100" height="8" {}
                rect.s1 width=(format!("{:.1}", share.clamp(0.0, 1.0) * 100.0)) height="8" {}
            }
            (percent(share))
        }
    }
}

fn section(profile: &Profile, group: &Group) -> Markup {
    let all = &group.measures;
    html! {
        section.card id=(format!("g{}", group.rank)) {
            h3 {
                span.rank { (group.rank) } " " (title(group, profile.group_by))
                span.soft { " " (percent(group.share_of_time)) " of the time" }
            }
            @if let Some(class) = &group.digest { pre.sql { (harmless(&class.digest_text)) } }
            div.plots {
                figure { figcaption { "Calls by duration (logarithmic)" } (plots::latency(group)) }
                figure { figcaption { "Load over time" } (plots::own_load(profile, group)) }
            }
            dl.facts {
                (fact("Time", &format!("{} in {} calls, {}", duration(all.time_us), count(all.calls), rate(group.calls_per_second))))
                (fact("Latency", &format!("p50 {}, p95 {}, p99 {}, longest {}, average {}", duration(all.p50_us), duration(all.p95_us),
                    duration(all.p99_us), duration(all.max_us), duration(all.mean_us))))
                (fact("Rows", &rows(all)))
                @if let Some(lock) = all.lock_time_us.filter(|lock| *lock > 0) { (fact("Waiting for locks", &duration(lock))) }
                @if let Some(errors) = all.errors.filter(|errors| *errors > 0) {
                    (fact("Errors", &format!("{} ({})", count(errors), names(&group.error_codes, errors))))
                }
                @if let (Some(first), Some(last)) = (&all.first_seen, &all.last_seen) { (fact("Seen", &span(first, last))) }
                (fact("Users", &names(&group.users, all.calls)))
                (fact("Hosts", &names(&group.hosts, all.calls)))
                (fact("Schemas", &names(&group.schemas, all.calls)))
                @if let Some(class) = &group.digest {
                    (fact("Tables", &harmless(&class.tables.join(", "))))
                    (fact("Digest", &class.digest_id.to_string()))
                }
                (fact("pt id", group.pt_id.as_deref().unwrap_or_default()))
                (fact("Flags", &names(&group.flags, all.calls)))
                @if all.sample_factor > 1 {
                    (fact("Sampled", &format!("{} entries, each for up to {} calls", count(all.entries), count(all.sample_factor))))
                }
                @if group.partial { (fact("Partly", "earlier statements of it are among the others")) }
            }
            @if let Some(sample) = &group.sample {
                details {
                    summary { "Sample: " (place_of(profile, sample)) }
                    pre.sql { (printable(&sample.sql)) @if sample.cut { "…" } }
                }
            }
        }
    }
}

/// A fact; nothing where there is nothing to say.
fn fact(label: &str, text: &str) -> Markup {
    html! { @if !text.is_empty() { dt { (label) } dd { (text) } } }
}

/// Lines stay lines.
fn printable(sql: &str) -> String {
    sql.lines().map(harmless).collect::<Vec<_>>().join("\n")
}

fn changes(comparison: &Comparison) -> Markup {
    html! {
        h2 { "Compared with " (harmless(&comparison.base)) }
        p.soft { (compare::summary(comparison)) }
        @if !comparison.changes.is_empty() {
            div.card { div.scroll { table {
                thead { tr { th { "" } th { "Group" } th.n { "p50 before" } th.n { "now" } th.n { "Ratio" } th.n { "Calls before" } th.n { "now" } } }
                tbody { @for change in &comparison.changes { (change_row(change)) } }
            } } }
        }
    }
}

fn change_row(change: &Change) -> Markup {
    let (class, word) = match change.kind {
        ChangeKind::Slower => ("bad", "slower"),
        ChangeKind::New => ("info", "new"),
        ChangeKind::Gone => ("info", "gone"),
        ChangeKind::Faster => ("good", "faster"),
    };
    let side = |side: Option<&Measured>, of: fn(&Measured) -> String| side.map_or("–".to_owned(), of);
    let (before, now) = (change.base.as_ref(), change.now.as_ref());
    html! {
        tr {
            td { span class=(format!("badge {class}")) { (word) } }
            th scope="row" { span.sql { (harmless(compare::name(change))) } }
            td.n { (side(before, |side| duration(side.p50_us))) }
            td.n { (side(now, |side| duration(side.p50_us))) }
            td.n { (change.ratio.map_or("–".to_owned(), three)) }
            td.n { (side(before, |side| count(side.calls))) }
            td.n { (side(now, |side| count(side.calls))) }
        }
    }
}
