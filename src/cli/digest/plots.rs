//! Plots of a profile as SVG: shapes and text, no script. Everything that a picture shows is in its titles too, for who points at
//! it or hears it.

use maud::{Markup, html};
use millrace_schemas::profile::{Group, GroupBy, LatencyBucket, Load, Profile};
use millrace_schemas::time::Timestamp;

use super::figures::{count, duration, percent, slot_start, three};
use super::text::{next_step, title};

/// 6 groups have a colour of their own; the rest shares one: more are not told apart.
pub(super) const COLOURS: usize = 6;
/// Width and height of the plot of all load, in its own units, and what its labels take on the left and below.
const WIDE: f64 = 960.0;
const HIGH: f64 = 210.0;
const LEFT: f64 = 46.0;
const BELOW: f64 = 22.0;

/// How many statements ran at once, over the clock, by the groups that matter most.
pub(super) fn load(profile: &Profile) -> Markup {
    let all = &profile.load;
    let Some(from) = all.from.as_deref() else { return html! {} };
    let slots = all.time_us.len();
    let at_once = |us: u64| us as f64 / 1e6 / all.slot_seconds as f64;
    let top = nice(all.time_us.iter().copied().map(at_once).fold(0.0, f64::max));
    let step = (WIDE - LEFT) / slots as f64;
    let y = |value: f64| 6.0 + (HIGH - BELOW - 6.0) * (1.0 - value / top);
    let series = stacked(profile);
    html! {
        svg.plot viewBox=(format!("0 0 {WIDE} {HIGH}")) role="img" aria-label="Statements at once over time" {
            @for line in 0..=4 {
                @let value = top * f64::from(line) / 4.0;
                line.grid x1=(LEFT) x2=(WIDE) y1=(y(value)) y2=(y(value)) {}
                text.tick x=(LEFT - 6.0) y=(y(value) + 4.0) text-anchor="end" { (axis(value)) }
            }
            @for slot in 0..slots {
                @let x = LEFT + step * slot as f64;
                g {
                    title {
                        (slot_start(from, all.slot_seconds, slot)) ": " (three(at_once(all.time_us[slot]))) " at once, "
                        (count(all.calls[slot])) " calls in " (seconds(all.slot_seconds))
                    }
                    @for (colour, below, above) in segments(&series, slot) {
                        rect class=(format!("s{colour}")) x=(round(x)) width=(round((step - gap(step)).max(0.5)))
                            y=(round(y(at_once(above)))) height=(round(y(at_once(below)) - y(at_once(above)))) {}
                    }
                }
            }
            @for slot in ticks(slots) {
                text.tick x=(round(LEFT + step * slot as f64)) y=(HIGH - 6.0) { (clock(all, from, slot)) }
            }
        }
    }
}

/// Thin bars touch: a gap would be all that is seen.
fn gap(step: f64) -> f64 {
    if step > 4.0 { 1.0 } else { 0.0 }
}

/// Time by slot: of the first groups, and of all. Groups that overlap (tables) are not stacked.
fn stacked(profile: &Profile) -> (Vec<Vec<u64>>, Vec<u64>) {
    let all = profile.load.time_us.clone();
    if profile.group_by == GroupBy::Table {
        return (Vec::new(), all);
    }
    let of = |group: &Group| {
        let mut slots = vec![0; all.len()];
        let shift = shift(&profile.load, &group.load);
        for (slot, us) in group.load.time_us.iter().enumerate() {
            if let Some(place) = slots.get_mut(slot + shift) {
                *place = *us;
            }
        }
        slots
    };
    (profile.groups.iter().take(COLOURS).map(of).collect(), all)
}

/// How many slots later a series begins.
fn shift(all: &Load, part: &Load) -> usize {
    let second = |load: &Load| load.from.as_ref().and_then(|from| from.parse::<Timestamp>().ok()).unwrap_or_default().0;
    usize::try_from((second(part) - second(all)) / 1_000_000 / all.slot_seconds.max(1) as i64).unwrap_or(0)
}

