//! A profile as text of 80 columns: what was read, the table of groups, then each group.

use std::fmt::Write as _;

use millrace_schemas::profile::{
    Gaps, Group, GroupBy, Input, InputKind, Load, Measures, Names, Other, Profile, Sample,
};

use super::figures::{
    count, duration, fitted, harmless, percent, rate, short, slot_start, some, span, spark, squeezed, stamp, three,
    width, wrapped,
};

/// The width of the whole.
const COLUMNS: usize = 80;
/// Where what is said of a group begins, behind its label.
const INDENT: usize = 14;
/// 12 lines of a sample: the place in the log leads to the rest.
const SAMPLE_LINES: usize = 12;
/// 5 names of users, hosts or schemas.
const NAMES: usize = 5;
/// 8 files are named in the head.
const FILES: usize = 8;

/// The whole.
pub(super) fn report(profile: &Profile) -> String {
    let mut out = String::new();
    head(&mut out, profile);
    if profile.overall.calls == 0 {
        out.push_str("\nNo statement is in it");
        out.push_str(if profile.filtered > 0 { " that fits.\n" } else { ".\n" });
        return out;
    }
    overall(&mut out, profile);
    if let Some(comparison) = &profile.comparison {
        out.push_str(&super::compare::text(comparison, COLUMNS));
    }
    table(&mut out, profile);
    for group in &profile.groups {
        section(&mut out, profile, group);
    }
    out
}

/// What a server did in an interval: the whole, and a line for each group.
pub(super) fn live(profile: &Profile) -> String {
    let mut out = String::new();
    head(&mut out, profile);
    let all = &profile.overall;
    if let (Some(first), Some(last)) = (&all.first_seen, &all.last_seen) {
        let _ = writeln!(out, "{}, {}", span(first, last), duration((profile.seconds * 1e6) as u64));
    }
    let _ = writeln!(
        out,
        "\n  {}, {:.2} at once on average; {}",
        rate(all.calls as f64 / profile.seconds),
        profile.concurrency,
        rows(all)
    );
    let others = others(all);
    if !others.is_empty() {
        let _ = writeln!(out, "  {others}");
    }
    let digest = if profile.group_by == GroupBy::Digest { "digest    " } else { "" };
    let what = named(profile.group_by);
    let _ = writeln!(
        out,
        "\n{:>4}  {digest}{:>6} {:>9} {:>7} {:>7} {:>7}  {what}",
        "rank", "share", "calls/s", "mean", "lock", "errors"
    );
    for group in &profile.groups {
        let id = group.digest.as_ref().map_or(String::new(), |class| format!("{:.8}  ", class.digest_id.to_string()));
        let row = per_second(&group.rank.to_string(), &id, group.share_of_time, &group.measures, profile.seconds);
        let room = COLUMNS.saturating_sub(row.chars().count());
        let _ = writeln!(out, "{row}{}", fitted(&title(group, profile.group_by), room));
    }
    if let Some(other) = &profile.other {
        let blank = if digest.is_empty() { "" } else { "          " };
        let row = per_second("", blank, other.share_of_time, &other.measures, profile.seconds);
        let _ = writeln!(out, "{row}{} other", count(other.groups));
    }
    out
}

fn per_second(rank: &str, id: &str, share: f64, measures: &Measures, seconds: f64) -> String {
    let each = |sum: u64| sum.checked_div(measures.calls).unwrap_or(0);
    format!(
        "{rank:>4}  {id}{:>6} {:>9} {:>7} {:>7} {:>7}  ",
        percent(share),
        three(measures.calls as f64 / seconds),
        duration(measures.mean_us),
        duration(each(measures.lock_time_us.unwrap_or(0))),
        measures.errors.map_or(String::new(), short),
    )
}

fn head(out: &mut String, profile: &Profile) {
    for input in profile.inputs.iter().take(FILES) {
        let _ = writeln!(out, "{}", fitted(&harmless(&input.file), COLUMNS));
        let _ = writeln!(out, "  {}", what_it_is(input));
        if let Some(error) = &input.error {
            for line in wrapped(&format!("not read to its end: {error}"), COLUMNS - 2) {
                let _ = writeln!(out, "  {line}");
            }
        }
        if let Some(gaps) = &input.gaps {
            missing(out, gaps);
        }
    }
    if let Some(more) = profile.inputs.get(FILES..).filter(|more| !more.is_empty()) {
        let entries = more.iter().map(|input| input.entries).sum();
        let unreadable = more.iter().map(|input| input.unreadable).sum();
        let _ = writeln!(out, "and {} more files\n  {}", more.len(), read(entries, unreadable));
    }
    if let Some(filter) = &profile.filter {
        for line in wrapped(&format!("filter: {filter}"), COLUMNS) {
            let _ = writeln!(out, "{line}");
        }
    }
    if profile.filtered > 0 {
        let _ = writeln!(out, "{} entries are left out by the filter or the span of time", count(profile.filtered));
    }
}

