//! Statements that a cluster did not have before, and that are felt at once. Windows of its instances enter; words leave about a digest
//! that, within five minutes of its first window, takes much of an instance's response time, or takes long each time. What a cluster
//! has is learnt for a week, since jobs of a night or of a Sunday are not new; it is remembered by 4 bytes a digest, and those that were
//! not asked for while thousands of others were are forgotten. Nothing of one alone: what somebody tries out once is nobody's
//! business. Nothing of a statement that a deploy has put in the place of another one, and that takes about as much.

use std::collections::{BTreeMap, BTreeSet};

use millrace_schemas::ids::DigestId;
use millrace_schemas::topics::windows::TOTAL;
use serde::{Deserialize, Serialize};

use super::Beside;
use super::digest::{SHARE_LEAST, Sums};
use super::groups::{About, Groups, Holds, Now, Word};
use super::instance::{Measured, WIDTH};
use super::words;

/// A week of a cluster, before anything of it is new.
const LEARNS: i64 = 7 * 86_400;
/// 5 min, thirty windows: who is slow later was not slow because it is new.
const FIRST: i64 = 300;
/// 1 h: longer than states of a partition lie apart, which are read again after a restart.
const REMEMBERED: i64 = 3_600;
/// A tenth of the response time of an instance.
const MUCH: f32 = 0.1;
/// A second of it in a window of ten: an instance that is idle has little of which anything is much.
const LOAD_LEAST_US: u64 = 1_000_000;
/// A second for each call, of which somebody sees that it takes time.
const LONG_US: f32 = 1_000_000.0;
/// 1.6 times what has gone, as with a statement that takes longer: less is another text for the same work.
const REPLACES: f32 = 1.6;
/// Two windows.
const HITS: u16 = 2;
/// Six calm windows end it, and half an hour: then it is not new any more.
const CALM: u16 = 6;
const LASTING: u16 = 180;
/// 8,192 digests, twice: a cluster has some thousands; one that makes more of them has new ones all the time, which are not told
/// unless they are felt. 200 KB in a snapshot.
const KNOWN: usize = 8_192;
/// 1,000 that are new at once: a whole application.
const NEW_MOST: usize = 1_000;

/// The digests that a cluster has had.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// The start of its first window.
    since: i64,
    now: BTreeSet<u32>,
    before: BTreeSet<u32>,
    /// The start of the first window of those that came last.
    new: BTreeMap<DigestId, i64>,
}

impl Seen {
    /// Takes in which digests were in a window.
    pub(super) fn window(&mut self, start: i64, digests: impl Iterator<Item = DigestId>) {
        if self.since == 0 {
            self.since = start;
        }
        self.new.retain(|_, first| start - *first < REMEMBERED);
        for digest in digests.filter(|digest| *digest != DigestId::OTHER && *digest != TOTAL) {
            let [a, b, c, d, ..] = digest.0;
            let name = u32::from_be_bytes([a, b, c, d]);
            if !self.now.insert(name) {
                continue;
            }
            let known = self.before.contains(&name) || start - self.since < LEARNS;
            if !known && self.new.len() < NEW_MOST {
                self.new.insert(digest, start);
            }
            if self.now.len() >= KNOWN {
                self.before = std::mem::take(&mut self.now);
            }
        }
    }
}

/// The new statements of an instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct News {
    /// Those that were slow in a window.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    slow: BTreeMap<DigestId, Slow>,
    groups: Groups,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Slow {
    /// The first window that showed it.
    first: i64,
    /// How many did, and how many in a row did not.
    hits: u16,
    calm: u16,
    /// It has taken the place of others.
    #[serde(default)]
    replaces: bool,
}