/// The pieces of one bar: colour, lower and upper end. The first group stands at the bottom.
fn segments((parts, all): &(Vec<Vec<u64>>, Vec<u64>), slot: usize) -> Vec<(usize, u64, u64)> {
    let mut pieces = Vec::new();
    let mut height = 0_u64;
    for (colour, part) in (1..).zip(parts) {
        let above = height.saturating_add(part[slot]).min(all[slot].max(height));
        pieces.push((colour, height, above));
        height = above;
    }
    pieces.push((0, height, all[slot].max(height)));
    pieces.retain(|(_, below, above)| above > below);
    pieces
}

/// The shares of all time as one bar, with what each colour stands for.
pub(super) fn share(profile: &Profile) -> Markup {
    if profile.group_by == GroupBy::Table {
        return html! {};
    }
    let named: Vec<(usize, f64, String)> = (1..)
        .zip(profile.groups.iter().take(COLOURS))
        .map(|(colour, group)| (colour, group.share_of_time, title(group, profile.group_by)))
        .collect();
    let rest = (1.0 - named.iter().map(|(_, share, _)| share).sum::<f64>()).max(0.0);
    let parts = named.into_iter().chain((rest > 0.000_5).then(|| (0, rest, "all others".to_owned())));
    let mut right = 0.0;
    let parts: Vec<_> = parts
        .map(|(colour, share, name)| {
            right += share * 1000.0;
            (colour, share, name, right - share * 1000.0)
        })
        .collect();
    html! {
        svg.share viewBox="0 0 1000 18" preserveAspectRatio="none" role="img" aria-label="Shares of the time" {
            @for (colour, share, name, left) in &parts {
                rect class=(format!("s{colour}")) x=(round(*left)) y="0" height="18" width=(round(share * 1000.0)) {
                    title { (name) ": " (percent(*share)) }
                }
            }
        }
        ul.legend {
            @for (colour, share, name, _) in &parts {
                li {
                    svg.dot viewBox="0 0 10 10" aria-hidden="true" { rect class=(format!("s{colour}")) width="10" height="10" rx="2" {} }
                    @if *colour > 0 { a href=(format!("#g{colour}")) { (name) } } @else { (name) }
                    " " span.soft { (percent(*share)) }
                }
            }
        }
    }
}

/// How many calls of a group took how long.
pub(super) fn latency(group: &Group) -> Markup {
    let buckets = filled(&group.latency);
    let most = buckets.iter().map(|bucket| bucket.calls).max().unwrap_or(0);
    if most == 0 {
        return html! {};
    }
    let calls = group.measures.calls.max(1);
    // 8 steps at least, so that a bar does not fill the plot.
    let step = 470.0 / buckets.len().max(8) as f64;
    // The scale is logarithmic: a single slow call among thousands must be seen.
    let height = |n: u64| if n == 0 { 0.0 } else { 8.0 + 92.0 * (n as f64).ln() / (most.max(2) as f64).ln() };
    html! {
        svg.plot viewBox="0 0 480 134" role="img" aria-label="Calls by duration" {
            line.grid x1="0" x2="480" y1="112" y2="112" {}
            @for (at, bucket) in buckets.iter().enumerate() {
                @let x = 2.0 + step * at as f64;
                g {
                    title { "up to " (duration(bucket.up_to_us)) ": " (count(bucket.calls)) " calls, " (percent(bucket.calls as f64 / calls as f64)) }
                    rect.hit x=(round(x)) width=(round(step)) y="0" height="112" {}
                    rect.s1 x=(round(x)) width=(round((step - 2.0).max(1.0))) y=(round(112.0 - height(bucket.calls)))
                        height=(round(height(bucket.calls))) rx="1" {}
                }
                @if at % label_every(step) == 0 {
                    text.tick x=(round(x + step / 2.0)) y="128" text-anchor="middle" { (brief(bucket.up_to_us)) }
                }
            }
        }
    }
}

