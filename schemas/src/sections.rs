//! Reads TOML and collects every problem with its line, instead of stopping at the first. A section hands out the keys that
//! it is asked for; what nobody asked for is a problem too, with the key that was probably meant.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::time::length;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub what: String,
}

/// All problems so far, and the text that lines are counted in.
#[derive(Debug)]
pub struct Problems<'t> {
    text: &'t str,
    /// In order of discovery.
    pub found: Vec<Problem>,
}

impl<'t> Problems<'t> {
    /// None yet.
    pub fn new(text: &'t str) -> Self {
        Self { text, found: Vec::new() }
    }

    /// Notes a problem at a byte of the text.
    pub fn note(&mut self, at: usize, what: impl Into<String>) {
        let line = self.line(at);
        self.found.push(Problem { line, what: what.into() });
    }

    /// The line of a byte of the text, from 1.
    pub fn line(&self, at: usize) -> usize {
        self.text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
    }
}

/// The tables of `text`; what is no TOML is noted, and the rest is read all the same.
pub fn recovered<'i>(text: &'i str, problems: &mut Problems<'_>) -> Spanned<DeTable<'i>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        problems.note(error.span().map_or(0, |span| span.start), error.message().to_owned());
    }
    table
}

/// The known key that differs from `key` by a slip or two: a letter that is missing, wrong, too many, or in the wrong place.
pub fn meant<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let slips = if key.len() < SHORT_KEY { 1 } else { 2 };
    let near = known.iter().map(|known| (strsim::osa_distance(key, known), *known));
    near.filter(|(distance, _)| *distance <= slips).min().map(|(_, known)| known)
}

/// Keys of fewer than 6 letters are near to many others: one slip is all that is granted them.
const SHORT_KEY: usize = 6;

/// A table of the file.
#[derive(Debug)]
pub struct Section<'a, 'i> {
    name: String,
    table: &'a DeTable<'i>,
    /// Where it begins, for what is missing.
    at: usize,
    asked: Vec<&'static str>,
}

impl<'a, 'i> Section<'a, 'i> {
    /// The whole file.
    pub fn root(table: &'a Spanned<DeTable<'i>>) -> Self {
        Self { name: String::new(), table: table.get_ref(), at: 0, asked: Vec::new() }
    }

    /// Where it begins.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Where the value of `key` stands; where the section begins when it is not there.
    pub fn at_key(&self, key: &str) -> usize {
        let found = self.table.iter().find(|(name, _)| name.get_ref() == key);
        found.map_or(self.at, |(_, value)| value.span().start)
    }

