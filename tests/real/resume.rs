//! Processes of the program are killed with -9 right after each step of a failover and a rejoin was asked for, and right after it
//! was performed and nobody told; started again, they must come to the same end: another open server than before, the two others
//! following it, and every row that was acknowledged. Once all in one process, once apart: the executor, the agents, and both.

use std::io::Write as _;

use millrace_mysql::Flavour;

use super::site::{APART, Role, Site};

/// Every step of the two runbooks that follow a crash.
const STEPS: [&str; 8] =
    ["fence", "stop-receiver", "promote", "follow", "read-sets", "start-closed", "quarantine", "catch-up"];

/// Every step of the runbook that makes a cluster.
const CREATION: [&str; 4] = ["create-instance", "start-closed", "follow", "open"];

/// Who dies where.
type Deaths = Vec<(Role, String)>;

/// `millrace up` after a step was asked for, and after it was performed.
fn in_one(step: &str) -> Vec<Deaths> {
    let places = ["asked", "performed"];
    places.map(|place| vec![(Role::Up, format!("step.{place}:{step}"))]).to_vec()
}

/// The executor when it has asked, the agents when they have performed and told nobody, and one after the other.
fn apart(step: &str) -> Vec<Deaths> {
    let asked = (Role::Execute, format!("step.asked:{step}"));
    let performed = (Role::Agent, format!("step.performed:{step}"));
    vec![vec![asked.clone()], vec![performed.clone()], vec![asked, performed]]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_after_each_step_resumes_to_the_same_end() {
    resume(&[Role::Up], in_one).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_of_executor_or_agents_or_both_after_each_step_resumes_to_the_same_end() {
    resume(&APART, apart).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_made_although_executor_or_agents_or_both_are_killed_after_each_step() {
    let mut survived = Vec::new();
    for deaths in CREATION.into_iter().flat_map(apart) {
        let mut site = Site::new(Flavour::MariaDb);
        start(&mut site, &APART, &deaths);
        let mut creating = site.creating("auto");
        revive(&mut site, &deaths);
        let primary = site.settled().await;
        assert_eq!(primary.instance, site.spec.primary, "{}", told(&deaths));
        // An attempt may have been given up and another made: whoever waits for the first is told so.
        creating.wait().expect("waitable");
        survived.push(told(&deaths));
        site.remove().await;
    }
    say(&survived);
}

async fn resume(roles: &[Role], deaths: fn(&str) -> Vec<Deaths>) {
    let mut survived = Vec::new();
    for step in STEPS {
        // A cluster of its own for each step: three failovers in ten minutes are the most that a site is given.
        let mut site = Site::new(Flavour::MariaDb);
        start(&mut site, roles, &[]);
        site.create("auto");
        let first = site.settled().await;
        site.session(&first).await.execute("CREATE TABLE shop.kept(id INT PRIMARY KEY)").await.expect("created");
        for (row, deaths) in deaths(step).into_iter().enumerate() {
            site.stop();
            site.note_positions();
            fail_over(&mut site, roles, &deaths, row + 1).await;
            survived.push(told(&deaths));
        }
        site.remove().await;
    }
    say(&survived);
}

/// Not through the test harness, which hides what a good test prints.
fn say(survived: &[String]) {
    let points = survived.join(", ");
    let _ = writeln!(std::io::stderr(), "killed with -9 and resumed at {} points: {points}", survived.len());
}

fn told(deaths: &Deaths) -> String {
    let each = deaths.iter().map(|(role, place)| format!("{role:?} at {place}"));
    each.collect::<Vec<_>>().join(" and ")
}

fn start(site: &mut Site, roles: &[Role], deaths: &[(Role, String)]) {
    for role in roles {
        let failpoint = deaths.iter().find(|(dies, _)| dies == role).map(|(_, place)| place.as_str());
        site.start(*role, failpoint);
    }
}

/// Writes a row, kills the primary, lets who is to die do so, starts them again, and looks at what became of it.
async fn fail_over(site: &mut Site, roles: &[Role], deaths: &Deaths, rows: usize) {
    start(site, roles, deaths);
    let primary = site.settled().await;
    site.heard().await;
    let mut session = site.session(&primary).await;
    session.execute(&format!("INSERT INTO shop.kept VALUES({rows})")).await.expect("acknowledged");
    site.kill(&primary);
    revive(site, deaths);
    let what = told(deaths);
    let now = site.settled().await;
    let count = site.session(&now).await.value("SELECT COUNT(*) FROM shop.kept").await.expect("readable");
    assert_eq!(count, Some(rows.to_string()), "{what}: an acknowledged row is missing");
    // On starved cores an attempt may end late: then the old primary came back closed, and the next one opens it again.
    let fair = now.instance != primary.instance || site.came_back_closed(&primary);
    assert!(fair, "{what}: nobody else was promoted\n{}\n{}", site.log(), site.why());
}

/// Waits until who is to die has died, and starts them again.
fn revive(site: &mut Site, deaths: &Deaths) {
    for (role, _) in deaths {
        assert!(site.died(*role), "{}: never reached\n{}\n{}", told(deaths), site.log(), site.why());
    }
    for (role, _) in deaths {
        site.start(*role, None);
    }
}
