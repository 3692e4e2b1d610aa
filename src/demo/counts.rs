//! The wire's counts against the server's own. In all, the statements of the application's user must be the same, within two: the
//! server counts those in each session, and loses none. Its table of digests does lose some: sessions that end the same statement at
//! the same moment overwrite each other's count (measured on MariaDB 10.11: 52 of 200,000 with four sessions). So per digest it may
//! have a hundredth less than the wire, and hardly more. Prepared executions, which MariaDB's table leaves out, are compared in total.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use millrace_mysql::{digests, sessions};
use millrace_schemas::digest::{Scanner, ServerPrefix, server_text};
use millrace_schemas::flavour::Flavour;
use millrace_schemas::ids::DigestId;
use millrace_schemas::topics::routes::Route;

use super::book::Book;
use super::site::Site;

/// 2.5 s: a second must close, be flushed and be read before all of its rows are there.
pub(super) const SETTLE: Duration = Duration::from_millis(2_500);
/// Lines of differences that are shown.
const SHOWN_MAX: usize = 8;

/// What a server has counted of the demo's schema, and of all that the application's user sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    digests: BTreeMap<DigestId, u64>,
    executes: u64,
    statements: u64,
}

/// The outcome of a comparison.
pub(super) struct Comparison {
    pub(super) good: bool,
    pub(super) text: String,
}

/// Reads the counters of the primary, once everything before has been counted on both sides.
pub(super) async fn read(site: &Site, route: &Route) -> anyhow::Result<Counts> {
    tokio::time::sleep(SETTLE).await;
    let member = route.primary.as_ref().context("the route has no primary")?;
    let mut session = site.session(member).await?;
    let mut counts = Counts::default();
    let mut scanner = Scanner::new();
    for row in digests::read(&mut session).await? {
        let (Some("shop"), Some(text)) = (row.schema.as_deref(), &row.text) else { continue };
        let (prefix, text) = server_text(text);
        if matches!(prefix, None | Some(ServerPrefix::Execute)) {
            *counts.digests.entry(scanner.match_key(text.as_bytes())).or_default() += row.count;
        }
    }
    counts.executes = digests::read_commands(&mut session).await?.get("statement/com/Execute").copied().unwrap_or(0);
    let user = site.login(route)?.user;
    let by_user = sessions::statements_by_user(&mut session).await?;
    counts.statements = by_user.iter().find(|(name, _)| *name == user).map_or(0, |(_, count)| *count);
    Ok(counts)
}

/// Compares what was counted on the wire since `from` with what the server counted since `before`.
pub(super) async fn compare(
    site: &Site,
    book: &Book,
    route: &Route,
    before: &Counts,
    from: usize,
) -> anyhow::Result<Comparison> {
    let after = read(site, route).await?;
    let user = site.login(route)?.user;
    let primary = &route.primary.as_ref().context("the route has no primary")?.instance;
    let mut scanner = Scanner::new();
    let mut wire: BTreeMap<DigestId, (u64, String)> = BTreeMap::new();
    let mut sent = 0;
    for row in book.rows_since(from).iter().filter(|row| row.instance == *primary && row.digest != DigestId::ADMIN) {
        if row.user == user {
            sent += row.count;
        }
        if row.schema == "shop" {
            let text = book.text(&row.digest);
            let key = text.as_ref().map_or(row.digest, |text| scanner.match_key(text.as_bytes()));
            let entry = wire.entry(key).or_insert_with(|| (0, text.unwrap_or_else(|| row.digest.to_string())));
            entry.0 += row.count;
        }
    }
    let server = after.since(before);
    let mut prepared = 0;
    let mut differences = Vec::new();
    for (digest, (count, text)) in &wire {
        match server.digests.get(digest) {
            Some(server) if close(*count, *server) => {}
            Some(server) => differences.push(format!("{count} on the wire, {server} in the server's table: {text}")),
            None => prepared += count,
        }
    }
    let unseen = server.digests.iter().filter(|(digest, count)| !wire.contains_key(*digest) && !close(0, **count));
    differences
        .extend(unseen.map(|(digest, count)| format!("none on the wire, {count} in the server's table: {digest}")));
    let (executes, statements) = (server.executes, server.statements);
    let mut text =
        format!("  {} digests; {user} sent {sent} statements on the wire, {statements} in the server", wire.len());
    if !same(sent, statements) {
        differences.push(format!("{sent} statements of {user} on the wire, {statements} in the server"));
    }
    if site.spec.flavour == Flavour::MariaDb {
        let _ = write!(text, "\n  prepared statements: {prepared} executions on the wire, {executes} in the server");
        if !same(prepared, executes) {
            differences.push(format!("{prepared} prepared executions on the wire, {executes} in the server"));
        }
    } else if prepared > 0 {
        differences.push(format!("{prepared} statements on the wire that the server's table does not have"));
    }
    for difference in differences.iter().take(SHOWN_MAX) {
        let _ = write!(text, "\n    {difference}");
    }
    let good = differences.is_empty() && sent > 0;
    text.push_str(if good { "\n  equal, within 2 in all and a hundredth per digest" } else { "\n  NOT EQUAL" });
    Ok(Comparison { good, text })
}

impl Counts {
    /// What was added since `before`; a digest that was not there then began at nothing.
    fn since(&self, before: &Self) -> Self {
        let old = |digest| before.digests.get(digest).copied().unwrap_or(0);
        Self {
            digests: self.digests.iter().map(|(digest, count)| (*digest, count - old(digest))).collect(),
            executes: self.executes - before.executes,
            statements: self.statements - before.statements,
        }
    }
}

/// Two: a statement at either border may be on one side only.
fn same(wire: u64, server: u64) -> bool {
    wire.abs_diff(server) <= 2
}

/// The server's table may have lost a hundredth, and two; it has never more, but for those at the borders.
fn close(wire: u64, server: u64) -> bool {
    server <= wire + 2 && wire <= server + (wire / 100).max(2)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_table_may_have_a_hundredth_less_and_hardly_more() {
        let check = |wire, server, expected| assert_eq!(super::close(wire, server), expected, "{wire} {server}");
        check(0, 2, true);
        check(0, 3, false);
        check(2, 0, true);
        check(3, 0, false);
        check(944, 941, true);
        check(944, 935, true);
        check(944, 934, false);
        check(944, 947, false);
    }

    #[test]
    fn in_all_they_are_the_same() {
        assert!(super::same(1_000_002, 1_000_000) && super::same(1_000_000, 1_000_002));
        assert!(!super::same(1_000_003, 1_000_000) && !super::same(1_000_000, 1_000_003));
    }
}
