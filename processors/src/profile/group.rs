//! Statements that have something in common, and what is told of them beside their sums.

use std::sync::Arc;

use millrace_schemas::digest::{Charset, DigestId, PtId, Syntax, mask};
use millrace_schemas::profile::{Class, Group as Told, Sample};
use millrace_schemas::time::Timestamp;

use super::load::Series;
use super::names::NameCounts;
use super::sums::{Sums, rounded};
use super::{Observed, Text, Times, class};

/// 4 KiB of a sample: as much as a person reads; the place in the log leads to the rest.
const SAMPLE_BYTES_MAX: usize = 4 << 10;

#[derive(Debug)]
pub(super) struct Group {
    name: Box<str>,
    class: Option<Arc<Class>>,
    pub(super) sums: Sums,
    partial: bool,
    users: NameCounts,
    hosts: NameCounts,
    schemas: NameCounts,
    flags: NameCounts,
    codes: NameCounts,
    load: Series,
    sample: Option<Kept>,
    /// What the names take; they seldom change.
    names_bytes: usize,
    /// What all of it takes, as it was counted last; nothing before anything was added.
    bytes: usize,
}

/// The sample at hand.
#[derive(Debug)]
struct Kept {
    sql: Box<[u8]>,
    pt_id: Option<PtId>,
    bytes: u64,
    masked: bool,
    /// When it ended and how long it took; none where the input does not tell of single statements.
    ran: Option<(Timestamp, u64)>,
    input: u64,
    offset: Option<u64>,
}

impl Group {
    pub(super) fn new(name: &str, class: Option<Arc<Class>>, partial: bool) -> Self {
        Group {
            name: name.into(),
            class,
            sums: Sums::default(),
            partial,
            users: NameCounts::default(),
            hosts: NameCounts::default(),
            schemas: NameCounts::default(),
            flags: NameCounts::default(),
            codes: NameCounts::default(),
            load: Series::default(),
            sample: None,
            names_bytes: 0,
            bytes: 0,
        }
    }

    /// Adds a statement; the bytes that it takes more by that, all of its own with the first. `pt_ids`: a digest's sample gets its id
    /// of pt-query-digest.
    pub(super) fn add(&mut self, one: &Observed<'_>, pt_ids: bool) -> usize {
        let calls = one.calls.saturating_mul(one.factor);
        self.sums.add(one);
        self.load.add(one);
        let mut new = false;
        for (names, name) in [(&mut self.users, one.user), (&mut self.hosts, one.host), (&mut self.schemas, one.schema)]
        {
            if !name.is_empty() {
                new |= names.add(name, calls);
            }
        }
        for flag in one.flags {
            new |= self.flags.add(flag, calls);
        }
        if one.error_code != 0 {
            new |= self.codes.add(&one.error_code.to_string(), calls);
        }
        self.keep(one, pt_ids && self.class.is_some());
        if new {
            let names = [&self.users, &self.hosts, &self.schemas, &self.flags, &self.codes];
            self.names_bytes = names.into_iter().map(NameCounts::bytes).sum();
        }
        let before = self.bytes;
        // A new sample may be shorter than the one before; then it is counted as it was.
        self.bytes = self.counted().max(before);
        self.bytes - before
    }

    /// Keeps the slowest statement; of inputs that do not tell of single ones, the first.
    fn keep(&mut self, one: &Observed<'_>, pt_ids: bool) {
        let ran = match one.times {
            Times::One(us) => Some((one.ended, us)),
            Times::Many { .. } => None,
        };
        let known = self.sample.as_ref().map(|kept| kept.ran.map(|(_, us)| us));
        let better = known.is_none_or(|known| ran.is_some_and(|(_, us)| known.is_none_or(|known| us > known)));
        if !better || one.text.sql.is_empty() {
            return;
        }
        let sql = &one.text.sql[..one.text.sql.len().min(SAMPLE_BYTES_MAX)];
        let text = one.text;
        self.sample = Some(Kept {
            sql: sql.into(),
            // Now, since the rest of a long text is not kept.
            pt_id: if pt_ids { pt_id(one.digest, &text) } else { None },
            bytes: text.bytes,
            masked: text.masked,
            ran,
            input: text.input,
            offset: text.offset,
        });
    }

    /// What it takes, beside the texts that others share.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn counted(&self) -> usize {
        let class = self.class.as_ref().map_or(0, |class| class::bytes(class));
        let sample = self.sample.as_ref().map_or(0, |kept| kept.sql.len());
        size_of::<Self>()
            + self.name.len()
            + class
            + self.sums.heap_bytes()
            + self.names_bytes
            + self.load.bytes()
            + sample
    }

    /// What is said of it; `whole` are all statements, with their load.
    pub(super) fn told(&self, rank: u64, whole: (&Sums, &Series), samples: &Samples) -> Told {
        let (overall, load) = whole;
        let id = self.class.as_ref().map(|class| class.digest_id.to_string());
        Told {
            rank,
            key: id.unwrap_or_else(|| self.name.to_string()),
            digest: self.class.as_deref().cloned(),
            pt_id: self.sample.as_ref().and_then(|kept| kept.pt_id).map(|id| id.to_string()),
            share_of_time: share(&self.sums, overall),
            calls_per_second: rounded(self.sums.calls as f64 / overall.seconds()),
            measures: self.sums.measures(),
            partial: self.partial,
            users: self.users.names(),
            hosts: self.hosts.names(),
            schemas: self.schemas.names(),
            flags: self.flags.names(),
            error_codes: self.codes.names(),
            latency: self.sums.latency(),
            load: self.load.load_like(load),
            sample: self.sample.as_ref().map(|kept| kept.told(samples)),
        }
    }

    /// Orders groups that weigh the same.
    pub(super) fn name(&self) -> (Option<[u8; 16]>, &str) {
        (self.class.as_ref().map(|class| class.digest_id.0), &self.name)
    }
}

/// How samples are told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Samples {
    /// With their literals.
    pub(super) show_literals: bool,
    /// How they are to be read.
    pub(super) syntax: Syntax,
}

impl Kept {
    fn told(&self, samples: &Samples) -> Sample {
        let masked = self.masked || !samples.show_literals;
        // What is masked already was read before, and is UTF-8.
        let charset = if self.masked { Charset::default() } else { samples.syntax.charset };
        let syntax = Syntax { charset, ..samples.syntax };
        let sql = if masked {
            mask(&self.sql, syntax)
        } else {
            String::from_utf8_lossy(&syntax.to_utf8(&self.sql)).into_owned()
        };
        Sample {
            sql,
            masked,
            cut: self.sql.len() as u64 != self.bytes,
            bytes: self.bytes,
            ts: self.ran.map(|(at, _)| at.to_string()),
            query_time_us: self.ran.map(|(_, us)| us),
            input: self.input,
            offset: self.offset,
        }
    }
}

/// The id of a text, where enough of it is known: what is masked lacks what the tool would stumble over.
fn pt_id(digest: DigestId, text: &Text<'_>) -> Option<PtId> {
    if text.masked && digest != DigestId::ADMIN {
        return None;
    }
    if text.sql.len() as u64 == text.bytes { Some(PtId::of(text.sql)) } else { PtId::of_beginning(text.sql) }
}

/// The part of all time, to six places.
pub(super) fn share(part: &Sums, whole: &Sums) -> f64 {
    let share = if whole.time_us == 0 { 0.0 } else { part.time_us as f64 / whole.time_us as f64 };
    (share * 1e6).round() / 1e6
}