fn what_it_is(input: &Input) -> String {
    let kind = match input.kind {
        InputKind::MysqlSlowLog => "MySQL slow log",
        InputKind::MariadbSlowLog => "MariaDB slow log",
        InputKind::Capture => return format!("capture, {} rows of a second and digest", count(input.entries)),
        InputKind::PerformanceSchema => {
            return format!("performance_schema, {}", some(input.entries, "digest"));
        }
    };
    format!("{kind}, {}", read(input.entries, input.unreadable))
}

fn read(entries: u64, unreadable: u64) -> String {
    match unreadable {
        0 => format!("{} entries, all readable", count(entries)),
        _ => format!("{} entries; {} cannot be read, see standard error", count(entries), some(unreadable, "part")),
    }
}

/// What a capture does not tell.
fn missing(out: &mut String, gaps: &Gaps) {
    let parts = [
        (gaps.missing_bytes, "byte", "not captured"),
        (gaps.encrypted_bytes, "byte", "encrypted"),
        (gaps.unusable_bytes, "byte", "captured but of no use"),
        (gaps.unanswered, "request", "without an answer, counted without a time"),
        (gaps.unknown_statements, "execution", "of statements that were prepared before"),
    ];
    let lacking = parts.iter().any(|(n, ..)| *n > 0);
    let end = if lacking { "; what the numbers lack:" } else { ", nothing is missing" };
    let _ = writeln!(out, "  {} captured{end}", some(gaps.captured_bytes, "byte"));
    for (n, thing, which) in parts.into_iter().filter(|(n, ..)| *n > 0) {
        let _ = writeln!(out, "    {} {which}", some(n, thing));
    }
}

fn overall(out: &mut String, profile: &Profile) {
    let all = &profile.overall;
    if let (Some(first), Some(last)) = (&all.first_seen, &all.last_seen) {
        let _ = writeln!(out, "{}, {}", span(first, last), duration((profile.seconds * 1e6) as u64));
    }
    out.push('\n');
    let calls = format!("{}, {}", count(all.calls), rate(all.calls as f64 / profile.seconds));
    let _ = writeln!(out, "  {:<8}{calls:<28}{:<10}{}", "calls", "time", time(all, profile));
    let _ = writeln!(out, "  {:<8}{}", "latency", latency(all));
    let _ = writeln!(out, "  {:<8}{}", "rows", rows(all));
    let others = others(all);
    if !others.is_empty() {
        let _ = writeln!(out, "  {:<8}{others}", "other");
    }
    if all.sample_factor > 1 {
        let _ = writeln!(
            out,
            "  {:<8}{} entries stand for {} calls: one of up to {} was logged",
            "sampled",
            count(all.entries),
            count(all.calls),
            count(all.sample_factor)
        );
    }
    load(out, &profile.load);
}

fn time(all: &Measures, profile: &Profile) -> String {
    format!("{}, {:.2} at once on average", duration(all.time_us), profile.concurrency)
}

fn latency(measures: &Measures) -> String {
    format!(
        "p50 {}, p95 {}, p99 {}, longest {}",
        duration(measures.p50_us),
        duration(measures.p95_us),
        duration(measures.p99_us),
        duration(measures.max_us)
    )
}

pub(super) fn rows(measures: &Measures) -> String {
    let sent = count(measures.rows_sent);
    let mut text = match (measures.rows_examined, measures.rows_examined_per_row_sent) {
        (None, _) => format!("{sent} sent"),
        (Some(examined), None) => format!("{} examined, {sent} sent", count(examined)),
        (Some(examined), Some(each)) => {
            format!("{} examined, {sent} sent: {} for each", count(examined), three(each))
        }
    };
    if let Some(affected) = measures.rows_affected.filter(|affected| *affected > 0) {
        let _ = write!(text, "; {} changed", count(affected));
    }
    text
}