impl News {
    /// What there is to say after a window. `gone` is the share of the load of statements that are not asked for any more.
    pub(super) fn window(
        &mut self,
        start: i64,
        total: &Sums,
        rows: &[Measured<'_>],
        (seen, gone): (&Seen, impl Fn() -> f32),
        beside: &Beside<'_>,
    ) -> Vec<Word> {
        if seen.new.is_empty() && self.slow.is_empty() {
            return Vec::new();
        }
        for slow in self.slow.values_mut() {
            slow.calm += 1;
        }
        let mut holds = Holds::new();
        let is_new = |digest| seen.new.get(digest).is_some_and(|first| start - first < FIRST);
        for row in rows {
            let share = row.sums.rt_sum_us as f32 / total.rt_sum_us.max(1) as f32;
            let mean_us = row.sums.rt_sum_us as f32 / row.sums.count.max(1) as f32;
            let much = share >= MUCH && row.sums.rt_sum_us >= LOAD_LEAST_US;
            if !(much || mean_us >= LONG_US && share >= SHARE_LEAST)
                || !(is_new(&row.digest) || self.slow.contains_key(&row.digest))
            {
                continue;
            }
            let slow = self.slow.entry(row.digest).or_insert(Slow { first: start, ..Slow::default() });
            (slow.hits, slow.calm) = (slow.hits.saturating_add(1), 0);
            if slow.hits == HITS {
                let new = rows.iter().filter(|row| is_new(&row.digest)).map(|row| row.sums.rt_sum_us).sum::<u64>();
                slow.replaces = new as f32 / total.rt_sum_us.max(1) as f32 <= REPLACES * gone();
            }
            if slow.hits < HITS || slow.replaces {
                continue;
            }
            let (digest, named) = (row.digest, (beside.instance, beside.names.text(row.digest)));
            let now = Now {
                about: About::New(digest),
                windows: (start - slow.first) / WIDTH + 1,
                factor: share,
                count: 1,
                loud: beside.settings.notify_share.is_some_and(|least| share >= least),
                say: Box::new(move |since| words::say_new(digest, since, (share, mean_us), row, named)),
            };
            holds.insert(About::New(digest).key(), Some(now));
        }
        self.slow.retain(|digest, slow| {
            let key = About::New(*digest).key();
            let stays = slow.calm < CALM && slow.hits <= LASTING;
            if !stays {
                holds.remove(&key); // it has lasted, and is not new any more
            } else if slow.hits >= HITS && !slow.replaces {
                holds.entry(key).or_insert(None); // calm, and not yet for long enough
            }
            stays
        });
        self.groups.tell(start, holds)
    }
}

#[cfg(test)]
mod tests {
    use millrace_schemas::topics::alerts::AlertState;

    use super::super::Settings;
    use super::*;

    const START: i64 = 1_700_000_000;

    /// Number, calls, microseconds each.
    type Digest = (u32, u64, u64);

