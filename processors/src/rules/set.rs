//! The rules in force: those that are shipped, and the user's file over them. Text enters, rules leave, or every problem with its
//! line. A rule of the same name changes a shipped one, `off = true` switches it off, any other name adds one.

use std::sync::Arc;

use millrace_schemas::sections::{Problem, Problems, Section, meant, recovered};
use xxhash_rust::xxh3::xxh3_64;

use super::check;
use super::draft::{self, Draft};
use super::rule::Rule;

/// What is shipped.
pub const SHIPPED: &str = include_str!("shipped.toml");

/// Rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// In the order of the files.
    pub all: Vec<Rule>,
    /// Names of shipped rules that are switched off.
    pub off: Vec<String>,
    /// Tells sets of rules apart: what a state was judged under.
    pub set: u64,
}

impl Rules {
    /// Those that are shipped alone.
    pub fn shipped() -> Arc<Self> {
        Arc::new(Self::read("").unwrap_or_else(|problems| panic!("the shipped rules are right: {problems:?}")))
    }

    /// Those that are shipped, and `text` over them.
    pub fn read(text: &str) -> Result<Self, Vec<Problem>> {
        let mut shipped_problems = Problems::new(SHIPPED);
        let shipped = drafts(SHIPPED, &mut shipped_problems);
        let mut problems = Problems::new(text);
        let users = drafts(text, &mut problems);
        once(&users, &mut problems);
        let (mut all, mut off) = (Vec::new(), Vec::new());
        for base in &shipped {
            let Some(user) = users.iter().find(|user| user.name.0 == base.name.0) else {
                all.extend(check::rule(base, &mut shipped_problems));
                continue;
            };
            if user.off.is_some_and(|(off, _)| off) {
                off.push(base.name.0.clone());
            } else {
                all.extend(check::rule(&user.clone().over(base), &mut problems));
            }
        }
        let names: Vec<&str> = shipped.iter().map(|base| base.name.0.as_str()).collect();
        for user in users.into_iter().filter(|user| !names.contains(&user.name.0.as_str())) {
            if let Some((true, at)) = user.off {
                let near = meant(&user.name.0, &names);
                let near = near.map_or_else(String::new, |near| format!("; {near} is probably meant"));
                problems.note(at, format!("{} is no shipped rule that could be switched off{near}", user.name.0));
                continue;
            }
            all.extend(check::rule(&Draft { changed: true, ..user }, &mut problems));
        }
        assert!(shipped_problems.found.is_empty(), "the shipped rules are right: {:?}", shipped_problems.found);
        if !problems.found.is_empty() {
            problems.found.sort_by_key(|problem| problem.line);
            problems.found.dedup();
            return Err(problems.found);
        }
        let set = xxh3_64(format!("{all:?}").as_bytes());
        Ok(Self { all, off, set })
    }

    /// The rule of that name.
    pub fn named(&self, name: &str) -> Option<&Rule> {
        self.all.iter().find(|rule| rule.name == name)
    }

    /// Only the rule of that name.
    pub fn only(mut self, name: &str) -> Option<Self> {
        self.all.retain(|rule| rule.name == name);
        self.set = xxh3_64(format!("{:?}", self.all).as_bytes());
        (!self.all.is_empty()).then_some(self)
    }
}

fn drafts(text: &str, problems: &mut Problems<'_>) -> Vec<Draft> {
    let table = recovered(text, problems);
    let mut root = Section::root(&table);
    let drafts = draft::read_all(&mut root, problems);
    root.finish(problems);
    drafts
}

/// A name twice in one file would leave it open which of both holds.
fn once(drafts: &[Draft], problems: &mut Problems<'_>) {
    for (at, draft) in drafts.iter().enumerate() {
        if let Some(before) = drafts[..at].iter().find(|before| before.name.0 == draft.name.0) {
            let line = problems.line(before.name.1);
            problems.note(draft.name.1, format!("{} is there already (line {line})", draft.name.0));
        }
    }
}
