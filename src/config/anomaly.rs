//! `[anomalies]`: how readily something is unusual, and who hears of it. In: a section. Out: settings, or every problem with its line.

use std::ops::RangeInclusive;
use std::time::Duration;

use millrace_processors::anomalies::Settings;
use millrace_processors::anomaly::Sensitivity;

use super::read::{Problems, Section};

/// 100 s are ten windows, of which fewer tell no noise from a change; in a day every series is known.
const LEARNS: RangeInclusive<Duration> = Duration::from_secs(100)..=Duration::from_hours(24);
/// Nothing, to a day: the cache of a large server is cold for hours.
const QUIET: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24);

pub(super) fn read(mut section: Section<'_, '_>, problems: &mut Problems<'_>) -> Settings {
    let usual = Settings::default();
    let off = section.flag("off", problems).map_or(usual.off, |(off, _)| off);
    let range = u32::from(Sensitivity::LEAST)..=u32::from(Sensitivity::MOST);
    let level = section.number("sensitivity", range, problems).and_then(|level| u8::try_from(level).ok());
    let learns = section.duration_in("learns", LEARNS, problems).unwrap_or(usual.learns);
    let quiet = section.duration_in("quiet", QUIET, problems).unwrap_or(usual.quiet);
    let notify_errors = section.flag("notify-errors", problems).map_or(usual.notify_errors, |(notify, _)| notify);
    let share = section.float("notify-share", problems);
    if let Some((share, at)) = share
        && !(0.02..=1.0).contains(&share)
    {
        problems.note(at, format!("anomalies.notify-share: {share} is no share of the load from 0.02 to 1"));
    }
    let summary = section.flag("summary", problems).is_none_or(|(summary, _)| summary);
    let summary_at = section.optional("summary-at", problems, str::parse).or(usual.summary_at).filter(|_| summary);
    section.finish(problems);
    let sensitivity = level.and_then(Sensitivity::new).unwrap_or(usual.sensitivity);
    let notify_share = share.map(|(share, _)| share as f32);
    Settings { off, sensitivity, learns, quiet, notify_errors, notify_share, summary_at }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn parsed(section: &str) -> Result<Settings, Vec<String>> {
        let text = format!("[bus]\nfile = \"bus.db\"\n[anomalies]\n{section}");
        let read = parse(&text).map(|settings| settings.anomalies);
        read.map_err(|problems| problems.into_iter().map(|one| format!("{}: {}", one.line, one.what)).collect())
    }

    #[test]
    fn a_section_is_read_and_what_is_wrong_is_told_with_its_line() {
        let text = "sensitivity = 7\nlearns = \"30m\"\nquiet = \"1h\"\nnotify-errors = true\nnotify-share = 0.5\nsummary-at = \"16:30\"\n";
        let expected = Settings {
            off: false,
            sensitivity: Sensitivity::new(7).expect("one of nine"),
            learns: Duration::from_mins(30),
            quiet: Duration::from_hours(1),
            notify_errors: true,
            notify_share: Some(0.5),
            summary_at: Some("16:30".parse().expect("a time of day")),
        };
        assert_eq!(parsed(text), Ok(expected));
        assert_eq!(parsed(""), Ok(Settings::default()));
        assert!(parsed("off = true\n").is_ok_and(|settings| settings.off));
        assert!(parsed("summary = false\n").is_ok_and(|settings| settings.summary_at.is_none()));
        let wrong =
            parsed("sensitivity = 10\nlearns = \"5s\"\nnotify-share = 3\nsummary-at = \"7am\"\nsensitivty = 1\n")
                .expect_err("wrong");
        assert_eq!(wrong.len(), 5, "{wrong:#?}");
        for (problem, part) in wrong.iter().zip(["4: ", "5: ", "6: anomalies.notify-share: 3", "7: ", "8: "]) {
            assert!(problem.starts_with(part), "{problem} does not start with {part}");
        }
    }
}
