//! Servers that refuse, hang or vanish: every wait ends, and every error names what a person needs.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use millrace_mysql::{Account, Error, Flavour, Session};
use millrace_test_servers::{Options, Server, all_stopped, eventually};
use rustix::process::Signal;

async fn a_refused_login_names_user_and_remedy(flavour: Flavour) {
    let server = Server::start(flavour, &Options::default()).await;
    let wrong = server.folder().join("wrong.password");
    std::fs::write(&wrong, "wrong\n").unwrap();
    std::fs::set_permissions(&wrong, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut target = server.target("a-1");
    target.account = Account { user: "millrace".into(), password_file: Some(wrong) };
    let error = Session::open(&target).await.unwrap_err();
    assert_eq!(error.code(), Some(1045), "{error}");
    assert!(error.is_credentials());
    let text = error.to_string();
    assert!(text.starts_with(&format!("a-1 at 127.0.0.1:{} as user millrace: connect: ", server.port())), "{text}");
    assert!(text.contains("check the user and its password file"), "{text}");
}

async fn an_error_of_the_server_leaves_the_session_usable(flavour: Flavour) {
    let server = Server::start(flavour, &Options::default()).await;
    let mut session = server.session().await;
    let error = session.execute("SELECT FROM WHERE 'a literal'").await.unwrap_err();
    assert_eq!(error.code(), Some(1064));
    assert!(!error.to_string().contains("a literal"), "{error}");
    let error = session.rows("SELECT * FROM shop.nothing").await.unwrap_err();
    assert_eq!(error.code(), Some(1146));
    assert_eq!(session.value("SELECT 1").await.unwrap().as_deref(), Some("1"));
    session.execute_with("SET @x = ?", (7,)).await.unwrap();
    assert_eq!(session.value("SELECT @x").await.unwrap().as_deref(), Some("7"));
    assert_eq!(session.value("SELECT NULL").await.unwrap(), None);
}

async fn a_stopped_server_is_given_up_in_time(flavour: Flavour) {
    let server = Server::start(flavour, &Options::default()).await;
    let mut session = server.session().await;
    let mut target = server.target("a-1");
    target.connect_within = Duration::from_millis(200);
    server.signal(Signal::STOP);
    eventually("every thread is stopped", async || all_stopped(server.pid())).await;
    let error = session.execute_within("SELECT 1", Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }) && error.outcome_unknown(), "{error}");
    let error = Session::open(&target).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    server.signal(Signal::CONT);
    // The answer to the old question must never be taken for that to a new one.
    assert!(!session.is_usable());
    assert!(matches!(session.value("SELECT 2").await.unwrap_err(), Error::Lost { .. }));
    assert_eq!(server.value("SELECT 2").await.as_deref(), Some("2"));
}

async fn a_killed_server_breaks_its_sessions(flavour: Flavour) {
    let mut server = Server::start(flavour, &Options::default()).await;
    let mut session = server.session().await;
    server.kill();
    let error = session.execute("SELECT 1").await.unwrap_err();
    assert!(matches!(error, Error::Lost { .. }) && error.outcome_unknown(), "{error}");
    let error = Session::open(&server.target("a-1")).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    server.start_again().await;
    assert_eq!(server.value("SELECT 1").await.as_deref(), Some("1"));
}

async fn a_killed_session_is_noticed_by_its_owner(flavour: Flavour) {
    let server = Server::start(flavour, &Options::default()).await;
    let mut victim = server.session().await;
    server.run(&[&format!("KILL {}", victim.id())]).await;
    let error = victim.execute("SELECT 1").await.unwrap_err();
    assert!(matches!(error, Error::Lost { .. }) || error.code().is_some(), "{error}");
}

macro_rules! on_both {
    ($($case:ident: $mysql:ident, $mariadb:ident;)*) => {$(
        #[tokio::test]
        async fn $mysql() {
            $case(Flavour::MySql).await;
        }

        #[tokio::test]
        async fn $mariadb() {
            $case(Flavour::MariaDb).await;
        }
    )*};
}

on_both! {
    a_refused_login_names_user_and_remedy: mysql_refuses_a_login, mariadb_refuses_a_login;
    an_error_of_the_server_leaves_the_session_usable: mysql_errors, mariadb_errors;
    a_stopped_server_is_given_up_in_time: mysql_stops_answering, mariadb_stops_answering;
    a_killed_server_breaks_its_sessions: mysql_is_killed, mariadb_is_killed;
    a_killed_session_is_noticed_by_its_owner: mysql_kills_a_session, mariadb_kills_a_session;
}
