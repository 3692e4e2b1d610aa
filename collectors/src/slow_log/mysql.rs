//! Headers of MySQL's slow log: one line enters, an entry knows more. Each entry has its own `# Time:` in ISO form with
//! microseconds; with `log_slow_extra` one line holds some twenty pairs.

use millrace_schemas::time::Timestamp;

use super::SlowEntry;
use super::text::{micros, pairs};

/// Takes a header line, without `# `; none when it cannot be read.
pub(super) fn header(line: &str, entry: &mut SlowEntry) -> Option<()> {
    if let Some(time) = line.strip_prefix("Time: ") {
        entry.ts = time.trim().parse::<Timestamp>().ok()?;
        return Some(());
    }
    if let Some(account) = line.strip_prefix("User@Host: ") {
        return user_host(account, entry);
    }
    for (key, value) in pairs(line) {
        pair(key, value, entry)?;
    }
    Some(())
}

/// `user[user] @ host [address]  Id: 5`.
pub(super) fn user_host(account: &str, entry: &mut SlowEntry) -> Option<()> {
    // Names may hold anything, so the separators are looked for from the right where that is possible.
    let (user, rest) = account.rsplit_once("] @ ")?;
    let (_, user) = user.split_once('[').unwrap_or(("", user));
    user.clone_into(&mut entry.user);
    let (host, rest) = rest.split_once('[')?;
    host.trim().clone_into(&mut entry.host);
    let (address, rest) = rest.split_once(']')?;
    address.clone_into(&mut entry.ip);
    if let Some(id) = rest.trim().strip_prefix("Id:") {
        entry.thread = id.trim().parse().ok();
    }
    Some(())
}

/// Takes one pair; numbers that are none make the header unreadable.
pub(super) fn pair(key: &str, value: &str, entry: &mut SlowEntry) -> Option<()> {
    match key {
        "Query_time" => entry.query_time_us = micros(value)?,
        "Lock_time" => entry.lock_time_us = micros(value)?,
        "Rows_sent" => entry.rows_sent = value.parse().ok()?,
        "Rows_examined" => entry.rows_examined = value.parse().ok()?,
        "Rows_affected" => entry.rows_affected = Some(value.parse().ok()?),
        "Bytes_sent" => entry.bytes_sent = Some(value.parse().ok()?),
        "Thread_id" => entry.thread = Some(value.parse().ok()?),
        // Percona Server calls it the last one.
        "Errno" | "Last_errno" => entry.error = Some(value.parse().ok()?),
        "Schema" => value.clone_into(&mut entry.schema),
        _ => entry.attributes.push(key, value),
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_accounts() {
        let check = |line: &str, user: &str, host: &str, ip: &str, thread| {
            let mut entry = SlowEntry::default();
            assert_eq!(header(line, &mut entry), Some(()), "{line}");
            assert_eq!((entry.user.as_str(), entry.host.as_str(), entry.ip.as_str()), (user, host, ip));
            assert_eq!(entry.thread, thread);
        };
        check("User@Host: app[app] @  [127.0.0.1]  Id:   144", "app", "", "127.0.0.1", Some(144));
        check("User@Host: root[root] @ localhost []  Id: 9", "root", "localhost", "", Some(9));
        check("User@Host: [SQL_SLAVE] @  []", "SQL_SLAVE", "", "", None);
        check("User@Host: a] @ b[a] @ b] @ h [::1]", "a] @ b", "h", "::1", None);
    }

    #[test]
    fn reads_the_extra_line() {
        let mut entry = SlowEntry::default();
        let line = "Query_time: 0.600061  Lock_time: 0.000003 Rows_sent: 1  Rows_examined: 2 Thread_id: 144 Errno: 1317 \
                    Killed: 0 Bytes_received: 10 Bytes_sent: 24 Start: 2026-11-21T09:01:47.011007Z";
        assert_eq!(header(line, &mut entry), Some(()));
        assert_eq!((entry.query_time_us, entry.lock_time_us, entry.rows_sent), (600_061, 3, 1));
        assert_eq!((entry.error, entry.bytes_sent, entry.thread), (Some(1317), Some(24), Some(144)));
        assert_eq!(entry.attributes.pairs().next(), Some(("Killed", "0")));
        assert_eq!(entry.attributes.pairs().last(), Some(("Start", "2026-11-21T09:01:47.011007Z")));
        assert_eq!(header("Query_time: soon", &mut entry), None);
        assert_eq!(header("Time: yesterday", &mut entry), None);
    }
}