/// 44 units hold a label.
fn label_every(step: f64) -> usize {
    ((44.0 / step).ceil() as usize).max(1)
}

/// All steps from the first to the last, also those without calls.
fn filled(buckets: &[LatencyBucket]) -> Vec<LatencyBucket> {
    let (Some(first), Some(last)) = (buckets.first(), buckets.last()) else { return Vec::new() };
    let mut filled = Vec::new();
    let mut known = buckets.iter().peekable();
    let mut up_to_us = first.up_to_us;
    while up_to_us <= last.up_to_us {
        let here = known.next_if(|bucket| bucket.up_to_us == up_to_us).copied();
        filled.push(here.unwrap_or(LatencyBucket { up_to_us, calls: 0 }));
        if up_to_us == u64::MAX {
            break;
        }
        up_to_us = next_step(up_to_us);
    }
    filled
}

/// A round duration without its noughts.
fn brief(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{} ms", us / 1_000),
        _ => format!("{} s", us / 1_000_000),
    }
}

/// When a group ran: its own load below that of all.
pub(super) fn own_load(profile: &Profile, group: &Group) -> Markup {
    let all = profile.load.time_us.len();
    let Some(from) = profile.load.from.as_deref().filter(|_| all > 1) else { return html! {} };
    let most = group.load.time_us.iter().copied().max().unwrap_or(0).max(1);
    let step = 480.0 / all as f64;
    let first = shift(&profile.load, &group.load);
    let seconds = profile.load.slot_seconds;
    let peak = most as f64 / 1e6 / seconds as f64;
    html! {
        svg.plot viewBox="0 0 480 134" role="img" aria-label="Its load over time" {
            line.grid x1="0" x2="480" y1="112" y2="112" {}
            @for (slot, (us, calls)) in group.load.time_us.iter().zip(&group.load.calls).enumerate() {
                @let height = 100.0 * *us as f64 / most as f64;
                @if *calls > 0 {
                    rect.s1 x=(round(step * (slot + first) as f64)) width=(round((step - gap(step)).max(0.5))) y=(round(112.0 - height.max(1.0)))
                        height=(round(height.max(1.0))) {
                        title { (slot_start(from, seconds, slot + first)) ": " (duration(*us)) " in " (count(*calls)) " calls" }
                    }
                }
            }
            text.tick x="0" y="128" { (clock(&profile.load, from, 0)) }
            text.tick x="480" y="128" text-anchor="end" { "highest " (three(peak)) " at once" }
        }
    }
}

/// The least of 1, 2, 5 times a power of ten that is not below `value`.
fn nice(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let tens = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * tens).find(|step| *step >= value).unwrap_or(value)
}

/// A value of an axis.
fn axis(value: f64) -> String {
    let text = format!("{value:.3}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// At most six slots that get a label.
fn ticks(slots: usize) -> impl Iterator<Item = usize> {
    (0..slots).step_by(slots.div_ceil(6).max(1))
}

/// When a slot begins: the clock, with the day where slots are hours.
fn clock(load: &Load, from: &str, slot: usize) -> String {
    let stamp = slot_start(from, load.slot_seconds, slot);
    let days = load.slot_seconds.saturating_mul(load.time_us.len() as u64) > 86_400;
    match stamp.split_once(' ') {
        Some((day, clock)) if days => format!("{} {}", &day[5.min(day.len())..], &clock[..5.min(clock.len())]),
        Some((_, clock)) => clock.to_owned(),
        None => stamp,
    }
}

/// A span of whole seconds.
fn seconds(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{:.0} min", seconds as f64 / 60.0),
        _ => format!("{:.1} h", seconds as f64 / 3_600.0),
    }
}

/// Tenths of a unit are finer than a screen.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
