//! Headers of MySQL's slow log: one line enters, an entry knows more. Each entry has its own `# Time:` in ISO form with
//! microseconds; with `log_slow_extra` one line holds some twenty pairs.

use std::borrow::Cow;

use super::SlowEntry;
use super::fields::Fields;
use super::text::{integer, time};

/// Takes a header line, without `# `; none when it cannot be read.
pub(super) fn header(line: &[u8], entry: &mut SlowEntry, fields: &mut Fields) -> Option<()> {
    if let Some(text) = line.strip_prefix(b"Time: ") {
        entry.ts = time(text.trim_ascii())?;
        return Some(());
    }
    fields.take(line, entry)
}

/// Accounts: `user[user] @ host [address]  Id: 5`. Most entries have the account of the one before.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    /// The line of the account that the entry at hand has, up to its address; empty when it has none.
    last: Vec<u8>,
}

impl Accounts {
    /// Takes an account; none when it cannot be read.
    pub(super) fn take(&mut self, account: &[u8], entry: &mut SlowEntry) -> Option<()> {
        if !self.last.is_empty()
            && let Some(rest) = account.strip_prefix(self.last.as_slice())
            && let Some(Id(thread)) = id(rest)
        {
            entry.thread = thread;
            return Some(());
        }
        self.last.clear();
        let text = String::from_utf8_lossy(account);
        let rest = user_host(&text, entry)?;
        entry.thread = rest.trim().strip_prefix("Id:").and_then(|id| id.trim().parse().ok());
        if id(rest.as_bytes()).is_some() && matches!(text, Cow::Borrowed(_)) {
            self.last.extend_from_slice(&account[..account.len() - rest.len()]);
        }
        Some(())
    }

    /// The entry has no account.
    pub(super) fn none(&mut self, entry: &mut SlowEntry) {
        self.last.clear();
        entry.user.clear();
        entry.host.clear();
        entry.ip.clear();
    }
}

/// The thread's number, where one is written.
struct Id(Option<u64>);

/// What stands behind an address: nothing, or the thread's number.
fn id(rest: &[u8]) -> Option<Id> {
    let rest = rest.trim_ascii();
    if rest.is_empty() {
        return Some(Id(None));
    }
    let id = rest.strip_prefix(b"Id:")?.trim_ascii();
    if id.iter().all(u8::is_ascii_digit) { integer(id).map(|id| Id(Some(id))) } else { None }
}

/// Takes the names; what stands behind them.
pub(super) fn user_host<'a>(account: &'a str, entry: &mut SlowEntry) -> Option<&'a str> {
    // Names may hold anything, so the separators are looked for from the right where that is possible.
    let (user, rest) = account.rsplit_once("] @ ")?;
    let (_, user) = user.split_once('[').unwrap_or(("", user));
    user.clone_into(&mut entry.user);
    let (host, rest) = rest.split_once('[')?;
    host.trim().clone_into(&mut entry.host);
    let (address, rest) = rest.split_once(']')?;
    address.clone_into(&mut entry.ip);
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_accounts() {
        let check = |line: &str, user: &str, host: &str, ip: &str, thread| {
            let (mut accounts, mut entry) = (Accounts::default(), SlowEntry::default());
            let account = line.strip_prefix("User@Host: ").expect("an account").as_bytes();
            // Again, as the entry that follows has it.
            for _ in 0..2 {
                assert_eq!(accounts.take(account, &mut entry), Some(()), "{line}");
            }
            assert_eq!((entry.user.as_str(), entry.host.as_str(), entry.ip.as_str()), (user, host, ip));
            assert_eq!(entry.thread, thread);
        };
        check("User@Host: app[app] @  [127.0.0.1]  Id:   144", "app", "", "127.0.0.1", Some(144));
        check("User@Host: root[root] @ localhost []  Id: 9", "root", "localhost", "", Some(9));
        check("User@Host: [SQL_SLAVE] @  []", "SQL_SLAVE", "", "", None);
        check("User@Host: a] @ b[a] @ b] @ h [::1]", "a] @ b", "h", "::1", None);
        check("User@Host: a[a] @ h [1.2.3.4] Id: 5] @ g [::1]  Id: 6", "a] @ h [1.2.3.4] Id: 5", "g", "::1", Some(6));
    }

    #[test]
    fn reads_the_extra_line() {
        let mut entry = SlowEntry::default();
        let line = "Query_time: 0.600061  Lock_time: 0.000003 Rows_sent: 1  Rows_examined: 2 Thread_id: 144 Errno: 1317 \
                    Killed: 0 Bytes_received: 10 Bytes_sent: 24 Start: 2026-11-21T09:01:47.011007Z";
        let header = |line: &str, entry: &mut SlowEntry| header(line.as_bytes(), entry, &mut Fields::default());
        assert_eq!(header(line, &mut entry), Some(()));
        assert_eq!((entry.query_time_us, entry.lock_time_us, entry.rows_sent), (600_061, 3, 1));
        assert_eq!((entry.error, entry.bytes_sent, entry.thread), (Some(1317), Some(24), Some(144)));
        entry.attributes.push_line(line);
        assert_eq!(entry.attributes.pairs().next(), Some(("Killed", "0")));
        assert_eq!(entry.attributes.pairs().last(), Some(("Start", "2026-11-21T09:01:47.011007Z")));
        assert_eq!(header("Query_time: soon", &mut entry), None);
        assert_eq!(header("Time: yesterday", &mut entry), None);
    }
}
