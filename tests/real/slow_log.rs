//! The agent follows a server's slow log: what is written while it is away, into whichever file, is published once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millrace_mysql::{Flavour, Session};
use millrace_schemas::cluster::Member;
use millrace_schemas::event::Event;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::slow_queries::Slow;

use super::site::{APART, PATIENCE, Role, Site};

/// Every statement of this test is slow, and named so.
pub(super) const MARK: &str = "slow_mark_";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_rotations_while_the_agent_is_away_lose_and_repeat_nothing() {
    rotations_while_the_agent_is_away(Flavour::MariaDb).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql_rotations_while_the_agent_is_away_lose_and_repeat_nothing() {
    rotations_while_the_agent_is_away(Flavour::MySql).await;
}

async fn rotations_while_the_agent_is_away(flavour: Flavour) {
    let mut site = Site::new(flavour);
    for role in APART {
        site.start(role, None);
    }
    site.create("auto");
    let primary = site.settled().await;
    let log = site.instance(&primary).expect("it runs here").slow_log();
    let older = |n: u32| log.with_file_name(format!("slow.log.{n}"));
    followed(&site, &primary).await;
    let mut session = site.session(&primary).await;
    session.execute("SET SESSION long_query_time=0").await.expect("set");
    say(&mut session, "first").await;
    published(&site, &["first"]).await;
    // The place is stored once the bus has answered, at the agent's next look.
    tokio::time::sleep(Duration::from_secs(1)).await;

    site.end(Role::Agent);
    say(&mut session, "unseen").await;
    std::fs::rename(&log, older(1)).expect("renames");
    session.execute("FLUSH LOCAL SLOW LOGS").await.expect("a new file");
    say(&mut session, "between").await;
    std::fs::rename(older(1), older(2)).expect("renames");
    std::fs::rename(&log, older(1)).expect("renames");
    session.execute("FLUSH LOCAL SLOW LOGS").await.expect("a new file");
    say(&mut session, "last").await;
    site.start(Role::Agent, None);
    published(&site, &["first", "unseen", "between", "last"]).await;

    std::fs::rename(&log, older(0)).expect("renames");
    session.execute("FLUSH LOCAL SLOW LOGS").await.expect("a new file");
    say(&mut session, "followed").await;
    published(&site, &["first", "unseen", "between", "last", "followed"]).await;
    site.remove().await;
}

/// Waits until the log of a member is followed: it begins with what is written from then on.
pub(super) async fn followed(site: &Site, member: &Member) {
    let bookmark = site.dir.join(format!("{}-agent/{}.slow-log", member.host, member.instance));
    let until = Instant::now() + PATIENCE;
    while !bookmark.exists() {
        assert!(Instant::now() < until, "the slow log is not followed\n{}", site.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(super) async fn say(session: &mut Session, name: &str) {
    session.value(&format!("SELECT 1 AS {MARK}{name}")).await.expect("answered");
}

/// Waits until the statements with these names were published, and sees that each was once and no other.
pub(super) async fn published(site: &Site, names: &[&str]) {
    let wanted: BTreeMap<String, usize> = names.iter().map(|name| ((*name).to_owned(), 1)).collect();
    let until = Instant::now() + PATIENCE;
    loop {
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for record in site.told(Topic::SlowQueries) {
            let Ok(Event { payload: Slow::Query(query), .. }) = Event::<Slow>::from_record(&record) else { continue };
            if let Some((_, name)) = query.sql.split_once(MARK) {
                *found.entry(name.trim_end_matches(['`', ' ', ';']).to_owned()).or_default() += 1;
            }
        }
        if found == wanted {
            return;
        }
        let too_many = found.iter().any(|(name, times)| wanted.get(name).is_none_or(|wanted| times > wanted));
        assert!(!too_many && Instant::now() < until, "published: {found:?}\nwanted: {wanted:?}\n{}", site.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