    fn digest(number: u32) -> DigestId {
        let mut id = [1; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        DigestId(id)
    }

    struct Stage {
        seen: Seen,
        news: News,
        start: i64,
        settings: Settings,
        gone: f32,
    }

    impl Stage {
        /// A cluster that has been known for so long, with digest 1.
        fn known(seconds: i64) -> Self {
            let settings = Settings { notify_share: Some(0.5), ..Settings::default() };
            let mut stage = Self { seen: Seen::default(), news: News::default(), start: START, settings, gone: 0.01 };
            assert_eq!(stage.windows(1, &[(1, 1_000, 5_000)]), []);
            stage.start += seconds;
            stage
        }

        /// So many windows of these digests.
        fn windows(&mut self, count: usize, of: &[Digest]) -> Vec<Word> {
            let mut total = Sums::default();
            let rows = of.iter().map(|(number, count, us)| {
                let sums = Sums { count: *count, rt_sum_us: count * us, ..Sums::default() };
                (total.count, total.rt_sum_us) = (total.count + count, total.rt_sum_us + count * us);
                Measured { digest: digest(*number), user: "app", sums }
            });
            let rows: Vec<Measured<'_>> = rows.collect();
            let mut words = Vec::new();
            for _ in 0..count {
                self.start += WIDTH;
                self.seen.window(self.start, rows.iter().map(|row| row.digest));
                let beside = Beside { names: &(), settings: &self.settings, instance: "db1" };
                let known = (&self.seen, || self.gone);
                words.extend(self.news.window(self.start, &total, &rows, known, &beside));
            }
            words
        }
    }

    const OLD: Digest = (1, 1_000, 5_000);

    #[test]
    fn a_new_statement_that_takes_much_is_found_with_its_second_window_and_over() {
        let mut stage = Stage::known(LEARNS);
        assert_eq!(stage.windows(1, &[OLD, (2, 100, 20_000)]), []);
        let found = stage.windows(1, &[OLD, (2, 100, 20_000)]);
        let [word] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((word.state, word.notifies, word.since), (AlertState::Firing, false, START + LEARNS + 20));
        assert_eq!(word.about.rule(), "SlowStatementNew");
        assert!(word.summary.starts_with("a statement that is new takes 29% of the load of db1 since"), "{word:?}");
        let loud = stage.windows(10, &[OLD, (2, 100, 100_000)]);
        assert!(loud.iter().all(|word| word.notifies) && !loud.is_empty(), "half of the load may notify: {loud:?}");
        let over = stage.windows(10, &[OLD]);
        assert_eq!(over.iter().map(|word| word.state).collect::<Vec<_>>(), [AlertState::Resolved]);
    }

    #[test]
    fn what_stays_is_not_new_after_half_an_hour() {
        let mut stage = Stage::known(LEARNS);
        let words = stage.windows(400, &[OLD, (2, 1, 4_000_000)]);
        let states: Vec<AlertState> = words.iter().map(|word| word.state).collect();
        assert_eq!(states, [AlertState::Firing, AlertState::Resolved]);
        assert!(words[1].summary.starts_with("usual by now, after 30 min:"), "{words:?}");
    }

    #[test]
    fn what_is_known_small_tried_out_once_or_slow_later_is_no_news() {
        let check = |known: i64, windows: &[(usize, &[Digest])]| {
            let mut stage = Stage::known(known);
            for (count, rows) in windows {
                assert_eq!(stage.windows(*count, rows), [], "{windows:?}");
            }
        };
        let slow = (2, 100, 20_000);
        check(LEARNS - 100, &[(5, &[OLD, slow])]); // the cluster is not known
        check(LEARNS, &[(1, &[OLD, (2, 1, 4_000_000)]), (40, &[OLD])]); // once
        check(LEARNS, &[(10, &[OLD, (2, 100, 2_000)])]); // 4 % of the load, 2 ms each
        check(LEARNS, &[(10, &[(3, 1, 900), (2, 10, 20_000)])]); // of an idle instance
        check(LEARNS, &[(40, &[OLD, (2, 10, 2_000)]), (40, &[OLD, slow])]); // five minutes later
    }

    #[test]
    fn what_takes_the_place_of_others_is_no_news_unless_it_takes_more() {
        let words = |gone: f32, of: &[Digest]| {
            let mut stage = Stage::known(LEARNS);
            stage.gone = gone;
            stage.windows(60, of).len()
        };
        let of_two = [OLD, (2, 100, 10_000), (3, 100, 10_000)]; // 14 % each
        assert_eq!([words(0.2, &of_two), words(0.15, &of_two)], [0, 2]);
        assert_eq!(words(0.2, &[OLD, (2, 100, 30_000)]), 1, "38 % are more");
    }

    #[test]
    fn what_a_cluster_had_is_remembered_and_comes_back_from_a_snapshot() {
        let mut stage = Stage::known(LEARNS);
        for number in 10..10 + 3 * KNOWN as u32 {
            stage.seen.window(stage.start + i64::from(number), [digest(number), digest(1)].into_iter());
        }
        assert!(stage.seen.now.len() < KNOWN && stage.seen.before.len() <= KNOWN && stage.seen.new.len() <= NEW_MOST);
        assert!(!stage.seen.new.contains_key(&digest(1)), "it is asked for all the time");
        let text = serde_json::to_string(&stage.seen).expect("writes");
        assert!(text.len() <= 300 << 10, "{}", text.len());
        assert_eq!(serde_json::from_str::<Seen>(&text).expect("reads"), stage.seen);
    }
}
