//! What a server's threads do: a session enters, how many threads are in which state leaves. The server adds them up, so that an answer has
//! a row for each state and not for each connection. It needs the right to see the threads of others.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_schemas::flavour::Flavour;

use crate::connect::Session;
use crate::error::Error;

/// 300 ms: it takes some ms at ten thousand connections, and a sample must not be late for it.
const WITHIN: Duration = Duration::from_millis(300);
/// 20 states that most threads are in; the others are added up as one.
pub const STATES: usize = 20;
/// What those are called.
pub const OTHER: &str = "other";
/// 64 bytes of a state tell which one it is.
const NAME_BYTES: usize = 64;

/// How many threads are in which state, without the one that asks. A connection that waits for its client is `idle`, a thread without a
/// word about itself `none`.
pub async fn states(session: &mut Session, flavour: Flavour) -> Result<BTreeMap<String, u64>, Error> {
    let rows = session.rows_within(statement(flavour), WITHIN).await?;
    let counted = rows.iter().filter_map(|row| Some((row.nth(0)?, row.nth(1)?.parse().ok()?)));
    Ok(within(counted))
}

fn statement(flavour: Flavour) -> &'static str {
    match flavour {
        // Unlike the list of processes this one takes no lock that connections need.
        Flavour::MySql => {
            "SELECT IF(PROCESSLIST_COMMAND = 'Sleep', 'idle', COALESCE(NULLIF(PROCESSLIST_STATE, ''), 'none')) AS state, \
             COUNT(*) FROM performance_schema.threads \
             WHERE PROCESSLIST_ID IS NOT NULL AND PROCESSLIST_ID <> CONNECTION_ID() GROUP BY state"
        }
        Flavour::MariaDb => {
            "SELECT IF(COMMAND = 'Sleep', 'idle', COALESCE(NULLIF(STATE, ''), 'none')) AS state, COUNT(*) \
             FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() GROUP BY 1"
        }
    }
}

/// As many states as may be told, by names as labels have them.
fn within(counted: impl Iterator<Item = (String, u64)>) -> BTreeMap<String, u64> {
    let mut states: BTreeMap<String, u64> = BTreeMap::new();
    for (state, threads) in counted {
        *states.entry(name(&state)).or_default() += threads;
    }
    let mut in_order: Vec<(String, u64)> = states.into_iter().collect();
    in_order.sort_by_key(|(_, threads)| std::cmp::Reverse(*threads));
    let rest = in_order.split_off(in_order.len().min(STATES));
    let mut told: BTreeMap<String, u64> = in_order.into_iter().collect();
    if !rest.is_empty() {
        *told.entry(OTHER.to_owned()).or_default() += rest.iter().map(|(_, threads)| threads).sum::<u64>();
    }
    told
}

/// "Waiting for table metadata lock" is `waiting_for_table_metadata_lock`.
fn name(state: &str) -> String {
    let words = state.split(|char: char| !char.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut name = words.collect::<Vec<_>>().join("_").to_ascii_lowercase();
    name.truncate(NAME_BYTES); // it is ASCII
    if name.is_empty() { OTHER.to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_names_of_labels_and_those_with_few_threads_are_one() {
        let check = |state: &str, expected: &str| assert_eq!(name(state), expected);
        check("Waiting for table metadata lock", "waiting_for_table_metadata_lock");
        check(
            "Source has sent all binlog to replica; waiting for more",
            "source_has_sent_all_binlog_to_replica_waiting_for_more",
        );
        check("idle", "idle");
        check("é;", "other");
        assert_eq!(name(&"a ".repeat(90)).len(), NAME_BYTES);
        let many = (1..=23).map(|at| (format!("state {at}"), at)).chain([("STATE-23".to_owned(), 100)]);
        let told = within(many);
        assert_eq!(told.len(), STATES + 1);
        assert_eq!((told["state_23"], told["state_4"], told[OTHER]), (123, 4, 1 + 2 + 3));
    }
}
