//! What is unusual together is told together: fifty statements of a table that lost its index are one finding, and an instance on
//! which everything is slow is one too. Digests that are unusual enter; out come words when a group begins, when it has become another
//! story, and when it is over. A group is remembered as long as it holds, and there are few of them.

use std::collections::BTreeMap;

use millrace_schemas::ids::DigestId;
use millrace_schemas::topics::alerts::{AlertState, Severity};
use serde::{Deserialize, Serialize};

use super::digest::{Digest, ERRORS_FLOOR, Finds, Of, SHARE_LEAST, Sums};
use super::instance::{Measured, WIDTH};
use super::series::Series;
use super::signals::Signal;
use super::words::{self, Story};
use super::{ANOMALY, Beside, NEW, Names, REGRESSED};

/// Three tables: where a fourth one is slow, it is not the tables.
const TABLES_MOST: usize = 3;
/// A tenth of the load, in parts of which none is felt: it is not the tables either.
const SMALL_LEAST: f32 = 0.1;
/// Twice as much, for people to be told of it where the settings want that: a deploy may well cost half as much again.
const NOTIFY_FACTOR: f32 = 2.0;
/// A minute between two words about the same.
const RESTATE_AFTER: i64 = 60;
/// Twice as much, or half, is another story.
const MOVED: f32 = 2.0;
/// Half an hour less a window: what has held for so long did not end, it is usual now.
const SETTLED: i64 = 1_790;

/// What a word is about; with the instance it is the name of the finding over its life.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum About {
    /// Statements of the instance, whatever they do.
    Statements,
    /// Statements on a table.
    Table(String),
    /// A statement whose tables are not known.
    Digest(DigestId),
    /// Errors of the instance.
    Errors,
    /// How many statements the instance answers.
    Queries,
    /// A number that is sampled.
    Signal(Signal),
    /// A statement that the cluster did not have before.
    New(DigestId),
}

impl About {
    /// The rule under which it is told.
    pub(super) fn rule(&self) -> &'static str {
        match self {
            Self::Statements | Self::Table(_) | Self::Digest(_) => REGRESSED,
            Self::New(_) => NEW,
            Self::Errors | Self::Queries | Self::Signal(_) => ANOMALY,
        }
    }

    /// The labels of its finding.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        match self {
            Self::Statements => [label("of", "statements")].into(),
            Self::Table(table) => [label("of", "statements"), label("table", table)].into(),
            Self::Digest(digest) => [label("of", "statements"), label("digest", &digest.to_string())].into(),
            Self::Errors => [label("of", "errors")].into(),
            Self::Queries => [label("of", "queries")].into(),
            Self::Signal(signal) => [label("of", signal.name())].into(),
            Self::New(digest) => [label("digest", &digest.to_string())].into(),
        }
    }

    /// The name of its group.
    pub(super) fn key(&self) -> String {
        match self {
            Self::Statements => "*".to_owned(),
            Self::Table(table) => format!("t{table}"),
            Self::Digest(digest) => format!("d{digest}"),
            Self::Errors => "errors".to_owned(),
            Self::Queries => "queries".to_owned(),
            Self::Signal(signal) => signal.name().to_owned(),
            Self::New(digest) => format!("new {digest}"),
        }
    }
}

/// Something to be said of an instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    pub(super) about: About,
    /// It began or goes on, or is over.
    pub state: AlertState,
    /// The start of the first window that showed it.
    pub since: i64,
    /// How many times as much as usual; of a new statement its part of the load.
    pub factor: f32,
    /// In one sentence.
    pub summary: String,
    pub(super) severity: Severity,
    /// Whether the settings want somebody to be notified.
    pub notifies: bool,
    /// The starts of the windows that show it.
    pub windows: Vec<i64>,
}

/// What holds of an instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Groups(BTreeMap<String, Group>);

/// What is to be said of a group after a window.
pub(super) struct Now<'a> {
    pub(super) about: About,
    /// How many windows showed it, where that has just been found.
    pub(super) windows: i64,
    /// How many times as much as usual; of a new statement its part of the load.
    pub(super) factor: f32,
    /// How many digests.
    pub(super) count: usize,
    /// Whether the settings want somebody to be notified.
    pub(super) loud: bool,
    /// The sentence, by when it began.
    pub(super) say: Box<dyn Fn(i64) -> String + 'a>,
}

impl<'a> Now<'a> {
    fn of(about: About, windows: i64, story: Story<'a>, loud: bool, of: &'a str) -> Self {
        let (factor, count, named) = (story.factor, story.count, about.clone());
        Self { about, windows, factor, count, loud, say: Box::new(move |since| words::say(&named, since, &story, of)) }
    }
}

/// Groups that hold, by their keys; none where the last window was calm.
pub(super) type Holds<'a> = BTreeMap<String, Option<Now<'a>>>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Group {
    about: About,
    since: i64,
    told: i64,
    /// The bits of the factor that was told.
    factor: u32,
    count: usize,
    notifies: bool,
    summary: String,
}

