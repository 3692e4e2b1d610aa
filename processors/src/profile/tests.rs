//! Sums against sums of another kind, limits, and what memory costs.

use proptest::prelude::*;

use millrace_schemas::digest::{PtId, Syntax};

use super::*;

/// A statement of `app` that took `us`.
pub(super) fn one(digest: DigestId, sql: &[u8], us: u64) -> Observed<'_> {
    Observed {
        ended: Timestamp(1_700_000_000_000_000),
        digest,
        user: "app",
        host: "10.0.0.1",
        schema: "shop",
        thread: Some(7),
        calls: 1,
        factor: 1,
        times: Times::One(us),
        lock_us: Some(2),
        rows_sent: 0,
        rows_examined: Some(1_000),
        rows_affected: Some(3),
        bytes_sent: Some(2_048),
        errors: Some(1),
        error_code: 1062,
        flags: &[],
        text: Text { sql, bytes: sql.len() as u64, masked: false, input: 0, offset: Some(17) },
    }
}

fn wish(limit: Limit) -> Wish {
    Wish { inputs: Vec::new(), filter: None, limit, show_literals: false, syntax: Syntax::default() }
}

fn taken(tally: &mut Tally, classes: &mut Classes, sql: &[u8], us: u64) {
    let id = classes.id_of(sql);
    tally.take(&one(id, sql, us), &mut || classes.of(id, sql));
}

#[test]
fn groups_are_ranked_and_the_rest_is_other() {
    let (mut tally, mut classes) = (Tally::new(GroupBy::Digest, OrderBy::Time), Classes::new());
    for (sql, us) in [("select 1", 10), ("select 'x', 2", 60), ("select 2", 20), ("delete from t where id = 9", 10)] {
        taken(&mut tally, &mut classes, sql.as_bytes(), us);
    }
    let profile = tally.profile(wish(Limit::Groups(2)));
    let found: Vec<_> = profile.groups.iter().map(|group| (group.measures.calls, group.measures.time_us)).collect();
    assert_eq!(found, [(1, 60), (2, 30)]);
    let other = profile.other.as_ref().expect("one group is not listed");
    assert_eq!((other.groups, other.measures.time_us, other.folded), (1, 10, 0));
    let sample = profile.groups[1].sample.as_ref().expect("a sample");
    assert_eq!((sample.sql.as_str(), sample.query_time_us, sample.offset), ("select ?", Some(20), Some(17)));
    let share = |limit| tally.profile(wish(limit)).groups.len();
    assert_eq!((share(Limit::Share(60.0, 20)), share(Limit::Share(61.0, 20)), share(Limit::Share(99.0, 2))), (1, 2, 2));
    assert_eq!(share(Limit::All), 3);
}

/// The id is that of the slowest statement, made of all of its text, though less of it is kept.
#[test]
fn a_sample_has_its_second_id_when_asked() {
    let pt_id = |wanted, cut, group_by| {
        let (mut tally, mut classes) = (Tally::new(group_by, OrderBy::Time).with_pt_ids(wanted), Classes::new());
        let list = vec!["5"; 4_000].join(", ");
        for (sql, us) in
            [("select a from t1 where b in (0x1F)", 10), (&format!("select a from t1 where b in ({list})"), 20)]
        {
            let id = classes.id_of(sql.as_bytes());
            let mut observed = one(id, sql.as_bytes(), us);
            observed.text.bytes += cut;
            tally.take(&observed, &mut || classes.of(id, sql.as_bytes()));
        }
        let profile = tally.profile(wish(Limit::All));
        assert_eq!(profile.groups.len(), 1);
        profile.groups[0].pt_id.clone()
    };
    let id = PtId::of(b"select a from t1 where b in (6)").to_string();
    assert_eq!(pt_id(true, 0, GroupBy::Digest), Some(id));
    for (wanted, cut, group_by) in [(false, 0, GroupBy::Digest), (true, 1, GroupBy::Digest), (true, 0, GroupBy::User)] {
        assert_eq!(pt_id(wanted, cut, group_by), None);
    }
}

#[test]
fn a_statement_counts_for_each_of_its_tables() {
    let (mut tally, mut classes) = (Tally::new(GroupBy::Table, OrderBy::Count), Classes::new());
    for sql in ["select * from a join b", "select * from a", "commit"] {
        taken(&mut tally, &mut classes, sql.as_bytes(), 10);
    }
    let profile = tally.profile(wish(Limit::All));
    let mut found: Vec<_> = profile.groups.iter().map(|group| (group.key.as_str(), group.measures.calls)).collect();
    found.sort_unstable();
    assert_eq!(found, [("", 1), ("a", 2), ("b", 1)]);
    assert_eq!(profile.overall.calls, 3);
}

