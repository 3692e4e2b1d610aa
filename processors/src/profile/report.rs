//! The profile as it is told: groups ranked, the limit kept, the rest in `other`.

use std::cmp::Reverse;

use millrace_schemas::digest::Syntax;
use millrace_schemas::profile::{Input, Other, Profile, SCHEMA_VERSION};

use super::group::{Group, Samples, share};
use super::sums::{Sums, rounded};
use super::{Tally, short};

/// How many groups are listed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// All that are kept apart.
    All,
    /// So many.
    Groups(usize),
    /// As many as make up so many per cent of what they are ranked by, but no more than so many.
    Share(f64, usize),
}

/// What a profile is to say.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// What was read.
    pub inputs: Vec<Input>,
    /// The filter, as it was written.
    pub filter: Option<String>,
    /// How many groups are listed.
    pub limit: Limit,
    /// Samples have their literals.
    pub show_literals: bool,
    /// How the statements are to be read.
    pub syntax: Syntax,
}

impl Tally {
    /// The profile of what was taken.
    pub fn profile(&self, wish: Wish) -> Profile {
        let mut ranked: Vec<&Group> = self.groups.values().map(Box::as_ref).collect();
        ranked.sort_by_key(|group| (Reverse(group.sums.weight(self.order_by)), group.name()));
        let listed = self.listed(&ranked, wish.limit);
        let (listed, rest) = ranked.split_at(listed);
        let seconds = self.overall.seconds();
        let whole = (&self.overall, &self.load);
        let samples = Samples { show_literals: wish.show_literals, syntax: wish.syntax };
        Profile {
            schema_version: SCHEMA_VERSION,
            inputs: wish.inputs,
            group_by: self.group_by,
            order_by: self.order_by,
            filter: wish.filter,
            filtered: self.filtered,
            overall: self.overall.measures(),
            seconds: rounded(seconds),
            concurrency: rounded(self.overall.time_us as f64 / 1e6 / seconds),
            load: self.load.load_like(&self.load),
            groups: (1..).zip(listed).map(|(rank, group)| group.told(rank, whole, &samples)).collect(),
            other: self.rest(rest),
            comparison: None,
        }
    }

    /// How many of the ranked groups are listed.
    fn listed(&self, ranked: &[&Group], limit: Limit) -> usize {
        let most = match limit {
            Limit::All => ranked.len(),
            Limit::Groups(most) | Limit::Share(_, most) => most.min(ranked.len()),
        };
        let Limit::Share(percent, _) = limit else { return most };
        let weight = |group: &&Group| u128::from(group.sums.weight(self.order_by));
        let all: u128 = ranked.iter().map(weight).sum::<u128>() + u128::from(self.other.weight(self.order_by));
        let wanted = (all as f64 * percent / 100.0).ceil() as u128;
        let mut reached = 0;
        let enough = ranked.iter().position(|group| {
            reached += weight(group);
            reached >= wanted
        });
        enough.map_or(most, |at| (at + 1).min(most))
    }

    fn rest(&self, rest: &[&Group]) -> Option<Other> {
        let back = |key: &&u128| self.folded.binary_search(&short(**key)).is_ok();
        let came_back = self.groups.keys().filter(back).count();
        let folded = (self.folded.len() - came_back) as u64;
        let groups = rest.len() as u64 + folded;
        if groups == 0 && self.other.calls == 0 {
            return None;
        }
        let mut sums: Sums = self.other.clone();
        for group in rest {
            sums.merge(&group.sums);
        }
        Some(Other {
            groups,
            groups_at_least: self.folded_more,
            folded,
            share_of_time: share(&sums, &self.overall),
            measures: sums.measures(),
        })
    }
}
