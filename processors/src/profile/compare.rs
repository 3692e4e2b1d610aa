//! Two profiles in, what changed between them out. A digest is called slower or faster by its median: between halves of one run of
//! a steady load, on real servers beside other work, the medians of 114 digests differed by 13 % at most, but for one `BEGIN` that
//! grew from 14 to 18 us; averages and 95th percentiles by a factor of 2.5 and 3. A difference must be large, and beyond what
//! chance explains.

use std::collections::BTreeMap;

use millrace_schemas::profile::{Change, ChangeKind, Comparison, Group, Measured, Measures, Profile};

use super::sums::rounded;

/// 25 % by default: twice what medians of an unchanged load differed by, see above; what people notice begins far above.
pub const THRESHOLD_PERCENT: f64 = 25.0;
/// 10 us: nobody waits for less, and a busy machine adds it.
const DIFFERENCE_MIN_US: u64 = 10;
/// 10 calls on both sides: the bounds of the median of fewer are the shortest and the longest call.
const CALLS_MIN: u64 = 10;

/// What changed from `base` to `now`; `now` must list all its groups.
pub fn compare(base: &Profile, base_name: &str, now: &Profile, threshold_percent: f64) -> Comparison {
    let before: BTreeMap<&str, &Group> = base.groups.iter().map(|group| (group.key.as_str(), group)).collect();
    let after: BTreeMap<&str, &Group> = now.groups.iter().map(|group| (group.key.as_str(), group)).collect();
    let unlisted = base.other.as_ref().is_some_and(|other| other.groups > 0);
    let mut told = Comparison {
        base: base_name.to_owned(),
        threshold_percent,
        base_seconds: base.seconds,
        base_calls: base.overall.calls,
        base_time_us: base.overall.time_us,
        ..Comparison::default()
    };
    for group in &now.groups {
        let old = before.get(group.key.as_str()).copied();
        match old.map(|old| (old, verdict(old, group, threshold_percent))) {
            // The base may hold it among those that it does not list.
            None if unlisted => told.unknown += 1,
            None => told.changes.push(change(ChangeKind::New, None, Some(group))),
            Some((old, Verdict::Slower)) => told.changes.push(change(ChangeKind::Slower, Some(old), Some(group))),
            Some((old, Verdict::Faster)) => told.changes.push(change(ChangeKind::Faster, Some(old), Some(group))),
            Some((_, Verdict::Same)) => told.same += 1,
            Some((_, Verdict::TooFew)) => told.too_few += 1,
        }
    }
    let folded = now.other.as_ref().is_some_and(|other| other.groups > 0);
    for group in base.groups.iter().filter(|group| !after.contains_key(group.key.as_str())) {
        if folded {
            told.unknown += 1;
        } else {
            told.changes.push(change(ChangeKind::Gone, Some(group), None));
        }
    }
    told.changes.sort_by_key(|change| (change.kind, std::cmp::Reverse(weight(change)), change.key.clone()));
    told.regressions = told.changes.iter().filter(|change| change.kind == ChangeKind::Slower).count() as u64;
    told
}

enum Verdict {
    Slower,
    Faster,
    Same,
    TooFew,
}

fn verdict(old: &Group, new: &Group, threshold_percent: f64) -> Verdict {
    let (old, new) = (&old.measures, &new.measures);
    if old.entries < CALLS_MIN || new.entries < CALLS_MIN {
        return Verdict::TooFew;
    }
    let factor = 1.0 + threshold_percent / 100.0;
    let sure = |less: &Measures, more: &Measures| {
        let large = more.p50_us as f64 > less.p50_us as f64 * factor && more.p50_us - less.p50_us >= DIFFERENCE_MIN_US;
        large && more.p50_low_us > less.p50_high_us
    };
    match (sure(old, new), sure(new, old)) {
        (true, _) => Verdict::Slower,
        (_, true) => Verdict::Faster,
        _ => Verdict::Same,
    }
}