    fn get(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'i>>> {
        self.asked.push(key);
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    fn full(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn wrong(&self, key: &str, value: &Spanned<DeValue<'_>>, expected: &str, problems: &mut Problems<'_>) {
        let what = format!("{} is a {}; {expected} is expected", self.full(key), value.get_ref().type_str());
        problems.note(value.span().start, what);
    }

    /// A text, with where it stands.
    pub fn text(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<(String, usize)> {
        let value = self.get(key)?;
        if let Some(text) = value.get_ref().as_str() {
            return Some((text.to_owned(), value.span().start));
        }
        self.wrong(key, value, "a text in quotes", problems);
        None
    }

    /// A text that must be there.
    pub fn required(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<(String, usize)> {
        if !self.table.iter().any(|(name, _)| name.get_ref() == key) {
            self.asked.push(key);
            let place = if self.name.is_empty() { "the file".to_owned() } else { format!("[{}]", self.name) };
            problems.note(self.at, format!("{place} needs {key} = \"...\""));
            return None;
        }
        self.text(key, problems)
    }

    /// A text that something else is made of; what is wrong with it is a problem at its line.
    pub fn parsed<T, E: std::fmt::Display>(
        &mut self,
        key: &'static str,
        problems: &mut Problems<'_>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let (text, at) = self.required(key, problems)?;
        parse(&text).map_err(|error| problems.note(at, format!("{}: {error}", self.full(key)))).ok()
    }

    /// The same, when it is there.
    pub fn optional<T, E: std::fmt::Display>(
        &mut self,
        key: &'static str,
        problems: &mut Problems<'_>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let (text, at) = self.text(key, problems)?;
        parse(&text).map_err(|error| problems.note(at, format!("{}: {error}", self.full(key)))).ok()
    }

    /// A list of texts that something is made of each; none when it is not there.
    pub fn all_parsed<T, E: std::fmt::Display>(
        &mut self,
        key: &'static str,
        problems: &mut Problems<'_>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            self.wrong(key, value, "a list of texts", problems);
            return Vec::new();
        };
        let mut made = Vec::new();
        for item in array {
            match item.get_ref().as_str().map(&parse) {
                Some(Ok(one)) => made.push(one),
                Some(Err(error)) => problems.note(item.span().start, format!("{}: {error}", self.full(key))),
                None => self.wrong(key, item, "a text in quotes", problems),
            }
        }
        made
    }

    /// A path.
    pub fn path(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<PathBuf> {
        self.text(key, problems).map(|(text, _)| PathBuf::from(text))
    }

    /// A port.
    pub fn port(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<u16> {
        let value = self.get(key)?;
        let number = value.get_ref().as_integer().and_then(|number| number.as_str().parse::<u16>().ok());
        if number.is_none_or(|port| port == 0) {
            self.wrong(key, value, "a port from 1 to 65535", problems);
        }
        number.filter(|port| *port != 0)
    }

    /// A whole number of a range.
    pub fn number(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u32>,
        problems: &mut Problems<'_>,
    ) -> Option<u32> {
        let value = self.get(key)?;
        let number = value.get_ref().as_integer().and_then(|number| number.as_str().parse::<u32>().ok());
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            self.wrong(key, value, &format!("a whole number from {} to {}", range.start(), range.end()), problems);
        }
        number
    }

    /// A number, whole or not.
    pub fn float(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<(f64, usize)> {
        let value = self.get(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => number.as_str().parse::<f64>().ok(),
            DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
            _ => None,
        };
        let number = number.filter(|number| number.is_finite());
        if number.is_none() {
            self.wrong(key, value, "a number", problems);
        }
        number.map(|number| (number, value.span().start))
    }

    /// True or false.
    pub fn flag(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<(bool, usize)> {
        let value = self.get(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.wrong(key, value, "true or false", problems);
        }
        flag.map(|flag| (flag, value.span().start))
    }

    /// A time such as "30s", "5m", "2h" or "7d".
    pub fn duration(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<(Duration, usize)> {
        let (text, at) = self.text(key, problems)?;
        let read = length(&text);
        if let Err(why) = &read {
            problems.note(at, format!("{}: {why}", self.full(key)));
        }
        read.ok().map(|read| (read, at))
    }

    /// A time of a range.
    pub fn duration_in(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
        problems: &mut Problems<'_>,
    ) -> Option<Duration> {
        let (time, at) = self.duration(key, problems)?;
        if !range.contains(&time) {
            let (least, most) = (range.start().as_secs(), range.end().as_secs());
            problems.note(
                at,
                format!("{}: {} s is no time from \"{least}s\" to \"{most}s\"", self.full(key), time.as_secs()),
            );
            return None;
        }
        Some(time)
    }

    /// A sub-table whose keys are the writer's own and whose values are texts.
    pub fn texts(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<(Vec<(String, String)>, usize)> {
        let value = self.get(key)?;
        let Some(table) = value.get_ref().as_table() else {
            self.wrong(key, value, "a section", problems);
            return None;
        };
        let mut texts = Vec::new();
        for (name, text) in table {
            match text.get_ref().as_str() {
                Some(text) => texts.push((name.get_ref().to_string(), text.to_owned())),
                None => self.wrong(key, text, "a text in quotes", problems),
            }
        }
        Some((texts, value.span().start))
    }

    /// Keys that are known, and that nobody needs now.
    pub fn pass_over(&mut self, keys: &[&'static str]) {
        self.asked.extend(keys);
    }

    /// Whether `key` is there.
    pub fn has(&self, key: &str) -> bool {
        self.table.iter().any(|(name, _)| name.get_ref() == key)
    }

    /// A sub-table.
    pub fn section(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<Section<'a, 'i>> {
        let value = self.get(key)?;
        let Some(table) = value.get_ref().as_table() else {
            self.wrong(key, value, "a section", problems);
            return None;
        };
        Some(Section { name: self.full(key), table, at: value.span().start, asked: Vec::new() })
    }

    /// An array of sub-tables.
    pub fn sections(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Vec<Section<'a, 'i>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            self.wrong(key, value, "a list of sections ([[...]])", problems);
            return Vec::new();
        };
        let name = self.full(key);
        array
            .iter()
            .filter_map(|item| {
                let table = item.get_ref().as_table();
                if table.is_none() {
                    self.wrong(key, item, "a section", problems);
                }
                Some(Section { name: name.clone(), table: table?, at: item.span().start, asked: Vec::new() })
            })
            .collect()
    }

    /// Notes every key that nobody asked for.
    pub fn finish(self, problems: &mut Problems<'_>) {
        for (key, _) in self.table {
            let name: &str = key.get_ref();
            if !self.asked.contains(&name) {
                let known = self.asked.join(", ");
                let meant =
                    meant(name, &self.asked).map_or_else(String::new, |meant| format!("; {meant} is probably meant"));
                problems
                    .note(key.span().start, format!("{} is not known{meant}; known here: {known}", self.full(name)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_that_was_probably_meant_is_near() {
        const KNOWN: [&str; 6] = ["host", "state-dir", "instances-dir", "templates-dir", "capture", "port"];
        let check = |key: &str, expected: Option<&str>| assert_eq!(meant(key, &KNOWN), expected, "{key}");
        check("state_dir", Some("state-dir"));
        check("statedir", Some("state-dir"));
        check("instance-dir", Some("instances-dir"));
        check("cpature", Some("capture"));
        check("hots", Some("host"));
        check("prot", Some("port"));
        check("post", Some("host")); // as near as port: the first in the alphabet
        check("colour", None);
        check("hosts-dir", None);
        check("", None);
    }
}