impl Groups {
    /// What there is to say after a window.
    pub(super) fn settle(
        &mut self,
        start: i64,
        total: &Sums,
        digests: &mut BTreeMap<DigestId, Digest>,
        rows: &[Measured<'_>],
        (queries, errors): (Series, Series),
        beside: &Beside<'_>,
    ) -> Vec<Word> {
        let Beside { names, settings, instance } = *beside;
        self.assign(digests, names);
        let mut holds = Holds::new();
        let mut members: BTreeMap<&str, Vec<(DigestId, &Digest)>> = BTreeMap::new();
        for (id, digest) in digests.iter() {
            if let Some(group) = &digest.group {
                members.entry(group).or_default().push((*id, digest));
            }
        }
        for (key, members) in members {
            let Some((about, windows, story)) = of_digests(key, &members, rows, names) else {
                // Calm, and not yet for long enough.
                if self.0.contains_key(key) {
                    holds.insert(key.to_owned(), None);
                }
                continue;
            };
            // Errors are felt by whoever gets them, whatever time they take.
            let least = if self.0.contains_key(key) { SHARE_LEAST / 2.0 } else { SHARE_LEAST };
            if story.of != Of::Errors && story.share < least {
                continue;
            }
            let share = settings.notify_share.is_some_and(|least| story.share >= least);
            let loud = share && story.factor >= NOTIFY_FACTOR;
            holds.insert(key.to_owned(), Some(Now::of(about, windows, story, loud, instance)));
        }
        if errors.is_unusual() {
            let most = rows.iter().max_by_key(|row| (row.sums.errors, row.digest));
            let story = || of_total(Of::Errors, &errors, total, most, names);
            let now = || Now::of(About::Errors, errors.windows(), story(), settings.notify_errors, instance);
            holds.insert(About::Errors.key(), errors.deviates().then(now));
        }
        if queries.is_unusual() {
            let most = rows.iter().max_by_key(|row| (row.sums.count, row.digest));
            let story = || of_total(Of::Calls, &queries, total, most, names);
            let now = || Now::of(About::Queries, queries.windows(), story(), false, instance);
            holds.insert(About::Queries.key(), queries.deviates().then(now));
        }
        self.tell(start, holds)
    }

    /// The words about what holds: what ended, what began, and what has become another story.
    pub(super) fn tell(&mut self, start: i64, holds: Holds<'_>) -> Vec<Word> {
        let mut said = self.ended(start, &holds);
        for (key, now) in holds {
            said.extend(now.and_then(|now| self.goes_on(start, key, now)));
        }
        said
    }

    /// Gives each unusual digest its group, and takes it from those that are not unusual any more. What was not told yet may still
    /// turn out to be a part of something larger.
    fn assign(&self, digests: &mut BTreeMap<DigestId, Digest>, names: &dyn Names) {
        let mut tables: BTreeMap<&str, f32> = BTreeMap::new();
        let mut fresh: Vec<DigestId> = Vec::new();
        for (id, digest) in digests.iter_mut() {
            if !digest.is_unusual() {
                digest.group = None;
            } else if digest.deviates() && digest.group.as_ref().is_none_or(|key| !self.0.contains_key(key)) {
                fresh.push(*id);
                for table in names.tables(*id) {
                    *tables.entry(table).or_default() += digest.share;
                }
            }
        }
        if fresh.is_empty() {
            return;
        }
        let mut keys: BTreeMap<DigestId, String> = BTreeMap::new();
        let mut weights: BTreeMap<String, f32> = BTreeMap::new();
        for id in fresh {
            let own = names.tables(id);
            let held = own.iter().map(|table| About::Table(table.clone()).key()).find(|key| self.0.contains_key(key));
            let heaviest =
                || own.iter().max_by(|a, b| tables[a.as_str()].total_cmp(&tables[b.as_str()]).then(b.cmp(a)));
            let about = || heaviest().map_or(About::Digest(id), |table| About::Table(table.clone()));
            let key = held.unwrap_or_else(|| about().key());
            *weights.entry(key.clone()).or_default() += digests.get(&id).map_or(0.0, |digest| digest.share);
            keys.insert(id, key);
        }
        let everything = About::Statements.key();
        let told = self.0.keys().filter(|key| is_of_digests(key));
        let felt = weights.iter().filter(|(key, share)| **share >= SHARE_LEAST && !self.0.contains_key(*key));
        let small: f32 = weights.values().filter(|share| **share < SHARE_LEAST).sum();
        let whole =
            self.0.contains_key(&everything) || told.count() + felt.count() > TABLES_MOST || small >= SMALL_LEAST;
        for (id, key) in keys {
            let joins = self.0.contains_key(&key) || !whole;
            if let Some(digest) = digests.get_mut(&id) {
                digest.group = Some(if joins { key } else { everything.clone() });
            }
        }
    }

    /// Groups of which nothing holds any more.
    fn ended<T>(&mut self, start: i64, holds: &BTreeMap<String, T>) -> Vec<Word> {
        let mut said = Vec::new();
        self.0.retain(|key, group| {
            if holds.contains_key(key) {
                return true;
            }
            let lasted = start - group.since;
            said.push(Word {
                about: group.about.clone(),
                state: AlertState::Resolved,
                since: group.since,
                factor: f32::from_bits(group.factor),
                summary: words::over(&group.summary, lasted, lasted >= SETTLED),
                severity: severity(group.notifies),
                notifies: group.notifies,
                windows: vec![start],
            });
            false
        });
        said
    }

    /// A group holds: a word when it begins, and when it has become another story.
    fn goes_on(&mut self, start: i64, key: String, now: Now<'_>) -> Option<Word> {
        let Now { about, windows, factor, count, loud, say } = now;
        let first = start - (windows - 1) * WIDTH;
        let (since, notifies) = match self.0.get(&key) {
            None => (first, loud),
            Some(group) => {
                let moved = |before: f32, now: f32| now >= before * MOVED || now * MOVED <= before;
                let other = moved(f32::from_bits(group.factor), factor) || moved(group.count as f32, count as f32);
                let louder = loud && !group.notifies;
                let due = other && start - group.told >= RESTATE_AFTER;
                if !louder && !due {
                    return None;
                }
                (group.since, loud || group.notifies)
            }
        };
        let summary = say(since);
        let group = Group {
            about: about.clone(),
            since,
            told: start,
            factor: factor.to_bits(),
            count,
            notifies,
            summary: summary.clone(),
        };
        self.0.insert(key, group);
        Some(Word {
            about,
            state: AlertState::Firing,
            since,
            factor,
            summary,
            severity: severity(notifies),
            notifies,
            windows: (0..windows).rev().map(|back| start - back * WIDTH).collect(),
        })
    }
}

/// What nobody is notified of is worth knowing, no more.
fn severity(notifies: bool) -> Severity {
    if notifies { Severity::Warning } else { Severity::Info }
}

fn is_of_digests(key: &str) -> bool {
    key.starts_with(['*', 't', 'd'])
}

fn about_of(key: &str) -> Option<About> {
    Some(match key.split_at_checked(1)? {
        ("*", _) => About::Statements,
        ("t", table) => About::Table(table.to_owned()),
        (_, digest) => About::Digest(digest.parse().ok()?),
    })
}

/// The story of digests that are unusual together: the worst of them, and how many there are.
fn of_digests<'a>(
    key: &str,
    members: &[(DigestId, &Digest)],
    rows: &'a [Measured<'_>],
    names: &'a dyn Names,
) -> Option<(About, i64, Story<'a>)> {
    let weight = |digest: &Digest, finds: &Finds| digest.share * finds.factor.ln().abs();
    let found = members.iter().filter_map(|(id, digest)| Some((*id, *digest, digest.finds()?)));
    let (id, _, finds) = found.max_by(|(a, one, of_one), (b, other, of_other)| {
        weight(one, of_one).total_cmp(&weight(other, of_other)).then(b.cmp(a))
    })?;
    let deviating = members.iter().filter(|(_, digest)| digest.deviates());
    let share = deviating.map(|(_, digest)| digest.share).sum::<f32>().min(1.0);
    let user = rows.iter().find(|row| row.digest == id).map_or("", |row| row.user);
    let windows = members.iter().map(|(_, digest)| digest.windows()).max().unwrap_or(1);
    let story = Story {
        of: finds.of,
        factor: finds.factor,
        usual: finds.usual,
        now: finds.now,
        share,
        count: members.len(),
        digest: Some(id),
        user,
        text: names.text(id),
    };
    Some((about_of(key)?, windows, story))
}

/// The story of a total: what it was and is, and who has most of it.
fn of_total<'a>(
    of: Of,
    series: &Series,
    total: &Sums,
    most: Option<&'a Measured<'a>>,
    names: &'a dyn Names,
) -> Story<'a> {
    let floor = if of == Of::Errors { ERRORS_FLOOR } else { 0.0 };
    let number = |at: f32| (at.exp() - floor).max(0.0);
    let part = most.map_or(0.0, |row| match of {
        Of::Errors => row.sums.errors as f32 / total.errors.max(1) as f32,
        _ => row.sums.count as f32 / total.count.max(1) as f32,
    });
    Story {
        of,
        factor: series.deviation().exp(),
        usual: number(series.level()),
        now: number(series.level() + series.deviation()),
        share: part,
        count: 1,
        digest: most.map(|row| row.digest),
        user: most.map_or("", |row| row.user),
        text: most.and_then(|row| names.text(row.digest)),
    }
}
