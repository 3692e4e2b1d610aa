//! The sentence of a rule. In: a text with fields in braces, and what they stand for. Out: the sentence, with numbers as people
//! say them. A field that nothing fills is refused where the rule is read, not when it is needed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::rule::Unit;

/// 300 characters of a sentence: the value of a label can be longer than anybody reads.
const LONGEST: usize = 300;

/// Fields that every rule has.
const FIELDS: [&str; 5] = ["instance", "cluster", "value", "limit", "for"];

/// A sentence with gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(String),
}

impl Template {
    /// Reads one. `labels` are the fields that its metric adds.
    pub(super) fn parse(text: &str, labels: &[&str]) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (field, behind) = after.split_once('}').ok_or("a brace is open and not closed")?;
            if !FIELDS.contains(&field) && !labels.contains(&field) {
                let known = FIELDS.iter().chain(labels).copied().collect::<Vec<_>>().join(", ");
                return Err(format!("{{{field}}} is no field of it; known here: {known}"));
            }
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Field(field.to_owned()));
            rest = behind;
        }
        if rest.contains('}') {
            return Err("a brace is closed and was not open".to_owned());
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| *part != Part::Text(String::new()));
        if parts.is_empty() { Err("it says nothing".to_owned()) } else { Ok(Self(parts)) }
    }

    /// The sentence.
    pub(super) fn say(&self, fields: &BTreeMap<&str, String>) -> String {
        let words = self.0.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Field(field) => fields.get(field.as_str()).map_or("?", String::as_str),
        });
        cut(&words.collect::<String>())
    }

    /// The text that it was read from, each field as `say` has it.
    pub fn with(&self, say: impl Fn(&str) -> String) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Field(field) => say(field),
        };
        self.0.iter().map(part).collect()
    }
}

/// At most [`LONGEST`] characters.
pub(crate) fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

/// A number as people say it.
pub fn number(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Share => format!("{}%", digits(value * 100.0)),
        Unit::Times => format!("{} times", digits(value)),
        Unit::Seconds => span(value),
        Unit::Hours => span(value * 3_600.0),
        Unit::Bytes => bytes(value),
        Unit::Boolean => (if value == 0.0 { "no" } else { "yes" }).to_owned(),
        Unit::Of(what) => format!("{} {what}", digits(value)),
        Unit::PerSecond(what) => format!("{} {what} a second", digits(value)),
        Unit::None => String::new(),
    }
}

/// A time that a rule names.
pub fn duration(time: Duration) -> String {
    span(time.as_secs_f64())
}

/// Three digits are enough to judge by.
fn digits(value: f64) -> String {
    let text = match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..10 => format!("{} s", digits(seconds)),
        10..120 => format!("{whole} s"),
        120..7_200 => format!("{} min", whole / 60),
        7_200..172_800 => format!("{} h", whole / 3_600),
        _ => format!("{} days", whole / 86_400),
    }
}

fn bytes(value: f64) -> String {
    let mut value = value;
    for unit in ["bytes", "KiB", "MiB", "GiB"] {
        if value.abs() < 1_024.0 {
            return format!("{} {unit}", digits(value));
        }
        value /= 1_024.0;
    }
    format!("{} TiB", digits(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_said_as_people_say_them() {
        let check = |value, unit, expected: &str| assert_eq!(number(value, unit), expected);
        check(0.912_3, Unit::Share, "91.2%");
        check(1.0, Unit::Share, "100%");
        check(3.25, Unit::Times, "3.25 times");
        check(7.5, Unit::Seconds, "7.5 s");
        check(119.9, Unit::Seconds, "119 s");
        check(120.0, Unit::Seconds, "2 min");
        check(5.5, Unit::Hours, "5 h");
        check(72.0, Unit::Hours, "3 days");
        check(1_536.0, Unit::Bytes, "1.5 KiB");
        check(5e12, Unit::Bytes, "4.55 TiB");
        check(0.0, Unit::Boolean, "no");
        check(100.0, Unit::Of("threads"), "100 threads");
        check(0.214, Unit::PerSecond("deadlocks"), "0.21 deadlocks a second");
    }

    #[test]
    fn a_sentence_has_its_fields_filled_or_is_refused() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let fields = BTreeMap::from([("instance", "db1".to_owned()), ("command", "select".to_owned())]);
            let said = Template::parse(text, &["command"]).map(|template| template.say(&fields));
            match expected {
                Ok(expected) => assert_eq!(said.as_deref(), Ok(expected), "{text}"),
                Err(part) => assert!(said.as_ref().is_err_and(|why| why.contains(part)), "{text}: {said:?}"),
            }
        };
        check("{instance}: {command}s", Ok("db1: selects"));
        check("plain", Ok("plain"));
        check("{mode} of {instance}", Err("{mode} is no field"));
        check("{instance", Err("open and not closed"));
        check("instance}", Err("was not open"));
        check("", Err("says nothing"));
        let long = Template::parse(&"x".repeat(400), &[]).expect("a text").say(&BTreeMap::new());
        assert_eq!(long.len(), LONGEST + 3);
    }
}
