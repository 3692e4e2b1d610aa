//! A closed window on its way: its rows may come in several records. It is whole when they have as many statements as its total says,
//! for the total is exact. In: rows by digest, schema and user. Out: the sums of the instance and of each digest.

use std::collections::BTreeMap;

use millrace_schemas::ids::DigestId;
use millrace_schemas::sketch::Sketch;
use millrace_schemas::topics::queries::Row;
use millrace_schemas::topics::windows::TOTAL;
use serde::{Deserialize, Serialize};

use super::digest::Sums;
use super::instance::Measured;

/// One part of a digest, before the parts are added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Part {
    digest: DigestId,
    schema: String,
    user: String,
    count: u64,
    errors: u64,
    rt_sum_us: u64,
    rows_examined: Option<u64>,
    /// Its response times, as they travel: parts of a digest are merged where there are several.
    times: Vec<u8>,
}

/// A window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) start: i64,
    total: Option<Part>,
    parts: Vec<Part>,
}

impl Pending {
    pub(super) fn new(start: i64) -> Self {
        Self { start, total: None, parts: Vec::new() }
    }

    /// Takes a row in. The same row again is a repeat.
    pub(super) fn add(&mut self, row: &Row) {
        let part = Part {
            digest: row.digest,
            schema: row.schema.clone(),
            user: row.user.clone(),
            count: row.count,
            errors: row.errors,
            rt_sum_us: row.rt_sum_us,
            rows_examined: row.rows_examined,
            times: row.rt_last.to_bytes(),
        };
        if part.digest == TOTAL {
            self.total = Some(part);
            return;
        }
        // Rows come in order, so that a repeat is looked for among few.
        match self.parts.binary_search_by(|other| named(other).cmp(&named(&part))) {
            Ok(at) => self.parts[at] = part,
            Err(at) => self.parts.insert(at, part),
        }
    }

    /// Whether all rows are there.
    pub(super) fn is_whole(&self) -> bool {
        let counted: u64 = self.parts.iter().map(|part| part.count).sum();
        self.total.as_ref().is_some_and(|total| counted >= total.count)
    }

    /// The sums of the instance, and of each digest with who asked for most of it.
    pub(super) fn sums(&self) -> (Sums, Vec<Measured<'_>>) {
        let mut by_digest: BTreeMap<DigestId, Vec<&Part>> = BTreeMap::new();
        for part in &self.parts {
            by_digest.entry(part.digest).or_default().push(part);
        }
        let rows: Vec<Measured<'_>> = by_digest
            .into_iter()
            .map(|(digest, parts)| {
                let most = parts.iter().max_by_key(|part| part.rt_sum_us);
                Measured { digest, user: most.map_or("", |part| part.user.as_str()), sums: added(&parts) }
            })
            .collect();
        let whole: Vec<&Part> = match &self.total {
            Some(total) => vec![total],
            None => self.parts.iter().collect(),
        };
        (added(&whole), rows)
    }
}

fn named(part: &Part) -> (&str, &str, DigestId) {
    (&part.schema, &part.user, part.digest)
}

fn added(parts: &[&Part]) -> Sums {
    let mut sums = Sums { rows_examined: Some(0), ..Sums::default() };
    let mut times = Sketch::new();
    for part in parts {
        sums.count += part.count;
        sums.errors += part.errors;
        sums.rt_sum_us += part.rt_sum_us;
        sums.rows_examined = sums.rows_examined.zip(part.rows_examined).map(|(one, more)| one + more);
        // They were read out of a sketch in this process.
        if let Ok(more) = Sketch::from_bytes(&part.times) {
            times.merge(&more);
        }
    }
    sums.p99_us = times.quantile(0.99).unwrap_or(0);
    sums
}
