//! GTID sets of MariaDB. The server has no sets: it has positions (`gtid_slave_pos`, `Gtid_IO_Pos`: one `domain-server-seq` per
//! domain) and the state of its binlog (`gtid_binlog_state`: one per domain and server). Here both are sets of sequence numbers
//! per domain, so that they can be joined and compared as MySQL's are.
//!
//! A text `0-1-105` covers every sequence number up to 105 in domain 0, whoever wrote it, and marks 105 as server 1's.
//! Subset, subtract and union speak about sequence numbers alone: two servers that diverged (each wrote its own 106) look equal
//! to them. Whoever decides asks [`Set::conflicts`] (positions) and [`Set::unknown_to`] (binlog states) as well.

use std::collections::BTreeMap;
use std::fmt;

use super::intervals::{Intervals, NUMBER_MAX, Range};
use super::mysql::parse_range;
use super::{GtidError, RANGES_MAX};

/// What is held of one replication domain.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Domain {
    seqs: Intervals,
    /// For servers that are named, the highest of `seqs` that is known to be theirs.
    marks: BTreeMap<u32, u64>,
}

impl Domain {
    /// Whether `domain-server-seq` entries alone say everything: the numbers run from 1 to the highest mark.
    fn is_position(&self) -> bool {
        let top = self.marks.values().max().copied();
        matches!(self.seqs.ranges(), [only] if only.first == 1 && Some(only.last) == top)
    }

    fn union(&self, other: &Self) -> Self {
        let mut marks = self.marks.clone();
        for (server, seq) in &other.marks {
            let mark = marks.entry(*server).or_insert(*seq);
            *mark = (*mark).max(*seq);
        }
        Self { seqs: self.seqs.union(&other.seqs), marks }
    }

    fn subtract(&self, other: &Self) -> Self {
        let seqs = self.seqs.subtract(&other.seqs);
        let marks = self.marks.iter().filter(|(_, seq)| seqs.contains(**seq)).map(|(server, seq)| (*server, *seq));
        Self { marks: marks.collect(), seqs }
    }
}

/// One sequence number that two servers filled with different transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conflict {
    /// The replication domain.
    pub domain: u32,
    /// The sequence number that both have.
    pub seq: u64,
    /// The server that wrote it according to the left set.
    pub left: u32,
    /// The server that wrote it according to the right set.
    pub right: u32,
}

/// A set of MariaDB transactions: see the head of this file for what it can and cannot tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Set(BTreeMap<u32, Domain>);

impl Set {
    /// Reads `0-1-105,1-2-7` as the server prints positions and binlog states, or the form with ranges that `Display` uses for
    /// what is no position. The caller has bounded the length of `text`.
    pub(super) fn parse(text: &str) -> Result<Self, GtidError> {
        let mut found: BTreeMap<u32, (Vec<Range>, BTreeMap<u32, u64>)> = BTreeMap::new();
        let mut ranges = 0;
        for element in text.split(',').map(str::trim).filter(|element| !element.is_empty()) {
            let (domain, read, marks) =
                if element.contains(':') { parse_ranges(element)? } else { parse_position(element)? };
            ranges += read.len() + marks.len();
            let (all, known) = found.entry(domain).or_default();
            all.extend(read);
            for (server, seq) in marks {
                let mark = known.entry(server).or_insert(seq);
                *mark = seq.max(*mark);
            }
        }
        if ranges > RANGES_MAX {
            return Err(GtidError::TooManyRanges { ranges, max: RANGES_MAX });
        }
        let domains = found.into_iter();
        Ok(Self(domains.map(|(id, (ranges, marks))| (id, Domain { seqs: Intervals::of(ranges), marks })).collect()))
    }

    /// The domains and the sequence numbers held in each.
    pub fn domains(&self) -> impl Iterator<Item = (u32, &Intervals)> {
        self.0.iter().map(|(id, domain)| (*id, &domain.seqs))
    }