fn others(measures: &Measures) -> String {
    let mut parts = Vec::new();
    if let Some(lock) = measures.lock_time_us.filter(|lock| *lock > 0) {
        parts.push(format!("{} waiting for locks", duration(lock)));
    }
    if let Some(bytes) = measures.bytes_sent {
        parts.push(format!("{} bytes sent", count(bytes)));
    }
    if let Some(errors) = measures.errors.filter(|errors| *errors > 0) {
        let killed = if measures.killed > 0 { format!(" ({} killed)", count(measures.killed)) } else { String::new() };
        parts.push(format!("{}{killed}", some(errors, "error")));
    }
    parts.join(", ")
}

fn load(out: &mut String, load: &Load) {
    let Some(from) = load.from.as_deref().filter(|_| load.time_us.len() > 1) else { return };
    let room = COLUMNS - 10;
    let each = load.time_us.len().div_ceil(room).max(1);
    let slots = squeezed(&load.time_us, room);
    let width = load.slot_seconds * each as u64;
    let most = slots.iter().copied().max().unwrap_or(0);
    let peak = slots.iter().position(|slot| *slot == most).unwrap_or(0);
    let _ = writeln!(out, "  {:<8}{}", "load", spark(&slots).trim_end());
    let _ = writeln!(
        out,
        "  {:<8}{} each; most from {}: {:.2} at once",
        "",
        duration(width * 1_000_000),
        slot_start(from, width, peak),
        most as f64 / 1e6 / width as f64
    );
}

fn table(out: &mut String, profile: &Profile) {
    let what = named(profile.group_by);
    let digest = if profile.group_by == GroupBy::Digest { "digest    " } else { "" };
    let _ = writeln!(
        out,
        "\n{:>4}  {digest}{:>6} {:>9} {:>7} {:>7} {:>7}  {what}",
        "rank", "share", "calls", "p50", "p95", "p99"
    );
    for group in &profile.groups {
        let id = group.digest.as_ref().map_or(String::new(), |class| format!("{:.8}  ", class.digest_id.to_string()));
        let row = figures(&group.rank.to_string(), &id, group.share_of_time, &group.measures);
        let room = COLUMNS - row.chars().count();
        let _ = writeln!(out, "{row}{}", fitted(&title(group, profile.group_by), room));
    }
    if let Some(other) = &profile.other {
        let blank = if digest.is_empty() { "" } else { "          " };
        let row = figures("", blank, other.share_of_time, &other.measures);
        let _ = writeln!(out, "{row}{} other", count(other.groups));
        folded(out, other);
    }
}

/// What a group is called.
fn named(by: GroupBy) -> &'static str {
    match by {
        GroupBy::Digest => "statement",
        GroupBy::Table => "table",
        GroupBy::User => "user",
        GroupBy::Host => "host",
        GroupBy::Schema => "schema",
    }
}

fn figures(rank: &str, id: &str, share: f64, measures: &Measures) -> String {
    format!(
        "{rank:>4}  {id}{:>6} {:>9} {:>7} {:>7} {:>7}  ",
        percent(share),
        short(measures.calls),
        duration(measures.p50_us),
        duration(measures.p95_us),
        duration(measures.p99_us)
    )
}

fn folded(out: &mut String, other: &Other) {
    if other.folded > 0 {
        let least = if other.groups_at_least { "at least " } else { "" };
        let _ = writeln!(
            out,
            "      Of the others, {least}{} weighed least and were folded to bound memory; their sum\n      is exact.",
            count(other.folded)
        );
    }
}

/// What a group is, in short.
pub(super) fn title(group: &Group, by: GroupBy) -> String {
    let name = match (&group.digest, by) {
        (Some(class), _) if class.tables.is_empty() => class.digest_text.clone(),
        (Some(class), _) => format!("{} {}", class.kind, class.tables.join(", ")),
        (None, GroupBy::Table) if group.key.is_empty() => "(no table)".to_owned(),
        (None, _) if group.key.is_empty() => "(none)".to_owned(),
        (None, _) => group.key.clone(),
    };
    harmless(name.trim_end())
}

