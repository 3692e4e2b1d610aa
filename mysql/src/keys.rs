//! How much of its numbers a key has used: columns that count up by themselves, and primary keys of one whole number that an
//! application fills. In: a session. Out: the fullest ones. Nothing is read of rows but the highest key of a table, which its index
//! answers at once. `information_schema` opens tables for this, so that it is asked once an hour and given up when it takes long.

use std::time::Duration;

use millrace_schemas::flavour::Flavour;

use crate::connect::Session;
use crate::error::Error;
use crate::rows::Row;

/// 20 s: a server with so many tables that it needs longer is better left alone.
const WITHIN: Duration = Duration::from_secs(20);
/// 500 tables whose highest key is asked for, the largest first: a fraction of a millisecond each.
const ASKED_MAX: usize = 500;
/// The 20 fullest: what matters is the first, and a series each is cheap.
pub const FULLEST: usize = 20;

/// Schemas that are the server's own.
const NOT_OWN: &str = "('mysql', 'sys', 'performance_schema', 'information_schema')";

/// A column and how much of its range is used.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// Its schema.
    pub schema: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub column: String,
    /// The highest number that was given out, as a share of the highest that the column takes: 0..1.
    pub used: f64,
}

/// The fullest keys, the fullest first. Tables that the account may not read are left out.
pub async fn fullest(session: &mut Session, flavour: Flavour) -> Result<Vec<Key>, Error> {
    let limit = match flavour {
        // MySQL caches what `information_schema` says of a table for a day, unless it is told not to.
        Flavour::MySql => "SET SESSION information_schema_stats_expiry = 0, max_execution_time = 20000",
        Flavour::MariaDb => "SET SESSION max_statement_time = 20",
    };
    // 5.7 has no such cache.
    if session.execute(limit).await.is_err() {
        session.execute("SET SESSION max_execution_time = 20000").await?;
    }
    let mut keys = counting_up(session).await?;
    keys.extend(filled_by_applications(session).await?);
    keys.sort_by(|one, other| other.used.total_cmp(&one.used));
    keys.truncate(FULLEST);
    Ok(keys)
}

async fn counting_up(session: &mut Session) -> Result<Vec<Key>, Error> {
    let statement = format!(
        "SELECT c.TABLE_SCHEMA, c.TABLE_NAME, c.COLUMN_NAME, c.COLUMN_TYPE, t.AUTO_INCREMENT \
         FROM information_schema.COLUMNS c JOIN information_schema.TABLES t \
         ON t.TABLE_SCHEMA = c.TABLE_SCHEMA AND t.TABLE_NAME = c.TABLE_NAME \
         WHERE c.EXTRA LIKE '%auto_increment%' AND t.AUTO_INCREMENT IS NOT NULL AND c.TABLE_SCHEMA NOT IN {NOT_OWN}"
    );
    let rows = session.rows_within(&statement, WITHIN).await?;
    // The column says what comes next: the one before was given out.
    Ok(rows.iter().filter_map(|row| key(row, row.number("AUTO_INCREMENT")?.saturating_sub(1))).collect())
}

async fn filled_by_applications(session: &mut Session) -> Result<Vec<Key>, Error> {
    let statement = format!(
        "SELECT c.TABLE_SCHEMA, c.TABLE_NAME, c.COLUMN_NAME, c.COLUMN_TYPE \
         FROM information_schema.COLUMNS c JOIN information_schema.TABLES t \
         ON t.TABLE_SCHEMA = c.TABLE_SCHEMA AND t.TABLE_NAME = c.TABLE_NAME \
         WHERE c.COLUMN_KEY = 'PRI' AND c.EXTRA NOT LIKE '%auto_increment%' AND t.TABLE_TYPE = 'BASE TABLE' \
         AND c.DATA_TYPE IN ('tinyint', 'smallint', 'mediumint', 'int', 'bigint') AND c.TABLE_SCHEMA NOT IN {NOT_OWN} \
         AND (SELECT COUNT(*) FROM information_schema.STATISTICS s WHERE s.TABLE_SCHEMA = c.TABLE_SCHEMA \
         AND s.TABLE_NAME = c.TABLE_NAME AND s.INDEX_NAME = 'PRIMARY') = 1 ORDER BY t.TABLE_ROWS DESC LIMIT {ASKED_MAX}"
    );
    let mut keys = Vec::new();
    for row in session.rows_within(&statement, WITHIN).await? {
        let (Some(schema), Some(table), Some(column)) =
            (row.text("TABLE_SCHEMA"), row.text("TABLE_NAME"), row.text("COLUMN_NAME"))
        else {
            continue;
        };
        let highest = format!("SELECT MAX({}) FROM {}.{}", quoted(&column), quoted(&schema), quoted(&table));
        match session.value(&highest).await {
            // None of an empty table; a negative one has used nothing.
            Ok(value) => keys.extend(value.and_then(|value| key(&row, value.parse().ok()?))),
            Err(error) if session.is_usable() => tracing::debug!(%error, "a key is not known"),
            Err(error) => return Err(error),
        }
    }
    Ok(keys)
}

fn key(row: &Row, used: u64) -> Option<Key> {
    let most = most(&row.text("COLUMN_TYPE")?)?;
    Some(Key {
        schema: row.text("TABLE_SCHEMA")?,
        table: row.text("TABLE_NAME")?,
        column: row.text("COLUMN_NAME")?,
        used: used as f64 / most as f64,
    })
}

/// The highest number that a column takes, by its type as servers print it: `int(11)`, `bigint unsigned`.
fn most(column_type: &str) -> Option<u64> {
    let name = column_type.split(['(', ' ']).next()?;
    let bits = match name.to_ascii_lowercase().as_str() {
        "tinyint" => 8,
        "smallint" => 16,
        "mediumint" => 24,
        "int" => 32,
        "bigint" => 64,
        _ => return None, // a floating-point column may count up too, and has no last number
    };
    let unsigned = column_type.to_ascii_lowercase().contains("unsigned");
    Some(u64::MAX >> (64 - bits + u32::from(!unsigned)))
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_says_its_highest_number() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(most(text), expected, "{text}");
        check("tinyint", Some(127));
        check("tinyint(3) unsigned", Some(255));
        check("smallint(6)", Some(32_767));
        check("mediumint unsigned", Some(16_777_215));
        check("int", Some(2_147_483_647));
        check("int(10) unsigned zerofill", Some(4_294_967_295));
        check("bigint(20)", Some(9_223_372_036_854_775_807));
        check("BIGINT UNSIGNED", Some(u64::MAX));
        check("double", None);
    }

    #[test]
    fn a_name_stays_a_name() {
        assert_eq!(quoted("a`b"), "`a``b`");
    }
}
