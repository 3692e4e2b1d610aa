//! How a server can end, and what its guard makes of it.

use std::time::Duration;

use millrace_executors::guard::{ExitCause, Request, Server};
use millrace_mysql::{Dialect, Error, Flavour};
use millrace_schemas::ids::Epoch;
use millrace_test_servers::all_stopped;
use rustix::process::Signal;
use tokio::task::JoinHandle;

use crate::place::{Place, Times, WITHIN, send};

/// 2 s: long enough to tell a hold from an immediate start, and short, since it is waited for.
const LAPSES: Duration = Duration::from_secs(2);

/// 1 s, as the product has it, where closing cannot be confirmed and is waited for in vain.
const IN_VAIN: Duration = Duration::from_secs(1);

async fn a_killed_server_is_a_crash_and_lapses_into_a_closed_start(flavour: Flavour) {
    let place = Place::start_with(flavour, Times { hold: LAPSES, ..Times::default() }).await;
    let pid = place.server_pid();
    // Open it as an owner of an epoch would: nothing of that may survive the crash.
    let mut session = place.session().await;
    let dialect = Dialect::detect(&mut session).await.unwrap();
    for statement in dialect.open() {
        session.execute(statement).await.unwrap();
    }
    send(pid, Signal::KILL);
    let exit = place.exit(pid).await;
    assert_eq!((exit.pid, exit.signal, exit.code, exit.cause), (pid, Some(9), None, ExitCause::Crash));
    place.closed_after(pid).await;
    let state = place.state();
    assert_eq!((state.crashes, state.hold), (1, None));
    // By the guard's own times: a test that is late could miss the hold itself.
    let held_us = state.server.process().unwrap().since_boot_us - exit.at_boot_us;
    assert!(u128::from(held_us) >= LAPSES.as_micros(), "started again after {held_us} us");
}

async fn a_shutdown_is_no_crash_and_stays_down(flavour: Flavour) {
    let place = Place::start(flavour).await;
    let pid = place.server_pid();
    // The connection may break before the answer comes.
    let _ = place.session().await.execute("SHUTDOWN").await;
    let exit = place.exit(pid).await;
    assert_eq!((exit.pid, exit.code, exit.cause), (pid, Some(0), ExitCause::Shutdown));
    assert!(exit.cause.is_requested());
    let state = place.state();
    assert_eq!((state.hold, state.keep_running, state.crashes), (None, false, 0));
    place.process.start_closed(Epoch(1), false, WITHIN).await.unwrap_or_else(|error| panic!("{error}"));
}

async fn a_sigterm_by_somebody_else_is_a_shutdown(flavour: Flavour) {
    let place = Place::start(flavour).await;
    let pid = place.server_pid();
    send(pid, Signal::TERM);
    assert_eq!(place.exit(pid).await.cause, ExitCause::Shutdown);
}

async fn stopping_closes_and_stops_and_stays_down(flavour: Flavour) {
    let place = Place::start(flavour).await;
    let state = place.process.stop(Epoch(2), WITHIN).await.unwrap_or_else(|error| panic!("{error}"));
    let exit = state.last_exit.unwrap();
    assert_eq!((exit.code, exit.signal, exit.cause), (Some(0), None, ExitCause::Asked), "stopped in good order");
    assert!(!state.keep_running && state.hold.is_none());
    let again = place.process.stop(Epoch(2), WITHIN).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(again.server, Server::Down);
}

async fn a_server_that_hangs_is_killed_when_it_cannot_be_closed(flavour: Flavour) {
    let place = Place::start_with(flavour, Times { close: IN_VAIN, ..Times::default() }).await;
    let pid = place.server_pid();
    send(pid, Signal::STOP);
    millrace_test_servers::eventually("every thread is stopped", async || all_stopped(pid)).await;
    let state = place.process.stop(Epoch(2), WITHIN).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(state.last_exit.unwrap().signal, Some(9));
}

