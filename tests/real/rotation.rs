//! The hands rotate the slow log of a running primary and of its replicas: nothing that is logged is lost or published twice, older
//! logs are removed, and no server takes a transaction of its own for it, which would make it errant.

use millrace_executors::hands::Hands;
use millrace_executors::hands::slow_log::rotated;
use millrace_executors::promises::Promises;
use millrace_mysql::{Flavour, Session};
use millrace_schemas::cluster::Member;

use super::site::{Role, Site, templates};
use super::slow_log::{followed, published, say};

const DAYS: [&str; 3] = ["2026-11-28", "2026-11-29", "2026-11-30"];
const KEPT: usize = 2;

async fn rotated_daily(flavour: Flavour) {
    let mut site = Site::new(flavour);
    site.start(Role::Up, None);
    site.create("auto");
    let primary = site.settled().await;
    let replica = site.spec.members.iter().find(|member| member.instance != primary.instance).expect("three").clone();
    for member in [&primary, &replica] {
        followed(&site, member).await;
    }
    let mut said = Vec::new();
    for member in [&primary, &replica] {
        let hands = hands(&site, member);
        let instance = site.instance(member).expect("it runs here");
        let mut session = site.session(member).await;
        session.execute("SET SESSION long_query_time=0").await.expect("set");
        for day in DAYS {
            let name = format!("{}_{}", member.instance, day.replace('-', "_"));
            say(&mut session, &name).await;
            said.push(name);
            let done = hands.rotate_slow_log(&instance, day, KEPT).await.expect("rotated");
            assert_eq!(done.to, Some(rotated(&instance, day)));
            assert_eq!(done.removed, u64::from(day == DAYS[2]));
            let again = hands.rotate_slow_log(&instance, day, KEPT).await.expect("nothing to do");
            assert_eq!((again.to, again.removed), (None, 0), "{day}");
            // What a crash between renaming and opening anew leaves: the next turn ends it.
            std::fs::rename(instance.slow_log(), instance.dir.join("aside")).expect("renames");
            hands.rotate_slow_log(&instance, day, KEPT).await.expect("opened anew");
            assert!(instance.slow_log().exists());
        }
        let last = format!("{}_last", member.instance);
        say(&mut session, &last).await;
        said.push(last);
        let names: Vec<&str> = said.iter().map(String::as_str).collect();
        published(&site, &names).await;
        let kept = DAYS.map(|day| rotated(&instance, day).exists());
        assert_eq!(kept, [false, true, true], "{}", member.instance);
    }

    let mut session = site.session(&replica).await;
    assert!(!has_own_transactions(&mut session, flavour).await, "a rotation took a transaction of its own");
    // That this would show: without LOCAL the same statement takes one, also on a server that nobody can write to.
    session.execute("FLUSH SLOW LOGS").await.expect("a new file");
    assert!(has_own_transactions(&mut session, flavour).await, "nothing was seen of a transaction of its own");
    session.close().await;
    site.remove().await;
}

fn hands(site: &Site, member: &Member) -> Hands {
    let promises = Promises::open(&site.dir.join(format!("promises-{}.json", member.instance))).expect("a file");
    Hands::new(env!("CARGO_BIN_EXE_millrace").into(), site.dir.join(member.host.as_str()), templates(), promises)
}

/// Whether anything was written to the binary log under the server's own name.
async fn has_own_transactions(session: &mut Session, flavour: Flavour) -> bool {
    let (sets, own) = match flavour {
        Flavour::MySql => ("SELECT LOWER(@@GLOBAL.gtid_executed)", "SELECT LOWER(@@GLOBAL.server_uuid)"),
        Flavour::MariaDb => ("SELECT @@GLOBAL.gtid_binlog_state", "SELECT CONCAT('-', @@GLOBAL.server_id, '-')"),
    };
    let sets = session.value(sets).await.expect("readable").unwrap_or_default();
    let own = session.value(own).await.expect("readable").expect("every server has one");
    sets.contains(&own)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql_slow_logs_are_rotated() {
    rotated_daily(Flavour::MySql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_slow_logs_are_rotated() {
    rotated_daily(Flavour::MariaDb).await;
}