fn change(kind: ChangeKind, base: Option<&Group>, now: Option<&Group>) -> Change {
    let group = now.or(base);
    let ratio = base.zip(now).filter(|(base, _)| base.measures.p50_us > 0);
    Change {
        kind,
        key: group.map_or_else(String::new, |group| group.key.clone()),
        digest: group.and_then(|group| group.digest.clone()),
        ratio: ratio.map(|(base, now)| rounded(now.measures.p50_us as f64 / base.measures.p50_us as f64)),
        base: base.map(measured),
        now: now.map(measured),
    }
}

fn measured(group: &Group) -> Measured {
    let measures = &group.measures;
    Measured {
        calls: measures.calls,
        time_us: measures.time_us,
        mean_us: measures.mean_us,
        p50_us: measures.p50_us,
        p95_us: measures.p95_us,
    }
}

/// How much time the change is about.
fn weight(change: &Change) -> u64 {
    let time = |side: &Option<Measured>| side.as_ref().map_or(0, |side| side.time_us);
    time(&change.base).abs_diff(time(&change.now)).max(match change.kind {
        ChangeKind::Slower | ChangeKind::Faster => 0,
        ChangeKind::New | ChangeKind::Gone => time(&change.base).max(time(&change.now)),
    })
}

#[cfg(test)]
mod tests {
    use millrace_schemas::profile::Other;

    use super::*;

    /// A group whose median is known to within `around`.
    fn group(key: &str, calls: u64, p50_us: u64, around: u64) -> Group {
        let measures = Measures {
            calls,
            entries: calls,
            p50_us,
            p50_low_us: p50_us - around,
            p50_high_us: p50_us + around,
            time_us: calls * p50_us,
            ..Measures::default()
        };
        Group { key: key.to_owned(), measures, ..Group::default() }
    }

    fn of(groups: Vec<Group>) -> Profile {
        Profile { groups, ..Profile::default() }
    }

    fn kinds(base: Vec<Group>, now: Vec<Group>) -> Vec<(ChangeKind, String)> {
        let told = compare(&of(base), "base", &of(now), THRESHOLD_PERCENT);
        told.changes.into_iter().map(|change| (change.kind, change.key)).collect()
    }

    #[test]
    fn changes_are_named_and_ordered() {
        let base =
            vec![group("a", 100, 100, 10), group("b", 100, 100, 10), group("gone", 1, 5, 0), group("c", 99, 100, 9)];
        let now = vec![group("a", 100, 130, 10), group("b", 50, 60, 10), group("new", 1, 5, 0), group("c", 99, 120, 9)];
        let told = compare(&of(base), "base", &of(now), THRESHOLD_PERCENT);
        let found: Vec<_> =
            told.changes.iter().map(|change| (change.kind, change.key.as_str(), change.ratio)).collect();
        let expected = [
            (ChangeKind::Slower, "a", Some(1.3)),
            (ChangeKind::New, "new", None),
            (ChangeKind::Gone, "gone", None),
            (ChangeKind::Faster, "b", Some(0.6)),
        ];
        assert_eq!(found, expected);
        assert_eq!((told.regressions, told.same, told.too_few, told.unknown), (1, 1, 0, 0));
    }

    #[test]
    fn chance_is_no_change() {
        // Twice as slow, but known so badly that it says nothing.
        assert_eq!(kinds(vec![group("a", 20, 100, 50)], vec![group("a", 20, 200, 60)]), []);
        let slower = vec![(ChangeKind::Slower, "a".to_owned())];
        assert_eq!(kinds(vec![group("a", 2_000, 100, 5)], vec![group("a", 2_000, 200, 6)]), slower);
        // Too few to tell, and too short to matter.
        assert_eq!(kinds(vec![group("a", 100, 14, 0)], vec![group("a", 100, 18, 0)]), []);
        assert_eq!(kinds(vec![group("a", 9, 100, 0)], vec![group("a", 100, 500, 0)]), []);
    }

    #[test]
    fn what_a_base_does_not_list_is_not_called_new() {
        let other = Some(Other { groups: 3, ..Other::default() });
        let base = Profile { other, ..of(vec![group("a", 100, 100, 0)]) };
        let told = compare(&base, "base", &of(vec![group("b", 100, 100, 0)]), THRESHOLD_PERCENT);
        assert_eq!((told.unknown, told.changes.len(), told.changes[0].kind), (1, 1, ChangeKind::Gone));
    }
}