    /// The servers named in `domain` and the highest sequence number known to be theirs.
    pub fn servers(&self, domain: u32) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.0.get(&domain).into_iter().flat_map(|domain| domain.marks.iter().map(|(server, seq)| (*server, *seq)))
    }

    /// The text that a server takes as `gtid_slave_pos` or in `MASTER_GTID_WAIT`: one entry, the highest, per domain.
    /// `None` if some domain is no position, since it has holes or nobody named who wrote its last transaction.
    pub fn position(&self) -> Option<String> {
        let mut entries = Vec::with_capacity(self.0.len());
        for (id, domain) in &self.0 {
            let (server, seq) = domain.marks.iter().max_by_key(|(_, seq)| **seq).filter(|_| domain.is_position())?;
            entries.push(format!("{id}-{server}-{seq}"));
        }
        Some(entries.join(","))
    }

    /// Whether the set holds no transaction.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many sequence numbers the set covers, an upper bound of its transactions: a server may skip numbers.
    pub fn count(&self) -> u64 {
        self.0.values().fold(0, |sum, domain| sum.saturating_add(domain.seqs.count()))
    }

    /// The sequence numbers in either set, and for each server the higher of the marks.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut all = self.0.clone();
        for (id, domain) in &other.0 {
            let both = all.get(id).map_or_else(|| domain.clone(), |own| own.union(domain));
            all.insert(*id, both);
        }
        Self(all)
    }

    /// The ranges of sequence numbers, by domain, that this set covers and `other` does not. Marks inside them are kept, so
    /// that the result names who wrote the last of them.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let rest = self
            .0
            .iter()
            .map(|(id, domain)| (*id, other.0.get(id).map_or_else(|| domain.clone(), |gone| domain.subtract(gone))));
        Self(rest.filter(|(_, domain)| !domain.seqs.is_empty()).collect())
    }

    /// Whether every sequence number of this set is covered by `other`. True also for histories that diverged below it.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.iter().all(|(id, domain)| other.0.get(id).is_some_and(|hull| domain.seqs.is_subset(&hull.seqs)))
    }

    /// The sequence numbers that both sets mark, as written by different servers: proof that the two histories diverged.
    /// An empty answer proves nothing, since positions mark only their last number.
    pub fn conflicts(&self, other: &Self) -> Vec<Conflict> {
        let mut found = Vec::new();
        for (id, domain) in &self.0 {
            let Some(other) = other.0.get(id) else {
                continue;
            };
            for (left, seq) in &domain.marks {
                let writers = other.marks.iter().filter(|(_, theirs)| *theirs == seq);
                let writers: Vec<u32> = writers.map(|(server, _)| *server).collect();
                if !writers.contains(left) {
                    let conflict = |right| Conflict { domain: *id, seq: *seq, left: *left, right };
                    found.extend(writers.into_iter().map(conflict));
                }
            }
        }
        found
    }

    /// What this binlog state holds of each server beyond what the binlog state `other` holds of that server: the extra
    /// transactions of a server that was a primary. Both must be whole binlog states (`gtid_binlog_state`), else servers that
    /// `other` did not name look unknown. Each range ends in a transaction that is certainly extra; earlier numbers in it may
    /// be another server's.
    #[must_use]
    pub fn unknown_to(&self, other: &Self) -> Self {
        let mut extra = BTreeMap::new();
        for (id, domain) in &self.0 {
            let known = other.0.get(id);
            let mut found = Domain::default();
            for (server, seq) in &domain.marks {
                let theirs = known.and_then(|known| known.marks.get(server)).copied().unwrap_or(0);
                if let Some(range) = Range::new(theirs + 1, *seq) {
                    let marks = BTreeMap::from([(*server, *seq)]);
                    found = found.union(&Domain { seqs: Intervals::of(vec![range]), marks });
                }
            }
            if !found.seqs.is_empty() {
                extra.insert(*id, found);
            }
        }
        Self(extra)
    }
}

impl fmt::Display for Set {
    /// Positions and binlog states as the server prints them, each domain's last transaction last. What is neither is written
    /// as `domain:ranges@server-seq`, for instance `0:106-110@1-110`; no server reads that.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = "";
        for (id, domain) in &self.0 {
            if domain.is_position() {
                let mut marks: Vec<_> = domain.marks.iter().collect();
                marks.sort_by_key(|(server, seq)| (**seq, **server));
                for (server, seq) in marks {
                    write!(f, "{before}{id}-{server}-{seq}")?;
                    before = ",";
                }
            } else {
                write!(f, "{before}{id}")?;
                before = ",";
                for range in domain.seqs.ranges() {
                    write!(f, ":{range}")?;
                }
                for (server, seq) in &domain.marks {
                    write!(f, "@{server}-{seq}")?;
                }
            }
        }
        Ok(())
    }
}

type Parsed = (u32, Vec<Range>, Vec<(u32, u64)>);

fn parse_position(text: &str) -> Result<Parsed, GtidError> {
    let bad = || GtidError::bad(text, "`domain-server-sequence` with a sequence from 1 was expected");
    let mut parts = text.split('-').map(str::trim);
    let (domain, server, seq) = (parts.next(), parts.next(), parts.next());
    if parts.next().is_some() {
        return Err(bad());
    }
    let domain = domain.and_then(|part| part.parse().ok()).ok_or_else(bad)?;
    let server = server.and_then(|part| part.parse().ok()).ok_or_else(bad)?;
    let seq = seq.and_then(|part| part.parse().ok()).ok_or_else(bad)?;
    Ok((domain, vec![Range::new(1, seq).ok_or_else(bad)?], vec![(server, seq)]))
}

