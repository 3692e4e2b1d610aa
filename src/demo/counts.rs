//! The wire's counts against the server's own: per digest within max(0.1 %, 2), and prepared executions in total where the
//! server's digest table leaves them out (MariaDB).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use millrace_mysql::digests;
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

/// What a server has counted of the demo's schema.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    digests: BTreeMap<DigestId, u64>,
    executes: u64,
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
    let primary = &route.primary.as_ref().context("the route has no primary")?.instance;
    let mut scanner = Scanner::new();
    let mut wire: BTreeMap<DigestId, (u64, String)> = BTreeMap::new();
    for row in book.rows_since(from) {
        let text = book.text(&row.digest);
        if row.instance == *primary && row.schema == "shop" && row.digest != DigestId::ADMIN {
            let key = text.as_ref().map_or(row.digest, |text| scanner.match_key(text.as_bytes()));
            let entry = wire.entry(key).or_insert_with(|| (0, text.unwrap_or_else(|| row.digest.to_string())));
            entry.0 += row.count;
        }
    }
    let delta = |digest: &DigestId| {
        let count = |counts: &Counts| counts.digests.get(digest).copied();
        count(&after).map(|now| now - count(before).unwrap_or(0))
    };
    let mut good = true;
    let (mut total_wire, mut total_server, mut prepared) = (0, 0, 0);
    let mut differences = Vec::new();
    for (digest, (count, text)) in &wire {
        let Some(server) = delta(digest) else {
            prepared += count;
            continue;
        };
        (total_wire, total_server) = (total_wire + count, total_server + server);
        if !close(*count, server) {
            differences.push(format!("    {count} on the wire, {server} in the server: {text}"));
        }
    }
    for digest in after.digests.keys().filter(|digest| !wire.contains_key(*digest)) {
        let server = delta(digest).unwrap_or(0);
        if !close(0, server) {
            differences.push(format!("    none on the wire, {server} in the server: {digest}"));
        }
    }
    good &= differences.is_empty();
    let mut text = format!(
        "  {} digests: {total_wire} statements on the wire, {total_server} in the server's own table",
        wire.len()
    );
    let executes = after.executes - before.executes;
    if site.spec.flavour == Flavour::MariaDb {
        let _ = write!(text, "\n  prepared statements: {prepared} executions on the wire, {executes} in the server");
        good &= close(prepared, executes);
    } else if prepared > 0 {
        good = false;
        let _ = write!(text, "\n  {prepared} statements on the wire that the server's table does not have");
    }
    for difference in differences.iter().take(SHOWN_MAX) {
        let _ = write!(text, "\n{difference}");
    }
    text.push_str(if good { "\n  equal, within max(0.1 %, 2) per digest" } else { "\n  NOT EQUAL" });
    Ok(Comparison { good: good && total_wire > 0, text })
}

fn close(wire: u64, server: u64) -> bool {
    wire.abs_diff(server) <= (server / 1_000).max(2)
}

#[cfg(test)]
mod tests {
    #[test]
    fn close_is_a_thousandth_or_two() {
        let check = |wire, server, expected| assert_eq!(super::close(wire, server), expected, "{wire} {server}");
        check(0, 2, true);
        check(0, 3, false);
        check(9_990, 10_000, true);
        check(9_989, 10_000, false);
    }
}
