//! The process that has the bus is killed with -9 and comes back: meanwhile nothing is decided and nothing on a server changes;
//! agents say what they could not tell, and a crash that happened while nobody could hear of it is failed over then.

use std::time::Duration;

use millrace_mysql::Flavour;
use millrace_schemas::event::Event;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::journal::Fact;

use super::site::{APART, Role, Site};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_bus_is_away_nothing_is_decided_and_afterwards_everything_is_told() {
    let mut site = Site::new(Flavour::MariaDb);
    for role in APART {
        site.start(role, None);
    }
    site.create("auto");
    let primary = site.settled().await;
    site.heard().await;
    let mut session = site.session(&primary).await;
    session.execute("CREATE TABLE shop.kept(id INT PRIMARY KEY)").await.expect("created");

    site.end(Role::Process);
    for row in 0..4 {
        // Writes do not need Millrace; one second each, so that heartbeats are missed.
        session.execute(&format!("INSERT INTO shop.kept VALUES({row})")).await.expect("acknowledged");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    site.start(Role::Process, None);
    site.heard_again().await;
    let gaps = gaps(&site);
    assert!(gaps.len() >= site.spec.members.len(), "each instance has its gap: {gaps:?}");
    assert!(gaps.iter().all(|seconds| *seconds >= 1.0), "{gaps:?}");
    assert_eq!(site.settled().await, primary, "an outage of the bus is no reason to fail over");

    site.end(Role::Process);
    site.kill(&primary);
    tokio::time::sleep(Duration::from_secs(1)).await;
    site.start(Role::Process, None);
    let now = site.settled().await;
    assert!(now.instance != primary.instance || site.came_back_closed(&primary), "{}", site.why());
    let count = site.session(&now).await.value("SELECT COUNT(*) FROM shop.kept").await.expect("readable");
    assert_eq!(count.as_deref(), Some("4"), "an acknowledged row is missing");
    site.remove().await;
}

/// How long each gap was that was told, in seconds.
fn gaps(site: &Site) -> Vec<f64> {
    let seconds = |record| match Event::<Fact>::from_record(&record) {
        Ok(Event { payload: Fact::Gap(gap), .. }) => Some(gap.to_boot_us.saturating_sub(gap.from_boot_us) as f64 / 1e6),
        _ => None,
    };
    site.told(Topic::Journal).into_iter().filter_map(seconds).collect()
}
