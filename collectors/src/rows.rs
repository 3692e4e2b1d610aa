//! Rows of topic `queries` before they are sent: which digests of a second have rows of their own, and how rows are added up.
//! Counts by digest enter, the chosen ones leave; every source of statements keeps to the same limit here. It must never lose a
//! count: what has no row of its own is in that of `other`.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use millrace_schemas::ids::DigestId;
use millrace_schemas::topics::queries::{DIGESTS_PER_SECOND_MAX, Row};

/// The digests of one instance and second that have rows of their own.
#[derive(Debug)]
pub struct Told {
    /// Absent when all have.
    kept: Option<HashSet<DigestId>>,
    /// How many have none.
    pub folded: u32,
}

impl Told {
    /// Those that weigh most, at most 2,000; reserved ids always, since they stand for no statement that could be left out.
    pub fn of(weights: impl ExactSizeIterator<Item = (DigestId, u64)>) -> Told {
        if weights.len() <= DIGESTS_PER_SECOND_MAX {
            return Told { kept: None, folded: 0 };
        }
        let mut sums: HashMap<DigestId, u64> = HashMap::new();
        for (digest, weight) in weights.filter(|(digest, _)| !is_reserved(*digest)) {
            let sum = sums.entry(digest).or_default();
            *sum = sum.saturating_add(weight);
        }
        if sums.len() <= DIGESTS_PER_SECOND_MAX {
            return Told { kept: None, folded: 0 };
        }
        let mut ranked: Vec<(Reverse<u64>, DigestId)> =
            sums.into_iter().map(|(digest, sum)| (Reverse(sum), digest)).collect();
        ranked.sort_unstable();
        let folded = (ranked.len() - DIGESTS_PER_SECOND_MAX) as u32;
        let kept = ranked.into_iter().take(DIGESTS_PER_SECOND_MAX).map(|(_, digest)| digest).collect();
        Told { kept: Some(kept), folded }
    }

    /// Whether this one has.
    pub fn has(&self, digest: DigestId) -> bool {
        is_reserved(digest) || self.kept.as_ref().is_none_or(|kept| kept.contains(&digest))
    }
}

/// Stands for no statement.
fn is_reserved(digest: DigestId) -> bool {
    digest.reserved().is_some()
}

/// Rows of one instance and second, of which those of the digests with the least weight are folded into one.
pub fn fold(mut rows: Vec<Row>, weight: impl Fn(&Row) -> u64) -> Vec<Row> {
    let told = Told::of(rows.iter().map(|row| (row.digest, weight(row))));
    if told.folded == 0 {
        return rows;
    }
    let mut other: Option<Row> = None;
    rows.retain(|row| {
        let has = told.has(row.digest) && row.digest != DigestId::OTHER;
        if !has {
            if let Some(other) = &mut other {
                other.merge(row);
            } else {
                let (schema, user, digest) = (String::new(), String::new(), DigestId::OTHER);
                other = Some(Row { schema, user, digest, ..row.clone() });
            }
        }
        has
    });
    rows.extend(other.map(|other| Row { folded: other.folded.saturating_add(told.folded), ..other }));
    rows
}
