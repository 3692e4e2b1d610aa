//! All numbers that a server gives of itself, for samples: its status and its settings. In: a session. Out: names as the server
//! prints them, with their values; ON and OFF are 1 and 0, and what is no number is left out. What is kept of it is decided elsewhere.

use crate::connect::Session;
use crate::error::Error;

/// Names with their values.
pub type Numbers = Vec<(String, f64)>;

/// The whole status, in one statement: some 500 rows.
pub async fn status(session: &mut Session) -> Result<Numbers, Error> {
    read(session, "SHOW GLOBAL STATUS").await
}

/// The settings named. Names that a server does not know cost nothing.
pub async fn settings(session: &mut Session, names: &[&str]) -> Result<Numbers, Error> {
    let listed: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    read(session, &format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ({})", listed.join(","))).await
}

/// What InnoDB says beside the status: how many seconds its oldest transaction is open, and how many deadlocks it has ended. It
/// needs the right PROCESS, as what else is asked does.
pub async fn innodb(session: &mut Session) -> Result<Numbers, Error> {
    const ASK: &str = "SELECT 'oldest_transaction_seconds', \
         COALESCE(MAX(TIMESTAMPDIFF(SECOND, trx_started, NOW())), 0) FROM information_schema.INNODB_TRX \
         UNION ALL SELECT 'deadlocks', `COUNT` FROM information_schema.INNODB_METRICS WHERE `NAME` = 'lock_deadlocks'";
    read(session, ASK).await
}

async fn read(session: &mut Session, statement: &str) -> Result<Numbers, Error> {
    let rows = session.rows(statement).await?;
    let pairs = rows.iter().filter_map(|row| Some((row.nth(0)?, number(&row.nth(1)?)?)));
    Ok(pairs.collect())
}

/// A value that servers print as a number, or as a switch.
fn number(text: &str) -> Option<f64> {
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is(&["ON", "YES"]) {
        Some(1.0)
    } else if is(&["OFF", "NO"]) {
        Some(0.0)
    } else {
        // A server may well be called "inf".
        text.parse().ok().filter(|number: &f64| number.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_numbers_and_texts_are_not() {
        let check = |text: &str, expected: Option<f64>| assert_eq!(number(text), expected, "{text}");
        check("17", Some(17.0));
        check("-1", Some(-1.0));
        check("0.25", Some(0.25));
        check("18446744073709551615", Some(18_446_744_073_709_551_615.0));
        check("ON", Some(1.0));
        check("off", Some(0.0));
        check("No", Some(0.0));
        check("", None);
        check("NaN", None);
        check("inf", None);
        check("ROW", None);
        check("ON_PERMISSIVE", None);
    }
}
