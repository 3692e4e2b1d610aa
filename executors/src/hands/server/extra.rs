//! Transactions that one server has and the primary does not: named by the tables that they touch, read from the server's
//! own binary logs over SQL; and neutralised, which gives the primary empty transactions of the same names.

use std::collections::BTreeMap;

use millrace_mysql::{Flavour, GtidSet};
use millrace_schemas::topics::actions::{ExtraTransaction, Report};

use super::{Owned, Trouble};

/// 3 binary logs: extra transactions are the last ones before a crash, and each start opens a new file.
const FILES_MAX: usize = 3;
/// 200,000 events a file: some 100 MB of small transactions, a second of reading.
const EVENTS_MAX: usize = 200_000;
/// 1,000 transactions are named; a server with more extra ones is rebuilt, whatever they are.
const NAMED_MAX: usize = 1_000;

/// Names the transactions of `extra`.
pub async fn name_extra(server: &mut Owned, extra: &GtidSet) -> Result<Report, Trouble> {
    if extra.count() > NAMED_MAX as u64 {
        return Err(Trouble::Unfit(format!("{} extra transactions: rebuild it", extra.count())));
    }
    let files: Vec<String> =
        server.session.rows("SHOW BINARY LOGS").await?.iter().filter_map(|row| row.nth(0)).collect();
    let mut found: BTreeMap<String, ExtraTransaction> = BTreeMap::new();
    for file in files.iter().rev().take(FILES_MAX) {
        if file.contains(['\'', '\\']) {
            return Err(Trouble::Unfit(format!("the binary log {file} has a name that cannot be quoted")));
        }
        let statement = format!("SHOW BINLOG EVENTS IN '{file}' LIMIT {EVENTS_MAX}");
        let rows = server.session.rows(&statement).await?;
        let events =
            rows.iter().filter_map(|row| Some((row.text("Event_type")?, row.text("Info").unwrap_or_default())));
        collect(extra, events, &mut found);
    }
    let transactions: Vec<ExtraTransaction> = found.into_values().collect();
    let note = Some(format!("{} of {} named", transactions.len(), extra.count()));
    if (transactions.len() as u64) < extra.count() {
        // Unknown is never "fine": an unnamed transaction may touch anything.
        let mut all = transactions;
        all.push(ExtraTransaction { gtid: "further transactions".to_owned(), tables: Vec::new() });
        return Ok(Report { transactions: all, note, ..Report::default() });
    }
    Ok(Report { transactions, note, ..Report::default() })
}

/// Walks the events of a binary log and keeps the transactions of `extra`.
fn collect(
    extra: &GtidSet,
    events: impl Iterator<Item = (String, String)>,
    found: &mut BTreeMap<String, ExtraTransaction>,
) {
    let mut current: Option<ExtraTransaction> = None;
    let mut keep = |done: Option<ExtraTransaction>| {
        if let Some(done) = done {
            found.insert(done.gtid.clone(), done);
        }
    };
    for (kind, info) in events {
        match kind.as_str() {
            "Gtid" => {
                keep(current.take());
                let gtid = gtid_of(extra.flavour(), &info);
                let wanted =
                    gtid.filter(|gtid| GtidSet::parse(extra.flavour(), gtid).is_ok_and(|one| holds(extra, &one)));
                current = wanted.map(|gtid| ExtraTransaction { gtid, tables: Vec::new() });
            }
            "Table_map" => {
                if let (Some(current), Some(table)) = (&mut current, table_of(&info))
                    && !current.tables.contains(&table)
                {
                    current.tables.push(table);
                }
            }
            // A statement in the log is a change of structure or of something else than rows: not ours, whatever it names.
            "Query" if info != "BEGIN" && info != "COMMIT" => {
                if let Some(current) = &mut current {
                    current.tables.push(format!("(statement) {}", info.chars().take(80).collect::<String>()));
                }
            }
            _ => {}
        }
    }
    keep(current.take());
}

/// Whether the one transaction of `one` is in `extra`. A `MariaDB` text names a position, which reaches back to the first
/// number: there it counts when taking it away changes what is extra.
fn holds(extra: &GtidSet, one: &GtidSet) -> bool {
    match extra.flavour() {
        Flavour::MySql => one.is_subset(extra).unwrap_or(false),
        Flavour::MariaDb => extra.subtract(one).is_ok_and(|rest| rest.count() < extra.count()),
    }
}

