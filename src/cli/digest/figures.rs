//! Figures as people read them: three digits and a unit, thousands parted, plots of one line. Whatever comes from a log is made
//! harmless before it is printed: it may hold what moves a terminal's cursor.

use millrace_schemas::time::Timestamp;

/// A duration in microseconds.
pub(super) fn duration(us: u64) -> String {
    let value = us as f64;
    match us {
        0..1_000 => format!("{us} us"),
        1_000..999_500 => format!("{} ms", three(value / 1e3)),
        999_500..999_500_000 => format!("{} s", three(value / 1e6)),
        _ if us < 5_999_500_000 => format!("{:.0} s", value / 1e6),
        _ if us < 359_970_000_000 => format!("{:.1} h", value / 3.6e9),
        _ => format!("{:.0} h", value / 3.6e9),
    }
}

/// A number with three digits.
pub(super) fn three(value: f64) -> String {
    match value {
        value if value >= 99.95 => count(value.round() as u64),
        value if value >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A count; above a thousand million in short.
pub(super) fn count(value: u64) -> String {
    match value {
        0..1_000_000_000 => thousands(value),
        1_000_000_000..1_000_000_000_000 => format!("{:.2} G", value as f64 / 1e9),
        _ => format!("{} T", three(value as f64 / 1e12)),
    }
}

/// A count that fits nine columns.
pub(super) fn short(value: u64) -> String {
    if value < 10_000_000 { count(value) } else { format!("{} M", three(value as f64 / 1e6)) }
}

/// So many things, by their name.
pub(super) fn some(n: u64, thing: &str) -> String {
    format!("{} {thing}{}", count(n), if n == 1 { "" } else { "s" })
}

fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Calls per second.
pub(super) fn rate(per_second: f64) -> String {
    format!("{}/s", three(per_second))
}

/// A part of a whole; what is there is never called nothing.
pub(super) fn percent(share: f64) -> String {
    match share * 100.0 {
        value if value > 0.0 && value < 0.05 => "<0.1%".to_owned(),
        value => format!("{value:.1}%"),
    }
}

/// A time without its microseconds, UTC.
pub(super) fn stamp(at: &str) -> String {
    at.get(..19).map_or_else(|| at.to_owned(), |second| second.replace('T', " "))
}

/// `from - to`, without what both have in common.
pub(super) fn span(from: &str, to: &str) -> String {
    let (from, to) = (stamp(from), stamp(to));
    match (from.split_once(' '), to.split_once(' ')) {
        (Some((day, _)), Some((other, clock))) if day == other && from != to => format!("{from} - {clock} UTC"),
        _ if from == to => format!("{from} UTC"),
        _ => format!("{from} - {to} UTC"),
    }
}

/// When the slot `at` of a series that begins at `from` begins.
pub(super) fn slot_start(from: &str, slot_seconds: u64, at: usize) -> String {
    let second = from.parse::<Timestamp>().unwrap_or_default().0 / 1_000_000;
    let second = second.saturating_add((slot_seconds as i64).saturating_mul(at as i64));
    stamp(&Timestamp(second.saturating_mul(1_000_000)).to_string())
}

/// A plot of one line: a character per value, the highest is full.
pub(super) fn spark(values: &[u64]) -> String {
    const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.iter().copied().max().unwrap_or(0);
    let step = |value: &u64| match value {
        0 => ' ',
        value => STEPS[(((*value as f64 / most as f64) * 8.0).ceil() as usize).clamp(1, 8) - 1],
    };
    values.iter().map(step).collect()
}

/// As many values as there is room for: neighbours are added up.
pub(super) fn squeezed(values: &[u64], room: usize) -> Vec<u64> {
    let each = values.len().div_ceil(room.max(1)).max(1);
    values.chunks(each).map(|part| part.iter().fold(0_u64, |sum, value| sum.saturating_add(*value))).collect()
}

/// What is safe to print: no control characters, no marks that turn the direction of a line.
pub(super) fn harmless(text: &str) -> String {
    let safe = |c: char| match c {
        '\n' | '\t' => ' ',
        c if c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
        {
            '\u{fffd}'
        }
        c => c,
    };
    text.chars().map(safe).collect()
}

/// How many columns a character takes: two for those of East Asia and for pictures.
fn columns(c: char) -> usize {
    match c {
        '\u{300}'..='\u{36f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

/// How many columns a text takes.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

/// The beginning of a text that fits `room` columns; a point at its end says that there is more.
pub(super) fn fitted(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let mut used = 1;
    let fits = |c: &char| {
        used += columns(*c);
        used <= room
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

/// A text in lines of at most `room` columns, parted at blanks where that is possible.
pub(super) fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut rest = harmless(line.trim_end());
        loop {
            let (mut used, mut end, mut blank) = (0, rest.len(), None);
            for (at, c) in rest.char_indices() {
                used += columns(c);
                if used > room {
                    end = at;
                    break;
                }
                if c == ' ' {
                    blank = Some(at + 1);
                }
            }
            if end == rest.len() {
                break;
            }
            let end = blank.filter(|blank| *blank > end / 2).unwrap_or(end);
            let tail = rest.split_off(end);
            lines.push(rest.trim_end().to_owned());
            rest = tail;
        }
        lines.push(rest);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        let check = |us, expected| assert_eq!(duration(us), expected);
        check(0, "0 us");
        check(999, "999 us");
        check(1_000, "1.00 ms");
        check(99_949, "99.9 ms");
        check(99_960, "100 ms");
        check(999_499, "999 ms");
        check(999_500, "1.00 s");
        check(59_000_000, "59.0 s");
        check(5_000_000_000, "5000 s");
        check(36_000_000_000, "10.0 h");
        check(u64::MAX, "5124095576 h");
        assert_eq!([count(0), count(999), count(1_000), count(12_345_678)], ["0", "999", "1,000", "12,345,678"]);
        assert_eq!([count(5_430_000_000), percent(0.000_1), percent(0.0)], ["5.43 G", "<0.1%", "0.0%"]);
    }

    #[test]
    fn spans_say_once_what_is_common() {
        let (from, to) = ("2026-11-21T09:01:47.011068Z", "2026-11-21T09:02:13.000000Z");
        assert_eq!(span(from, to), "2026-11-21 09:01:47 - 09:02:13 UTC");
        assert_eq!(span(from, from), "2026-11-21 09:01:47 UTC");
        assert_eq!(slot_start(from, 60, 2), "2026-11-21 09:03:47");
    }

    #[test]
    fn lines_fit_and_are_harmless() {
        assert_eq!(wrapped("select a, b from t\nwhere c", 10), ["select a,", "b from t", "where c"]);
        assert_eq!(wrapped("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrapped("漢字漢字", 4), ["漢字", "漢字"]);
        assert_eq!(harmless("a\u{1b}[2J\rb\u{202e}"), "a\u{fffd}[2J\u{fffd}b\u{fffd}");
        assert_eq!([fitted("abc", 3), fitted("abcd", 3), fitted("漢字", 3)], ["abc", "ab…", "漢…"]);
    }

    #[test]
    fn a_plot_has_a_character_a_value() {
        assert_eq!(spark(&[0, 1, 4, 8]), " ▁▄█");
        assert_eq!(squeezed(&[1, 2, 3, 4, 5], 2), [6, 9]);
        assert_eq!(squeezed(&[], 5), Vec::<u64>::new());
    }
}
