//! `millrace up` (executor and agents in one process) is killed with -9 right after each step of a failover and a rejoin was
//! asked for, and right after it was performed and nobody told; started again, it must come to the same end: one open server,
//! the two others following it, and every row that was acknowledged.

use millrace_mysql::Flavour;

use super::site::Site;

/// Every step of the two runbooks that follow a crash.
const STEPS: [&str; 8] =
    ["fence", "stop-receiver", "promote", "follow", "read-sets", "start-closed", "quarantine", "catch-up"];
const PLACES: [&str; 2] = ["step.asked", "step.performed"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_after_each_step_resumes_to_the_same_end() {
    let mut survived = Vec::new();
    for step in STEPS {
        // A cluster of its own for each step: three failovers in ten minutes are the most that a cluster is given.
        let mut site = Site::new(Flavour::MariaDb).await;
        site.up(None);
        let first = site.settled().await;
        site.session(&first).await.execute("CREATE TABLE shop.kept(id INT PRIMARY KEY)").await.expect("created");
        site.stop();
        for (row, place) in PLACES.into_iter().enumerate() {
            let failpoint = format!("{place}:{step}");
            fail_over(&mut site, &failpoint, row + 1).await;
            survived.push(failpoint);
        }
        site.remove().await;
    }
    println!("killed with -9 and resumed at {} points: {}", survived.len(), survived.join(", "));
}

/// Writes a row, kills the primary, lets `millrace up` die at `failpoint`, starts it again, and looks at what became of it.
async fn fail_over(site: &mut Site, failpoint: &str, rows: usize) {
    site.up(Some(failpoint));
    let primary = site.settled().await;
    site.heard().await;
    let mut session = site.session(&primary).await;
    session.execute(&format!("INSERT INTO shop.kept VALUES({rows})")).await.expect("acknowledged");
    site.kill(&primary);
    assert!(site.died(), "{failpoint} was never reached\n{}\n{}", site.log(), site.why());
    site.up(None);
    let now = site.settled().await;
    let count = site.session(&now).await.value("SELECT COUNT(*) FROM shop.kept").await.expect("readable");
    assert_eq!(count, Some(rows.to_string()), "{failpoint}: an acknowledged row is missing");
    let promoted = now.instance != primary.instance;
    assert!(promoted, "{failpoint}: nobody else was promoted\n{}\n{}", site.log(), site.why());
    site.stop();
}
