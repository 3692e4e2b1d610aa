//! The sentence of an anomaly: what changed, by how much, since when, and who asks for it. Numbers enter, and texts of digests, which
//! have no literals; a sentence leaves. It must never show a value that a statement carried.

use std::time::Duration;

use millrace_schemas::ids::DigestId;
use millrace_schemas::time::Timestamp;

use super::digest::Of;
use super::groups::About;
use super::instance::{Measured, WIDTH};
use super::signals::Signal;
use crate::rules::rule::Unit;
use crate::rules::summary::{cut, duration, number};

/// 80 characters of a statement: enough to know it by.
const TEXT: usize = 80;
/// Eight digits name a digest among a few thousand.
const DIGEST: usize = 8;

/// What is to be told.
#[derive(Clone, Debug)]
pub(super) struct Story<'a> {
    pub(super) of: Of,
    pub(super) factor: f32,
    pub(super) usual: f32,
    pub(super) now: f32,
    /// Of digests, of the response time of the instance; of a total, the part of the digest that has most of it.
    pub(super) share: f32,
    /// How many digests.
    pub(super) count: usize,
    pub(super) digest: Option<DigestId>,
    pub(super) user: &'a str,
    pub(super) text: Option<&'a str>,
}

/// The sentence. `of` is the name of the instance.
pub(super) fn say(about: &About, since: i64, story: &Story<'_>, of: &str) -> String {
    let since = clock(since);
    let times = number(f64::from(story.factor), Unit::Times);
    let subject = match about {
        About::Table(table) => format!("statements on {table} of {of}"),
        About::Digest(_) => format!("a statement of {of}"),
        _ => format!("statements of {of}"),
    };
    let one = matches!(about, About::Digest(_));
    let verb = |many: &str| if one { format!("{many}s") } else { many.to_owned() };
    let share = |part: f32| number(f64::from(part), Unit::Share);
    let each = |calls: f32| number(f64::from(calls) / WIDTH as f64, Unit::PerSecond("calls"));
    let (usual, now) = (story.usual, story.now);
    let what = match story.of {
        Of::Time => format!(
            "{subject} {} {times} as long since {since}: {} instead of {}",
            verb("take"),
            time(now),
            time(usual)
        ),
        Of::Tail => format!(
            "the slowest hundredth of {subject} takes {times} as long since {since}: {} instead of {}",
            time(now),
            time(usual)
        ),
        Of::Rows => format!(
            "{subject} {} {times} as many rows since {since}: {now:.0} a call instead of {usual:.0}",
            verb("read")
        ),
        Of::Errors => format!("{} of {subject} fail since {since}, usually {}", share(now), share(usual)),
        Of::Calls => format!(
            "{subject} {} {times} as often since {since}: {} instead of {}",
            verb("come"),
            each(now),
            each(usual)
        ),
    };
    cut(&format!("{what}; {}", who(about, story)))
}

/// The sentence of a number that is sampled.
pub(super) fn say_signal(signal: Signal, since: i64, factor: f32, (usual, now): (f32, f32), of: &str) -> String {
    let since = clock(since);
    let times = number(f64::from(factor), Unit::Times);
    let whole = |value: f32, unit: Unit| number(f64::from(value.round()), unit);
    let rate = |what: &'static str| {
        format!("{} instead of {}", whole(now, Unit::PerSecond(what)), whole(usual, Unit::PerSecond(what)))
    };
    let share = |percent: f32| number(f64::from(percent.round()) / 100.0, Unit::Share);
    cut(&match signal {
        Signal::Transactions => format!("{of} commits {times} as often since {since}: {}", rate("transactions")),
        Signal::Threads => format!("{now:.0} threads run on {of} since {since}, usually {usual:.0}"),
        Signal::Lag => {
            let delay = |seconds| whole(seconds, Unit::Seconds);
            format!("{of} is {} behind its source since {since}, usually {}", delay(now), delay(usual))
        }
        Signal::Processors => {
            let (now, usual) = (share(now), share(usual));
            format!("{now} of the processors of the host of {of} are busy since {since}, usually {usual}")
        }
        Signal::Files => format!("{of} reads and writes its files {times} as often since {since}: {}", rate("calls")),
        Signal::Connections => format!("{of} has {now:.0} connections since {since}, usually {usual:.0}"),
    })
}

/// The sentence of a statement that is new: its part of the load, and what a call of it takes.
pub(super) fn say_new(
    digest: DigestId,
    since: i64,
    (share, mean_us): (f32, f32),
    row: &Measured<'_>,
    of: (&str, Option<&str>),
) -> String {
    let (of, text) = of;
    let share = number(f64::from((share * 100.0).round() / 100.0), Unit::Share);
    let user = if row.user.is_empty() { String::new() } else { format!(" of user {}", row.user) };
    let text = text.map_or_else(String::new, |text| format!(": {}", shortened(text)));
    cut(&format!(
        "a statement that is new takes {share} of the load of {of} since {}, {} a call, {}; digest {}{user}{text}",
        clock(since),
        time(mean_us),
        number(row.sums.count as f64 / WIDTH as f64, Unit::PerSecond("calls")),
        short(digest)
    ))
}

