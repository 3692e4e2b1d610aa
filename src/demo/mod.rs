//! `millrace demo`: the main job on real servers, from nothing to a verdict, with the roles that a site runs: a cluster is
//! created, loaded and watched, its primary killed, another promoted, the old one rejoined, and everything is checked.
//! In: a template of a server. Out: a story on the terminal, and exit code 0 only if all of it held.

mod beside;
mod book;
mod counts;
mod fleet;
mod keys;
mod listeners;
mod load;
mod screen;
pub mod site;
mod store;
mod verdict;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use millrace_collectors::wire;
use millrace_schemas::flavour::Flavour;
use millrace_schemas::topics::routes::Route;
use tokio::sync::watch;

use crate::roles::up::stopped;
use book::Book;
pub use listeners::Wanted;
use site::{INTERFACE, Site};
use verdict::Verdict;

/// 20 s of load before the primary is killed: two closed windows of 10 s.
const WATCH_FOR: Duration = Duration::from_secs(20);
/// 60 s for what takes 5 s on a quiet machine; a demo on a busy one should rather be slow than fail.
const PATIENCE: Duration = Duration::from_mins(1);
/// 5 s of load after the failover, so that the rejoin happens under writes.
const AFTER_FOR: Duration = Duration::from_secs(5);

/// What the demo is asked for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Which server.
    pub flavour: Flavour,
    /// The template that instances are copied from.
    pub template: PathBuf,
    /// Leave everything running at the end.
    pub keep: bool,
    /// Where the console listens.
    pub console: std::net::SocketAddr,
    /// The brokers, where the roles run apart; absent: all in this process, on the local bus.
    pub kafka: Option<String>,
    /// The script that runs a store, where the numbers go to one.
    pub store: Option<PathBuf>,
    /// Who is told of alerts, where somebody is.
    pub listeners: Option<Wanted>,
}

/// Runs the demo; false when something did not hold.
pub async fn run(wish: Wish) -> anyhow::Result<bool> {
    let began = Instant::now();
    // Without packets there is nothing to compare: better said now than judged after the load.
    wire::can_capture(INTERFACE)?;
    let mut site = Site::start(&wish)?;
    let mut outcome = tokio::select! {
        outcome = story(&wish, &mut site, began) => outcome,
        () = stopped() => Err(anyhow::anyhow!("stopped before its end; everything is removed")),
    };
    if outcome.is_ok() && wish.keep {
        match site.where_to_look(&wish) {
            Ok(text) => {
                screen::say(&text);
                stopped().await;
            }
            Err(error) => outcome = Err(error), // and what was started is removed all the same
        }
    }
    let removed = site.remove().await;
    let good = outcome?;
    removed?;
    Ok(good)
}

async fn story(wish: &Wish, site: &mut Site, began: Instant) -> anyhow::Result<bool> {
    let book = Book::open(&site.up.bus)?;
    screen::chapter(1, "a cluster is created: one primary, two replicas, GTID, lossless semi-sync");
    site.create_cluster()?;
    let mut routes = book.routes();
    let first =
        primary(&mut routes, None).await.with_context(|| format!("no primary appeared\n{}", book.timeline(None)))?;
    screen::say(&format!(
        "{} is the primary since epoch {}, {:.1} s after the start",
        name(&first),
        first.epoch,
        began.elapsed().as_secs_f64()
    ));

    screen::chapter(2, "load: 7 connections, text and prepared statements, some slow");
    let login = site.login(&first)?;
    site.make_tables(&first, &login).await?;
    let before = counts::read(site, &first).await?;
    let counted_from = book.queries_so_far();
    let (stop_load, load_stops) = watch::channel(false);
    let load = load::start(&routes, &login, &load_stops);
    if let Some(fleet) = &mut site.fleet {
        fleet.kill("p1", "which was deciding and had a share of the windows")?;
    }
    screen::watch(&site.up.shown(), wish.console, WATCH_FOR).await;

    screen::chapter(3, "the load pauses; what was counted on the wire is compared with the server's own counters");
    load.pause().await;
    let comparison = counts::compare(site, &book, &first, &before, counted_from).await?;
    screen::say(&comparison.text);
    load.resume();
    tokio::time::sleep(Duration::from_millis(500)).await;

    screen::chapter(4, &format!("the primary {} is killed (SIGKILL)", name(&first)));
    if let Some(fleet) = &mut site.fleet {
        fleet.kill("p2", "one of the two deciders that are left")?;
        fleet.kill("e2", "an executor that has nothing to do")?;
    }
    let killed = site.kill(&first)?;
    let second = primary(&mut routes, Some(&first))
        .await
        .with_context(|| format!("nobody was promoted\n{}", book.timeline(None)))?;
    screen::say(&format!("{} is the primary since epoch {}", name(&second), second.epoch));
    let gap = wait_for_gap(&load, killed.at).await;
    screen::say(&format!("writes were acknowledged again after a gap of {} ms", gap.as_millis()));
    book.ended("fail-over", PATIENCE).await;
    screen::say(&book.timeline(Some(killed.wall)));

    screen::chapter(5, &format!("the old primary {} comes back, closed, and is rejoined", name(&first)));
    let rejoined = book.ended("rejoin", PATIENCE).await;
    screen::say(&book.rejoin_story());
    tokio::time::sleep(AFTER_FOR).await;

    screen::chapter(6, "verdict");
    load.pause().await;
    stop_load.send_replace(true);
    let ended = site.fleet.as_mut().map_or_else(Vec::new, |fleet| fleet.ended(&["p1", "p2", "e2"]));
    if !ended.is_empty() {
        bail!("these were not killed and do not run: {}", ended.join("; "));
    }
    let heard = site.heard().await;
    let verdict = Verdict { rejoined, gap, comparison: comparison.good, load: &load, site, primary: &second, heard };
    let good = verdict.check(began).await?;
    if !wish.keep {
        screen::say("  next: `make demo KEEP=1` leaves it running, with the lines to ask it; README.md says the rest");
    }
    screen::say(&format!("the demo took {:.0} s", began.elapsed().as_secs_f64()));
    Ok(good)
}

fn name(route: &Route) -> &str {
    route.primary.as_ref().map_or("nobody", |primary| primary.instance.as_str())
}

/// Waits for a route with a primary, another one than `before` had.
async fn primary(routes: &mut watch::Receiver<Option<Route>>, before: Option<&Route>) -> anyhow::Result<Route> {
    let old = before.map(name);
    let is_new =
        |route: &Option<Route>| route.as_ref().is_some_and(|route| route.primary.is_some() && Some(name(route)) != old);
    match tokio::time::timeout(PATIENCE, routes.wait_for(is_new)).await {
        Ok(Ok(route)) => Ok(route.clone().expect("it was looked at")),
        _ => bail!("no primary was published within {} s", PATIENCE.as_secs()),
    }
}

async fn wait_for_gap(load: &load::Done, killed: Instant) -> Duration {
    let until = Instant::now() + PATIENCE;
    loop {
        // A second more, so that a gap within the first acknowledgements shows too.
        if let Some(gap) = load.gap_after(killed)
            && killed.elapsed() > gap + Duration::from_secs(1)
        {
            return gap;
        }
        if Instant::now() > until {
            return PATIENCE;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