fn gtid_of(flavour: Flavour, info: &str) -> Option<String> {
    match flavour {
        Flavour::MySql => info.split_once('\'')?.1.split_once('\'').map(|(gtid, _)| gtid.to_owned()),
        Flavour::MariaDb => info.split_once("GTID ")?.1.split_whitespace().next().map(str::to_owned),
    }
}

fn table_of(info: &str) -> Option<String> {
    Some(info.split_once('(')?.1.split_once(')')?.0.to_owned())
}

/// On the primary: gives the transactions of `extra` empty bodies, so that whoever has them can follow.
pub async fn neutralise(server: &mut Owned, extra: &GtidSet) -> Result<Report, Trouble> {
    let GtidSet::MySql(set) = extra else {
        let say = "MariaDB cannot write an empty transaction under another server's number; rebuild the member";
        return Err(Trouble::Unfit(say.to_owned()));
    };
    let executed = server.executed().await?;
    let GtidSet::MySql(missing) = extra.subtract(&executed)? else { return Ok(Report::default()) };
    if missing.is_empty() {
        return Ok(Report { already: true, executed: Some(executed), ..Report::default() });
    }
    if set.count() > NAMED_MAX as u64 {
        return Err(Trouble::Unfit(format!("{} extra transactions: rebuild the member", set.count())));
    }
    server.session.execute("SET SESSION sql_log_bin=1").await?;
    for gtid in missing.gtids() {
        let [next, begin, commit, automatic] = server.dialect.write_empty_transaction(&gtid)?;
        let mut written = Ok(());
        for statement in [next, begin, commit] {
            written = server.session.execute(&statement).await;
            if written.is_err() {
                break;
            }
        }
        server.session.execute(&automatic).await?;
        written?;
    }
    server.session.execute("SET SESSION sql_log_bin=0").await?;
    Ok(Report {
        executed: Some(server.executed().await?),
        note: Some(format!("{extra} is empty now")),
        ..Report::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(of: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
        of.iter().map(|(kind, info)| ((*kind).to_owned(), (*info).to_owned())).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn names_the_tables_of_extra_transactions_only() {
        let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        let extra = GtidSet::parse(Flavour::MySql, &format!("{uuid}:2-3")).expect("a set");
        let gtid = |n: u32| format!("SET @@SESSION.GTID_NEXT= '{uuid}:{n}'");
        let mut found = BTreeMap::new();
        let log = [
            ("Gtid", gtid(1)),
            ("Table_map", "table_id: 1 (shop.orders)".to_owned()),
            ("Gtid", gtid(2)),
            ("Query", "BEGIN".to_owned()),
            ("Table_map", "table_id: 2 (millrace.heartbeat)".to_owned()),
            ("Xid", "COMMIT /* xid=7 */".to_owned()),
            ("Gtid", gtid(3)),
            ("Query", "use `shop`; CREATE TABLE t(a int)".to_owned()),
        ];
        let log: Vec<(&str, &str)> = log.iter().map(|(kind, info)| (*kind, info.as_str())).collect();
        collect(&extra, events(&log), &mut found);
        let own: Vec<(String, bool)> = found.values().map(|one| (one.gtid.clone(), one.is_own())).collect();
        assert_eq!(own, [(format!("{uuid}:2"), true), (format!("{uuid}:3"), false)]);
    }

    #[test]
    fn reads_what_mariadb_prints() {
        let extra = GtidSet::parse(Flavour::MariaDb, "0-1-5").expect("a set");
        let extra = extra.subtract(&GtidSet::parse(Flavour::MariaDb, "0-1-4").expect("a set")).expect("one flavour");
        let mut found = BTreeMap::new();
        let log = [
            ("Gtid", "BEGIN GTID 0-1-4"),
            ("Table_map", "table_id: 22 (shop.orders)"),
            ("Gtid", "BEGIN GTID 0-1-5"),
            ("Table_map", "table_id: 22 (millrace.canary)"),
        ];
        collect(&extra, events(&log), &mut found);
        let named: Vec<&str> = found.values().map(|one| one.gtid.as_str()).collect();
        assert_eq!(named, ["0-1-5"]);
    }
}