fn section(out: &mut String, profile: &Profile, group: &Group) {
    let share = format!(" {} of the time", percent(group.share_of_time));
    let start = format!("#{} ", group.rank);
    let room = COLUMNS - start.chars().count() - share.chars().count() - 1;
    let title = fitted(&title(group, profile.group_by), room);
    let gap = room.saturating_sub(width(&title));
    let _ = writeln!(out, "\n{start}{title} {}{share}", "─".repeat(gap));
    if let Some(class) = &group.digest {
        field(out, "digest", &class.digest_id.to_string());
    }
    field(out, "pt id", group.pt_id.as_deref().unwrap_or_default());
    let all = &group.measures;
    let at_once = all.time_us as f64 / 1e6 / profile.seconds;
    let calls = format!("{}, {}", some(all.calls, "call"), rate(group.calls_per_second));
    field(out, "time", &format!("{} in {calls}, {at_once:.2} at once on average", duration(all.time_us)));
    field(out, "latency", &latency(all));
    shape(out, group);
    field(out, "rows", &rows(all));
    field(out, "other", &others(all));
    if let (Some(first), Some(last)) = (&all.first_seen, &all.last_seen) {
        field(out, "seen", &span(first, last));
    }
    let calls = all.calls;
    field(out, "users", &names(&group.users, calls));
    field(out, "hosts", &names(&group.hosts, calls));
    field(out, "schemas", &names(&group.schemas, calls));
    if let Some(class) = &group.digest {
        field(out, "tables", &class.tables.join(", "));
    }
    field(out, "flags", &names(&group.flags, calls));
    field(out, "error codes", &names(&group.error_codes, calls));
    if all.sample_factor > 1 {
        let entries = count(all.entries);
        field(out, "sampled", &format!("{entries} entries, each for up to {} calls", count(all.sample_factor)));
    }
    if group.partial {
        field(out, "partly", "its earlier statements are among the others: it was folded and came back");
    }
    match &group.sample {
        Some(found) => sample(out, profile, found),
        None => field(out, "text", group.digest.as_ref().map_or("", |class| &class.digest_text)),
    }
}

/// A label and what is said; nothing where there is nothing to say.
fn field(out: &mut String, label: &str, text: &str) {
    for (at, line) in wrapped(text, COLUMNS - INDENT).iter().enumerate() {
        let label = if at == 0 { label } else { "" };
        let _ = writeln!(out, "  {label:<width$}{line}", width = INDENT - 2);
    }
}

/// How the durations are spread.
fn shape(out: &mut String, group: &Group) {
    let (Some(first), Some(last)) = (group.latency.first(), group.latency.last()) else { return };
    if group.latency.len() < 2 {
        return;
    }
    let mut calls = Vec::new();
    let (mut step, mut buckets) = (first.up_to_us, group.latency.iter().peekable());
    while step <= last.up_to_us {
        calls.push(buckets.next_if(|bucket| bucket.up_to_us == step).map_or(0, |bucket| bucket.calls));
        step = next_step(step);
    }
    field(out, "", &format!("{} {} {}", duration(first.up_to_us), spark(&calls), duration(last.up_to_us)));
}

/// 1, 2, 5, 10, 20 and so on.
pub(super) fn next_step(step: u64) -> u64 {
    let leads_with_two = step.to_string().starts_with('2');
    if leads_with_two { step.saturating_mul(5) / 2 } else { step.saturating_mul(2) }
}

pub(super) fn names(names: &Names, calls: u64) -> String {
    let share = |part: u64| if calls == 0 { 0.0 } else { part as f64 / calls as f64 };
    let part = |part: u64| if part == calls { String::new() } else { format!(" {}", percent(share(part))) };
    let mut told: Vec<String> =
        names.named.iter().take(NAMES).map(|one| format!("{}{}", harmless(&one.name), part(one.calls))).collect();
    let rest: u64 = names.named.iter().skip(NAMES).map(|one| one.calls).sum::<u64>() + names.more_calls;
    if rest > 0 {
        told.push(format!("others{}", part(rest)));
    }
    told.join(", ")
}

/// How long a sample took, and where it is.
pub(super) fn place_of(profile: &Profile, sample: &Sample) -> String {
    let mut place = match (&sample.ts, sample.query_time_us) {
        (Some(ts), Some(us)) => format!("{} at {}", duration(us), stamp(ts)),
        _ => "the first of it".to_owned(),
    };
    if let Some(offset) = sample.offset {
        let _ = write!(place, ", offset {offset}");
    }
    if profile.inputs.len() > 1 {
        let file = profile.inputs.get(sample.input as usize).map_or("", |input| input.file.as_str());
        let _ = write!(place, " of {}", harmless(file));
    }
    place
}

fn sample(out: &mut String, profile: &Profile, sample: &Sample) {
    field(out, "sample", &place_of(profile, sample));
    let lines = wrapped(&sample.sql, COLUMNS - 4);
    for line in lines.iter().take(SAMPLE_LINES) {
        let _ = writeln!(out, "{}", format!("    {line}").trim_end());
    }
    if sample.cut || lines.len() > SAMPLE_LINES {
        let _ = writeln!(out, "    … ({} bytes in all)", count(sample.bytes));
    }
}