/// Opens the server with lossless semi-sync and nobody below, and leaves a client's commit waiting.
async fn a_commit_that_waits(place: &Place) -> JoinHandle<Result<(), Error>> {
    let mut hands = place.session().await;
    let dialect = Dialect::detect(&mut hands).await.unwrap();
    for statement in dialect.open() {
        hands.execute(statement).await.unwrap_or_else(|error| panic!("{error}"));
    }
    hands.execute("CREATE TABLE shop.t (id INT PRIMARY KEY)").await.unwrap_or_else(|error| panic!("{error}"));
    for statement in dialect.enable_semi_sync_source(1).unwrap() {
        hands.execute(&statement).await.unwrap_or_else(|error| panic!("{error}"));
    }
    let mut client = place.application().await;
    let waiting = tokio::spawn(async move { client.execute_within("INSERT INTO shop.t VALUES (1)", WITHIN).await });
    millrace_test_servers::eventually("the commit waits", async || {
        let read = millrace_mysql::status::read(&mut hands).await.unwrap();
        (read.semi_sync.waiting == 1).then_some(())
    })
    .await;
    waiting
}

/// The guard is told to stop while a commit waits. SIGTERM alone would report it as done.
async fn a_waiting_commit_is_never_reported_as_done(flavour: Flavour) {
    // Behind such a commit only MariaDB can confirm that it is closed.
    let close = if flavour == Flavour::MySql { IN_VAIN } else { Times::default().close };
    let place = Place::start_with(flavour, Times { close, ..Times::default() }).await;
    let waiting = a_commit_that_waits(&place).await;
    place.process.stop(Epoch(2), WITHIN).await.unwrap_or_else(|error| panic!("{error}"));
    assert!(waiting.await.unwrap().is_err(), "a commit that no replica has was reported as done");
}

async fn rows_after_a_crash(flavour: Flavour, superseded: bool) -> Option<String> {
    let place = Place::start(flavour).await;
    let waiting = a_commit_that_waits(&place).await;
    place.process.kill_and_hold(Epoch(2), WITHIN).await.unwrap_or_else(|error| panic!("{error}"));
    assert!(waiting.await.unwrap().is_err());
    place.process.start_closed(Epoch(3), superseded, WITHIN).await.unwrap_or_else(|error| panic!("{error}"));
    place.session().await.value("SELECT COUNT(*) FROM shop.t").await.unwrap()
}

/// What nobody acknowledged comes back with a server that may be opened again, and goes with one that was superseded, where
/// the server can do that.
#[tokio::test]
async fn an_unacknowledged_tail_is_dropped_only_by_a_mariadb_that_was_superseded() {
    assert_eq!(rows_after_a_crash(Flavour::MariaDb, false).await.as_deref(), Some("1"));
    assert_eq!(rows_after_a_crash(Flavour::MariaDb, true).await.as_deref(), Some("0"));
    assert_eq!(rows_after_a_crash(Flavour::MySql, true).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_restart_of_mysql_starts_it_again_at_once_and_closed() {
    let place = Place::start(Flavour::MySql).await;
    let pid = place.server_pid();
    let _ = place.session().await.execute("RESTART").await;
    place.closed_after(pid).await;
    let state = place.state();
    let exit = state.last_exit.unwrap();
    assert_eq!((exit.code, exit.cause, state.crashes), (Some(16), ExitCause::Restart, 0));
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why_and_is_tried_again_later() {
    let place = Place::make_with(Flavour::MariaDb, Times { hold: LAPSES, ..Times::default() }).await;
    std::fs::write(place.dir().join("my.cnf"), "[mysqld]\nno-such-option=1\n").unwrap();
    let error = place.process.start_closed(Epoch(1), false, WITHIN).await.unwrap_err().to_string();
    assert!(error.contains("ended while it was starting: exit code"), "{error}");
    let state = place.until("the second attempt", |state| state.crashes >= 2).await;
    assert!(state.hold.is_some() || state.server != Server::Down);
    let held = place.process.guard().ask(Request::Hold { epoch: Epoch(2) }).await.unwrap();
    assert_eq!(held.promised, Epoch(2));
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
    a_killed_server_is_a_crash_and_lapses_into_a_closed_start: mysql_is_killed, mariadb_is_killed;
    a_shutdown_is_no_crash_and_stays_down: mysql_is_shut_down, mariadb_is_shut_down;
    a_sigterm_by_somebody_else_is_a_shutdown: mysql_gets_sigterm, mariadb_gets_sigterm;
    stopping_closes_and_stops_and_stays_down: mysql_is_stopped, mariadb_is_stopped;
    a_server_that_hangs_is_killed_when_it_cannot_be_closed: mysql_hangs, mariadb_hangs;
    a_waiting_commit_is_never_reported_as_done: mysql_waits, mariadb_waits;
}