/// Who has most of it.
fn who(about: &About, story: &Story<'_>) -> String {
    let share = number(f64::from((story.share * 100.0).round() / 100.0), Unit::Share);
    let part = match about {
        About::Errors => format!("{share} of them"),
        About::Queries => format!("{share} of all"),
        _ => format!("{share} of the load"),
    };
    let digest = story.digest.map_or_else(String::new, |digest| format!(", digest {}", short(digest)));
    let user = if story.user.is_empty() { String::new() } else { format!(" of user {}", story.user) };
    let others = match story.count {
        0 | 1 => String::new(),
        2 => " and another".to_owned(),
        more => format!(" and {} others", more - 1),
    };
    let text = story.text.map_or_else(String::new, |text| format!(": {}", shortened(text)));
    format!("{part}{digest}{user}{others}{text}")
}

/// The sentence of something that ended.
pub(super) fn over(summary: &str, lasted: i64, settled: bool) -> String {
    let lasted = duration(Duration::from_secs(u64::try_from(lasted).unwrap_or(0)));
    let how = if settled { "usual by now, after" } else { "over after" };
    cut(&format!("{how} {lasted}: {summary}"))
}

fn short(digest: DigestId) -> String {
    digest.to_string().chars().take(DIGEST).collect()
}

fn time(us: f32) -> String {
    if us < 1e6 { millis(us) } else { number(f64::from(us) / 1e6, Unit::Seconds) }
}

fn millis(us: f32) -> String {
    let ms = us / 1_000.0;
    let digits = if ms >= 100.0 {
        0
    } else if ms >= 10.0 {
        1
    } else {
        2
    };
    format!("{ms:.digits$} ms")
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(TEXT) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

/// The time of day, in UTC.
fn clock(second: i64) -> String {
    let text = Timestamp(second.saturating_mul(1_000_000)).to_string();
    let time = text.split_once('T').map_or(text.as_str(), |(_, time)| time);
    format!("{} UTC", time.get(..8).unwrap_or(time))
}

#[cfg(test)]
mod tests {
    use super::super::digest::Sums;
    use super::*;

    #[test]
    fn a_sentence_says_what_since_when_by_how_much_and_who() {
        let story = |of, usual, now| Story {
            of,
            factor: 2.1,
            usual,
            now,
            share: 0.314_2,
            count: 5,
            digest: Some(DigestId([0xab; 16])),
            user: "app",
            text: Some("SELECT * FROM orders WHERE customer = ?"),
        };
        let check = |about: About, story: &Story<'_>, expected: &str| {
            assert_eq!(say(&about, 1_700_000_000, story, "db1"), expected);
        };
        let table = || About::Table("orders".to_owned());
        check(
            table(),
            &story(Of::Time, 2_000.0, 4_200.0),
            "statements on orders of db1 take 2.1 times as long since 22:13:20 UTC: 4.20 ms instead of 2.00 ms; 31% of the load, \
             digest abababab of user app and 4 others: SELECT * FROM orders WHERE customer = ?",
        );
        let one = Story { count: 1, text: None, user: "", ..story(Of::Rows, 3.0, 90_000.0) };
        check(
            About::Digest(DigestId([0xab; 16])),
            &one,
            "a statement of db1 reads 2.1 times as many rows since 22:13:20 UTC: 90000 a call instead of 3; 31% of the load, digest abababab",
        );
        check(
            About::Errors,
            &Story { count: 1, text: None, ..story(Of::Errors, 0.001, 0.12) },
            "12% of statements of db1 fail since 22:13:20 UTC, usually 0.1%; 31% of them, digest abababab of user app",
        );
        check(
            About::Queries,
            &Story { count: 1, text: None, ..story(Of::Calls, 6_000.0, 12_600.0) },
            "statements of db1 come 2.1 times as often since 22:13:20 UTC: 1260 calls a second instead of 600 calls a second; 31% of \
             all, digest abababab of user app",
        );
        let signal = |signal, factor, usual, now| say_signal(signal, 1_700_000_000, factor, (usual, now), "db1");
        assert_eq!(
            signal(Signal::Transactions, 3.2, 100.2, 320.6),
            "db1 commits 3.2 times as often since 22:13:20 UTC: 321 transactions a second instead of 100 transactions a second"
        );
        assert_eq!(signal(Signal::Threads, 4.0, 9.6, 55.0), "55 threads run on db1 since 22:13:20 UTC, usually 10");
        assert_eq!(
            signal(Signal::Lag, 9.0, 0.0, 45.0),
            "db1 is 45 s behind its source since 22:13:20 UTC, usually 0 s"
        );
        let sums = Sums { count: 50, rt_sum_us: 60_000_000, ..Sums::default() };
        let row = Measured { digest: DigestId([0xab; 16]), user: "app", sums };
        assert_eq!(
            say_new(row.digest, 1_700_000_000, (0.314_2, 1_200_000.0), &row, ("db1", Some("SELECT 1"))),
            "a statement that is new takes 31% of the load of db1 since 22:13:20 UTC, 1.2 s a call, 5 calls a second; digest abababab \
             of user app: SELECT 1"
        );
        assert_eq!(over("it was so", 310, false), "over after 5 min: it was so");
        assert_eq!(over("it was so", 1_800, true), "usual by now, after 30 min: it was so");
    }
}
