//! Filters: a condition as people write it enters; whether a statement fits leaves. `user = 'app' and query_time > 1s`.
//! What the input does not tell of a statement (its rows examined, say) fits no comparison. Whatever is wrong with a filter
//! is said with its column.

mod parse;

use std::sync::Arc;

use millrace_schemas::profile::Class;
use regex::bytes::Regex;

use super::{Observed, Times};

/// A condition on statements.
#[derive(Debug, Clone)]
pub struct Filter {
    text: String,
    root: Node,
}

/// Why a text is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the filter is wrong at column {column}: {what}\n  {filter}\n  {:>column$}", "^")]
pub struct BadFilter {
    filter: String,
    column: usize,
    what: String,
}

#[derive(Debug, Clone)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Text { field: TextField, test: TextTest },
    Number { field: NumberField, relation: Relation, value: u64, column: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TextField {
    User,
    Host,
    Schema,
    Digest,
    Kind,
    Table,
    Flag,
    Text,
    Sql,
}

#[derive(Debug, Clone)]
enum TextTest {
    Is(String),
    Matches(Regex),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NumberField {
    QueryTime,
    LockTime,
    RowsSent,
    RowsExamined,
    RowsAffected,
    BytesSent,
    Error,
    Thread,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

const TEXT_FIELDS: [(&str, TextField); 9] = [
    ("user", TextField::User),
    ("host", TextField::Host),
    ("schema", TextField::Schema),
    ("digest", TextField::Digest),
    ("kind", TextField::Kind),
    ("table", TextField::Table),
    ("flag", TextField::Flag),
    ("text", TextField::Text),
    ("sql", TextField::Sql),
];
const NUMBER_FIELDS: [(&str, NumberField); 8] = [
    ("query_time", NumberField::QueryTime),
    ("lock_time", NumberField::LockTime),
    ("rows_sent", NumberField::RowsSent),
    ("rows_examined", NumberField::RowsExamined),
    ("rows_affected", NumberField::RowsAffected),
    ("bytes_sent", NumberField::BytesSent),
    ("error", NumberField::Error),
    ("thread", NumberField::Thread),
];

impl Filter {
    /// Reads a condition.
    pub fn parse(text: &str) -> Result<Filter, BadFilter> {
        Ok(Filter { text: text.to_owned(), root: parse::parse(text)? })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the statement fits; `class` tells what its digest is, and is asked only where that is needed.
    pub fn fits(&self, one: &Observed<'_>, class: &mut dyn FnMut() -> Arc<Class>) -> bool {
        self.root.fits(one, class)
    }

    /// An error if it asks for what only single statements have: captures and servers give sums by digest.
    pub fn check_for_sums(&self) -> Result<(), BadFilter> {
        let Some((column, name)) = self.root.single() else { return Ok(()) };
        let what = format!("'{name}' cannot be asked of a capture or a server, whose statements are summed by digest");
        Err(BadFilter { filter: self.text.clone(), column, what })
    }
}

impl Node {
    fn fits(&self, one: &Observed<'_>, class: &mut dyn FnMut() -> Arc<Class>) -> bool {
        match self {
            Node::All(nodes) => nodes.iter().all(|node| node.fits(one, class)),
            Node::Any(nodes) => nodes.iter().any(|node| node.fits(one, class)),
            Node::Not(node) => !node.fits(one, class),
            Node::Text { field, test } => field.fits(test, one, class),
            Node::Number { field, relation, value, .. } => {
                field.of(one).is_some_and(|number| relation.holds(number, *value))
            }
        }
    }

    /// The first part that needs single statements.
    fn single(&self) -> Option<(usize, &'static str)> {
        match self {
            Node::All(nodes) | Node::Any(nodes) => nodes.iter().find_map(Node::single),
            Node::Not(node) => node.single(),
            Node::Text { .. } => None,
            Node::Number { field, column, .. } => {
                let name = NUMBER_FIELDS.iter().find(|(_, known)| known == field).map(|(name, _)| *name);
                name.map(|name| (*column, name))
            }
        }
    }
}

impl TextField {
    fn fits(self, test: &TextTest, one: &Observed<'_>, class: &mut dyn FnMut() -> Arc<Class>) -> bool {
        match self {
            TextField::User => test.fits(one.user.as_bytes()),
            TextField::Host => test.fits(one.host.as_bytes()),
            TextField::Schema => test.fits(one.schema.as_bytes()),
            TextField::Digest => test.fits(one.digest.to_string().as_bytes()),
            TextField::Kind => test.fits(class().kind.as_bytes()),
            TextField::Table => class().tables.iter().any(|table| test.fits(table.as_bytes())),
            TextField::Flag => one.flags.iter().any(|flag| test.fits(flag.as_bytes())),
            TextField::Text => test.fits(class().digest_text.as_bytes()),
            TextField::Sql => test.fits(one.text.sql),
        }
    }
}

impl TextTest {
    fn fits(&self, value: &[u8]) -> bool {
        match self {
            TextTest::Is(text) => text.as_bytes() == value,
            TextTest::Matches(regex) => regex.is_match(value),
        }
    }
}

impl NumberField {
    fn of(self, one: &Observed<'_>) -> Option<u64> {
        match self {
            NumberField::QueryTime => match one.times {
                Times::One(us) => Some(us),
                Times::Many { .. } => None,
            },
            NumberField::LockTime => one.lock_us,
            NumberField::RowsSent => Some(one.rows_sent),
            NumberField::RowsExamined => one.rows_examined,
            NumberField::RowsAffected => one.rows_affected,
            NumberField::BytesSent => one.bytes_sent,
            NumberField::Error => one.errors.map(|_| u64::from(one.error_code)),
            NumberField::Thread => one.thread,
        }
    }

    fn is_time(self) -> bool {
        matches!(self, NumberField::QueryTime | NumberField::LockTime)
    }
}

impl Relation {
    fn holds(self, a: u64, b: u64) -> bool {
        match self {
            Relation::Less => a < b,
            Relation::LessOrEqual => a <= b,
            Relation::Greater => a > b,
            Relation::GreaterOrEqual => a >= b,
            Relation::Equal => a == b,
            Relation::NotEqual => a != b,
        }
    }
}

#[cfg(test)]
mod tests;