#[test]
fn sampling_is_undone_and_marked() {
    let (mut tally, mut classes) = (Tally::new(GroupBy::User, OrderBy::Time), Classes::new());
    let id = classes.id_of(b"select 1");
    tally.take(&Observed { factor: 5, ..one(id, b"select 1", 10) }, &mut || classes.of(id, b"select 1"));
    tally.take(&one(id, b"select 1", 10), &mut || classes.of(id, b"select 1"));
    let measures = tally.profile(wish(Limit::All)).groups[0].measures.clone();
    assert_eq!((measures.calls, measures.entries, measures.time_us, measures.sample_factor), (6, 2, 60, 5));
    assert_eq!((measures.errors, measures.rows_affected, measures.p50_us), (Some(6), Some(18), 10));
}

#[test]
fn a_made_up_time_moves_nothing() {
    let (mut tally, mut classes) = (Tally::new(GroupBy::User, OrderBy::Time), Classes::new());
    let id = classes.id_of(b"select 1");
    for ended in [Timestamp(10), Timestamp(1_700_000_000_000_000), Timestamp(1_700_000_005_000_000)] {
        tally.take(&Observed { ended, ..one(id, b"select 1", 10) }, &mut || classes.of(id, b"select 1"));
    }
    let profile = tally.profile(wish(Limit::All));
    assert_eq!((profile.overall.calls, profile.seconds), (3, 5.0));
    assert_eq!(profile.overall.first_seen.as_deref(), Some("2023-11-14T22:13:20.000000Z"));
    assert_eq!((profile.load.calls, profile.load.slot_seconds), (vec![1, 0, 0, 0, 0, 1], 1));
}

/// However little memory there is: nothing is lost, what is listed is exact or says that it is not.
#[test]
fn folding_loses_nothing() {
    let (mut tally, mut classes) = (Tally::new(GroupBy::Digest, OrderBy::Time), Classes::new());
    tally.bytes_max = 64 << 10;
    let mut truth: HashMap<DigestId, (u64, u64)> = HashMap::new();
    let mut random = 7_u64;
    for step in 0..20_000_u64 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // A hundred digests that weigh much, and a thousand that come again now and then.
        let table = if step % 2 == 0 { (random >> 40) % 100 } else { 100 + (random >> 40) % 1_000 };
        let us = random % 10 + if table < 100 { 5_000 } else { 1 };
        let sql = format!("select * from t{table}");
        let id = classes.id_of(sql.as_bytes());
        tally.take(&one(id, sql.as_bytes(), us), &mut || classes.of(id, sql.as_bytes()));
        let sums = truth.entry(id).or_default();
        *sums = (sums.0 + 1, sums.1 + us);
    }
    assert!(tally.bytes <= tally.bytes_max);
    assert_eq!(tally.bytes, tally.groups.values().map(|group| group.bytes()).sum::<usize>());
    let profile = tally.profile(wish(Limit::Groups(10)));
    let other = profile.other.expect("most are folded");
    let listed: u64 = profile.groups.iter().map(|group| group.measures.time_us).sum();
    assert_eq!(listed + other.measures.time_us, truth.values().map(|(_, us)| us).sum::<u64>());
    assert_eq!(profile.overall.calls, 20_000);
    assert_eq!(other.groups + 10, truth.len() as u64);
    assert!(other.folded > 500 && !other.groups_at_least, "{other:?}");
    let kept = tally.profile(wish(Limit::All)).groups;
    assert!(kept.iter().any(|group| group.partial) && kept.iter().any(|group| !group.partial));
    for group in &kept {
        let (calls, us) = truth[&group.digest.as_ref().expect("a class").digest_id];
        let found = (group.measures.calls, group.measures.time_us);
        assert!(if group.partial { found < (calls, us) } else { found == (calls, us) }, "{found:?} of {calls} {us}");
    }
}

proptest! {
    /// The measures equal sums made in another way, and the quantiles are those of the sorted times.
    #[test]
    fn measures_are_those_of_the_statements(times in prop::collection::vec((0_u64..5_000_000, 0_u64..50), 1..60)) {
        let (mut tally, mut classes) = (Tally::new(GroupBy::Schema, OrderBy::Time), Classes::new());
        let id = classes.id_of(b"select 1");
        for (us, rows) in &times {
            let statement = Observed { rows_sent: *rows, ..one(id, b"select 1", *us) };
            tally.take(&statement, &mut || classes.of(id, b"select 1"));
        }
        let found = &tally.profile(wish(Limit::All)).groups[0].measures.clone();
        let mut sorted: Vec<u64> = times.iter().map(|(us, _)| *us).collect();
        sorted.sort_unstable();
        prop_assert_eq!(found.time_us, sorted.iter().sum::<u64>());
        prop_assert_eq!((found.min_us, found.max_us), (sorted[0], sorted[sorted.len() - 1]));
        prop_assert_eq!(found.rows_sent, times.iter().map(|(_, rows)| rows).sum::<u64>());
        let exact = sorted[((sorted.len() - 1) as f64 * 0.95) as usize];
        prop_assert!(found.p95_us.abs_diff(exact) as f64 <= 0.011 * exact as f64 + 1.0, "{} {exact}", found.p95_us);
        let latency: u64 = tally.groups.values().flat_map(|group| group.sums.latency()).map(|step| step.calls).sum();
        prop_assert_eq!(latency, times.len() as u64);
    }
}
