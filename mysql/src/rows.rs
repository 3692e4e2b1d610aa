//! Rows as servers send them, read by column name without ever panicking: a column that is missing, NULL or of another type
//! in some version is `None`, and whoever needs it says so by name.

use mysql_async::Value;

/// One row of an answer.
#[derive(Debug, Clone)]
pub struct Row(mysql_async::Row);

impl Row {
    pub(crate) fn new(row: mysql_async::Row) -> Self {
        Self(row)
    }

    /// The column named `name`, in any letter case, as text; `None` if it is missing or NULL. Bytes that are no UTF-8 are
    /// replaced, since server texts are shown to people and compared only where they are plain.
    pub fn text(&self, name: &str) -> Option<String> {
        let index = self.0.columns_ref().iter().position(|column| column.name_str().eq_ignore_ascii_case(name))?;
        self.nth(index)
    }

    /// The first of `names` that is a column with a value: for columns that were renamed.
    pub fn text_of(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.text(name))
    }

    /// The column named `name` as a whole number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.trim().parse().ok()
    }

    /// The first of `names` that is a column with a whole number.
    pub fn number_of(&self, names: &[&str]) -> Option<u64> {
        names.iter().find_map(|name| self.number(name))
    }

    /// The column at `index`, counted from 0, as text; `None` if it is missing or NULL.
    pub fn nth(&self, index: usize) -> Option<String> {
        match self.0.as_ref(index)? {
            Value::NULL => None,
            Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            Value::Int(number) => Some(number.to_string()),
            Value::UInt(number) => Some(number.to_string()),
            Value::Float(number) => Some(number.to_string()),
            Value::Double(number) => Some(number.to_string()),
            other => Some(other.as_sql(true).trim_matches('\'').to_owned()),
        }
    }
}
