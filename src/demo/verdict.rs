//! The verdict: every acknowledged row on every member, counts equal, and the exported archive replayed by another process to
//! the same decisions.

use std::collections::HashSet;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use millrace_schemas::cluster::Member;
use millrace_schemas::topics::routes::Route;

use super::keys;
use super::load::Done;
use super::screen::say;
use super::site::Site;
use crate::journal;

/// 1.5 s: the goal for the gap in writes.
const GAP_MAX: Duration = Duration::from_millis(1_500);
/// 20 s for replicas to have the last rows.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(20);

/// What there is to judge.
pub(super) struct Verdict<'a> {
    pub(super) rejoined: bool,
    pub(super) gap: Duration,
    pub(super) comparison: bool,
    pub(super) load: &'a Done,
    pub(super) site: &'a Site,
    pub(super) primary: &'a Route,
    /// What those heard who are told of alerts.
    pub(super) heard: Vec<(bool, String)>,
}

impl Verdict<'_> {
    /// Checks everything and says it; true when all of it held.
    pub(super) async fn check(&self, began: Instant) -> anyhow::Result<bool> {
        let keys = self.load.keys();
        let primary = self.primary.primary.as_ref().context("there is no primary")?;
        let mut good = true;
        let mut judge = |held: bool, what: String| {
            say(&format!("  {} {what}", if held { "ok  " } else { "FAIL" }));
            good &= held;
        };
        judge(!keys.is_empty(), format!("{} writes were acknowledged", keys.len()));
        for member in std::iter::once(primary).chain(self.site.spec.members.iter().filter(|one| *one != primary)) {
            let lost = self.lost(member, &keys).await?;
            judge(lost == 0, format!("{lost} acknowledged rows lost on {}", member.instance));
        }
        judge(self.gap <= GAP_MAX, format!("write gap {} ms (at most {})", self.gap.as_millis(), GAP_MAX.as_millis()));
        judge(self.comparison, "the wire's counts equal the server's".to_owned());
        judge(self.rejoined, "the old primary is a replica again".to_owned());
        if let Some(store) = &self.site.store {
            let queries = store.queries_per_second(&self.site.cluster, &primary.instance).await?;
            let (instance, page) = (&primary.instance, store.page());
            let what = format!("the store tells up to {queries:.0} statements a second of {instance}; {page}");
            judge(queries > 0.0, what);
        }
        for (held, what) in self.heard.iter().cloned() {
            judge(held, what);
        }
        for (held, what) in self.replay()? {
            judge(held, what);
        }
        let held = if good { "all of it held" } else { "NOT all of it held" };
        let decisions = self.site.up.shown().view().switches().count();
        say(&format!("\n  {held} after {:.0} s, with {decisions} decisions", began.elapsed().as_secs_f64()));
        Ok(good)
    }

    /// How many acknowledged rows a member does not have, once it has caught up.
    async fn lost(&self, member: &Member, keys: &[u64]) -> anyhow::Result<usize> {
        let until = Instant::now() + CATCH_UP_WITHIN;
        loop {
            let mut session = self.site.session(member).await?;
            let rows = session.rows("SELECT order_key FROM shop.orders").await?;
            session.close().await;
            let there: HashSet<u64> = rows.iter().filter_map(|row| row.number("order_key")).collect();
            let lost = keys.iter().filter(|key| !there.contains(key)).count();
            if lost == 0 || Instant::now() > until {
                return Ok(lost);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Exports the archive and has another process replay it, which judges every signature of a fleet again.
    fn replay(&self) -> anyhow::Result<Vec<(bool, String)>> {
        let archive = self.site.dir.join("archive");
        journal::export(&self.site.up.bus, &archive)?;
        let program = crate::program::path()?;
        let mut replay = Command::new(program);
        replay.args(["journal", "replay", "-o", "json"]).arg(&archive);
        if self.site.fleet.is_some() {
            replay.arg("--roster").arg(keys::roster(&self.site.dir));
        }
        let output = replay.output()?;
        if !output.status.success() && output.stdout.is_empty() {
            bail!("the replay failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        let replayed: serde_json::Value =
            serde_json::from_slice(&output.stdout).context("the replay's answer is no JSON")?;
        let promotions = replayed["promotions"].as_u64().unwrap_or(0);
        let equal = replayed["equal"].as_bool().unwrap_or(false);
        let hash = replayed["hash"].as_str().unwrap_or("none");
        let records = replayed["records"].as_u64().unwrap_or(0);
        let what = format!(
            "another process replayed {records} records to the same decisions: {promotions} promotion(s), hash {hash}"
        );
        let mut held = vec![(equal && promotions >= 1, what)];
        if self.site.fleet.is_some() {
            let refused = replayed["refused"].as_u64().context("the replay does not say how many it refused")?;
            held.push((refused == 0, format!("all were signed by whom the roster lets say them, {refused} refused")));
        }
        Ok(held)
    }
}
