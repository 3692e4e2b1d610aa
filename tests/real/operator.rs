//! An operator at the shell: makes a cluster, is asked before a failover, approves it, and is refused what makes no sense.

use millrace_mysql::Flavour;

use super::site::{CLUSTER, PATIENCE, Role, Site, millrace};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_waits_for_the_operator_who_approves_it() {
    let mut site = Site::new(Flavour::MySql);
    let nobody = site.operator(&["list"]);
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("`millrace up` makes it"), "{nobody:?}");
    site.start(Role::Up, None);
    // A slip of the hand is told, and put right by declaring it anew.
    let slip = |member: &str, code: i32, expected: &str| {
        let all = ["create", CLUSTER, "--flavour", "mysql", "--template", "mysql-0.1", "--member", member];
        let output = site.operator(&all);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(expected), "{told}");
    };
    site.heard_of_hosts();
    slip("db1@h9:127.0.0.1:1", 4, "no agent of host h9 has been heard");
    slip("db1@h1:127.0.0.1:1", 1, "mysql-0.1");
    site.create("approve");
    let first = site.settled().await;
    let again = site.operator(&["approve", CLUSTER, "2"]);
    assert_eq!(again.status.code(), Some(4), "nothing waits: {}", String::from_utf8_lossy(&again.stderr));
    site.session(&first).await.execute("CREATE TABLE shop.kept(id INT PRIMARY KEY)").await.expect("created");
    site.heard().await;

    site.kill(&first);
    let began = std::time::Instant::now();
    let proposed = loop {
        if let Some(epoch) = site.listed()["proposed"].as_u64() {
            break epoch.to_string();
        }
        assert!(began.elapsed() < PATIENCE, "nothing is proposed\n{}\n{}", site.log(), site.why());
    };
    let wrong = site.operator(&["approve", CLUSTER, "77"]);
    assert_eq!(wrong.status.code(), Some(4), "{}", String::from_utf8_lossy(&wrong.stderr));
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(told.contains(&format!("epoch {proposed}")) && told.contains("nothing was changed"), "{told}");

    let approved = site.operator(&["approve", CLUSTER, &proposed, "--output", "json"]);
    let told = String::from_utf8_lossy(&approved.stdout).into_owned();
    assert!(approved.status.success(), "{told}\n{}", String::from_utf8_lossy(&approved.stderr));
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((&told["schema_version"], &told["kind"]), (&1.into(), &"fail-over".into()), "{told}");
    let primary = told["primary"].as_str().expect("a primary");
    assert_ne!(primary, first.instance.as_str(), "the crashed primary was opened again");

    let mode = site.operator(&["mode", CLUSTER, "auto"]);
    assert_eq!(String::from_utf8_lossy(&mode.stdout), "c-test: auto (was approve)\n");
    // Now that it may act alone, it brings the old primary back.
    let now = site.settled().await;
    assert_eq!(now.instance.as_str(), primary);
    let exists = site.session(&now).await.value("SELECT COUNT(*) FROM shop.kept").await.expect("readable");
    assert_eq!(exists.as_deref(), Some("0"), "the acknowledged table is there");
    let fleet = site.operator(&["mode", "fleet", "auto"]);
    assert_eq!(String::from_utf8_lossy(&fleet.stdout), "fleet: auto\n");
    // What happened is told while it runs, from the process that has the bus.
    let why = site.asked(&["why", CLUSTER]);
    assert!(why.contains("approved") && why.contains("promote"), "{why}");
    let first_fact = site.asked(&["events", "journal", "--from", "start", "-n", "1"]);
    assert!(first_fact.starts_with("{\"schema_version\":1"), "{first_fact}");
    let archive = site.dir.join("archive");
    site.asked(&["journal", "export", archive.to_str().expect("a path")]);
    site.stop();
    let replayed = millrace().args(["journal", "replay"]).arg(&archive).output().expect("it runs");
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stdout));
    site.remove().await;
}

#[test]
fn what_makes_no_cluster_is_told_at_once() {
    let site = Site::new(Flavour::MariaDb);
    let create = |more: &[&str]| {
        let all = [&["create", CLUSTER, "--flavour", "mariadb", "--template", "t"], more].concat();
        let output = site.operator(&all);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, told) = create(&["--member", "db1@h1"]);
    assert_eq!(code, Some(2));
    assert!(told.contains("INSTANCE@HOST:ADDRESS:PORT"), "{told}");
    let twice = ["--member", "db1@h1:127.0.0.1:1", "--member", "db1@h2:127.0.0.1:1", "--primary", "db9"];
    let (code, told) = create(&twice);
    assert_eq!(code, Some(2));
    for expected in ["db1 is named twice", "127.0.0.1:1 is used by two", "db9 is not a member"] {
        assert!(told.contains(expected), "{expected} is not in\n{told}");
    }
}
