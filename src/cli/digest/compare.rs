//! `--compare BASE.json`: an earlier profile enters; what is slower, new, gone or faster is said.

use std::fmt::Write as _;
use std::path::Path;

use millrace_processors::profile::compare;
use millrace_schemas::profile::{Change, ChangeKind, Comparison, GroupBy, Measured, Profile, SCHEMA_VERSION};

use super::figures::{count, duration, fitted, harmless, short, some, three, width, wrapped};
use crate::cli::End;

/// What changed from the profile in `file` to `now`, which must list all its groups.
pub(super) fn with(base: &Profile, file: &Path, now: &Profile, threshold_percent: f64) -> Comparison {
    compare(base, &file.display().to_string(), now, threshold_percent)
}

/// Reads the earlier profile, which has to be grouped alike.
pub(super) fn base(file: &Path, group_by: GroupBy) -> anyhow::Result<Profile> {
    let wrong = |why: String| anyhow::Error::from(End::Usage(format!("{} is no base: {why}", file.display())));
    let bytes = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    let value: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|error| wrong(format!("it is no JSON: {error}")))?;
    let version = value["schema_version"].as_u64();
    if version != Some(u64::from(SCHEMA_VERSION)) {
        let found = version.map_or("no schema_version".to_owned(), |version| format!("schema_version {version}"));
        return Err(wrong(format!("it has {found}, this program reads {SCHEMA_VERSION}; make it with -o json")));
    }
    let base: Profile = serde_json::from_value(value).map_err(|error| wrong(format!("it is no profile: {error}")))?;
    if base.group_by != group_by {
        return Err(wrong(format!(
            "it is grouped by {:?}, not by {group_by:?}: give the same --group-by",
            base.group_by
        )));
    }
    Ok(base)
}

/// What a changed group is called.
pub(super) fn name(change: &Change) -> &str {
    change.digest.as_ref().map_or(&change.key, |class| &class.digest_text)
}

/// What there is to say in one sentence or two.
pub(super) fn summary(comparison: &Comparison) -> String {
    let of = |kind| comparison.changes.iter().filter(|change| change.kind == kind).count() as u64;
    let mut text = format!(
        "{} slower, {} new, {} gone, {} faster, {} the same. Slower or faster: the median changed by more than {} % and by \
         more than chance explains.",
        count(of(ChangeKind::Slower)),
        count(of(ChangeKind::New)),
        count(of(ChangeKind::Gone)),
        count(of(ChangeKind::Faster)),
        count(comparison.same),
        comparison.threshold_percent
    );
    if comparison.too_few > 0 {
        let _ = write!(text, " Too few calls to tell: {}.", some(comparison.too_few, "group"));
    }
    if comparison.unknown > 0 {
        let _ = write!(
            text,
            " {} may be among the others of the other profile: make the base with --limit all.",
            some(comparison.unknown, "group")
        );
    }
    text
}

/// The changes as text of `columns`.
pub(super) fn text(comparison: &Comparison, columns: usize) -> String {
    let mut out = format!("\ncompared with {}\n", fitted(&harmless(&comparison.base), columns - 14));
    for line in wrapped(&summary(comparison), columns - 2) {
        let _ = writeln!(out, "  {line}");
    }
    if comparison.changes.is_empty() {
        return out;
    }
    let _ = writeln!(out, "\n{:<7}{:>8} {:>8} {:>7} {:>9} {:>9}  group", "", "p50", "now", "ratio", "calls", "now");
    for change in &comparison.changes {
        let word = match change.kind {
            ChangeKind::Slower => "slower",
            ChangeKind::New => "new",
            ChangeKind::Gone => "gone",
            ChangeKind::Faster => "faster",
        };
        let (before, now) = (change.base.as_ref(), change.now.as_ref());
        let row = format!(
            "{word:<7}{:>8} {:>8} {:>7} {:>9} {:>9}  ",
            told(before, |side| duration(side.p50_us)),
            told(now, |side| duration(side.p50_us)),
            change.ratio.map_or_else(String::new, three),
            told(before, |side| short(side.calls)),
            told(now, |side| short(side.calls))
        );
        let room = columns.saturating_sub(width(&row));
        let _ = writeln!(out, "{}", format!("{row}{}", fitted(&harmless(name(change)), room)).trim_end());
    }
    out
}

fn told(side: Option<&Measured>, what: impl Fn(&Measured) -> String) -> String {
    side.map_or_else(String::new, what)
}