fn parse_ranges(text: &str) -> Result<Parsed, GtidError> {
    let bad =
        || GtidError::bad(text, "`domain:ranges@server-sequence` with the sequences inside the ranges was expected");
    let mut parts = text.split('@').map(str::trim);
    let (domain, ranges) = parts.next().and_then(|part| part.split_once(':')).ok_or_else(bad)?;
    let domain = domain.trim().parse().map_err(|_| bad())?;
    let ranges = ranges.split(':').map(|part| parse_range(part.trim())).collect::<Result<Vec<_>, _>>()?;
    let mut marks = Vec::new();
    for part in parts {
        let (server, seq) = part.split_once('-').ok_or_else(bad)?;
        let server: u32 = server.trim().parse().map_err(|_| bad())?;
        let seq: u64 = seq.trim().parse().map_err(|_| bad())?;
        // A mark outside its ranges would name a transaction that the set does not hold.
        if seq > NUMBER_MAX || !ranges.iter().any(|range| (range.first..=range.last).contains(&seq)) {
            return Err(bad());
        }
        marks.push((server, seq));
    }
    Ok((domain, ranges, marks))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> Set {
        Set::parse(text).unwrap()
    }

    #[test]
    fn the_canonical_text_is_what_the_server_prints_where_it_can() {
        let check = |text: &str, expected: &str| assert_eq!(set(text).to_string(), expected, "{text}");
        check("", "");
        check(" 1-2-7 ,\n0-1-105", "0-1-105,1-2-7");
        check("0-2-110,0-1-105", "0-1-105,0-2-110");
        check("0-1-105,0-1-100", "0-1-105");
        check("0:106-110@1-110", "0:106-110@1-110");
        check("0:1-110@1-110", "0-1-110");
        check("0:7:5-6", "0:5-7");
    }

    #[test]
    fn a_damaged_text_is_refused_with_the_part_that_is_wrong() {
        let check = |text: &str, part: &str| {
            let error = Set::parse(text).unwrap_err();
            assert!(error.to_string().contains(&format!("`{part}`")), "{text}: {error}");
        };
        check("0-1", "0-1");
        check("0-1-2-3", "0-1-2-3");
        check("0-1-0", "0-1-0");
        check("0-1-5,4294967296-1-1", "4294967296-1-1");
        check("a-1-1", "a-1-1");
        check("0:5-3", "5-3");
        check("0:5-6@1-7", "0:5-6@1-7");
        check("0:5-6@x", "0:5-6@x");
        check("0-1-18446744073709551615", "0-1-18446744073709551615");
    }

    #[test]
    fn a_position_covers_everything_up_to_it() {
        assert!(set("0-1-105").is_subset(&set("0-2-108")));
        assert!(!set("0-2-108").is_subset(&set("0-1-105")));
        assert!(!set("1-1-1").is_subset(&set("0-1-105")));
        assert_eq!(set("0-2-108,1-1-3").subtract(&set("0-1-105")).to_string(), "0:106-108@2-108,1-1-3");
        assert_eq!(set("0-2-108,1-1-3").subtract(&set("0-1-105")).count(), 6);
        assert_eq!(set("0-1-105").union(&set("0-2-108")).to_string(), "0-1-105,0-2-108");
    }

    #[test]
    fn the_position_to_wait_for_has_one_entry_per_domain() {
        assert_eq!(set("0-1-105,0-2-108,1-1-3").position().as_deref(), Some("0-2-108,1-1-3"));
        assert_eq!(set("").position().as_deref(), Some(""));
        assert_eq!(set("0:106-108@2-108").position(), None);
        assert_eq!(set("0:1-108@2-107").position(), None);
    }

    #[test]
    fn the_same_number_from_two_servers_is_a_conflict() {
        assert_eq!(set("0-1-106").conflicts(&set("0-2-106")), [Conflict { domain: 0, seq: 106, left: 1, right: 2 }]);
        assert_eq!(set("0-1-105").conflicts(&set("0-2-106")), []);
        assert_eq!(set("0-1-106,0-2-105").conflicts(&set("0-1-106")), []);
        assert_eq!(set("0-1-106").conflicts(&set("1-2-106")), []);
    }

    #[test]
    fn extra_transactions_are_found_below_the_other_position() {
        // The old primary 1 wrote up to 107 when the new primary 2 had received up to 105, and went on to 120.
        let (old, new) = (set("0-1-107"), set("0-1-105,0-2-120"));
        assert!(old.is_subset(&new), "sequence numbers alone do not show it");
        assert_eq!(old.unknown_to(&new).to_string(), "0:106-107@1-107");
        assert!(set("0-1-105").unknown_to(&new).is_empty());
        assert_eq!(set("7-3-2").unknown_to(&new).to_string(), "7-3-2");
    }
}
