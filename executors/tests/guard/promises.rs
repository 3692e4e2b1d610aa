//! Epochs, holds and fences, through a real guard.

use std::time::Duration;

use millrace_executors::guard::{ExitCause, Request, Server};
use millrace_mysql::Flavour;
use millrace_schemas::ids::Epoch;
use rustix::process::Signal;

use crate::place::{Place, Times, WITHIN, send};

#[tokio::test]
async fn a_promised_hold_outlasts_the_usual_one_and_a_release_ends_it() {
    // 10 s, as the product has it: the promise has to come before the usual hold lapses, which then is waited for.
    let hold = Duration::from_secs(10);
    let place = Place::start_with(Flavour::MariaDb, Times { hold, ..Times::default() }).await;
    let pid = place.server_pid();
    send(pid, Signal::KILL);
    place.exit(pid).await;
    let held = place.process.hold(Epoch(2)).await.unwrap();
    assert!(held.is_held_down_for(Epoch(2)), "{held:?}");
    // The usual hold began before, so it would have lapsed by then.
    tokio::time::sleep(hold + Duration::from_secs(1)).await;
    assert!(place.state().is_held_down_for(Epoch(2)), "{:?}", place.state());
    place.process.release(Epoch(2)).await.unwrap();
    place.closed_after(pid).await;
}

#[tokio::test]
async fn lower_epochs_are_refused_with_the_reason() {
    let place = Place::make(Flavour::MariaDb).await;
    place.process.hold(Epoch(5)).await.unwrap();
    for request in [Request::Start { epoch: Epoch(4), superseded: false }, Request::Release { epoch: Epoch(4) }] {
        let error = place.process.guard().ask(request).await.unwrap_err().to_string();
        assert!(error.ends_with("refused: epoch 4 is over, epoch 5 was promised here"), "{error}");
    }
    assert_eq!(place.state().server, Server::Down);
}

async fn killing_holds_it_down(flavour: Flavour) {
    let place = Place::start(flavour).await;
    let pid = place.server_pid();
    let state = place.process.kill_and_hold(Epoch(3), WITHIN).await.unwrap_or_else(|error| panic!("{error}"));
    let exit = state.last_exit.clone().unwrap();
    assert_eq!((exit.signal, exit.cause), (Some(9), ExitCause::Asked));
    assert!(state.is_held_down_for(Epoch(3)));
    let again = place.process.kill_and_hold(Epoch(3), WITHIN).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(again.last_exit, state.last_exit, "doing it twice changes nothing");
    place.process.start_closed(Epoch(4), false, WITHIN).await.unwrap_or_else(|error| panic!("{error}"));
    assert_ne!(place.server_pid(), pid);
}

#[tokio::test]
async fn killing_holds_mysql_down() {
    killing_holds_it_down(Flavour::MySql).await;
}

#[tokio::test]
async fn killing_holds_mariadb_down() {
    killing_holds_it_down(Flavour::MariaDb).await;
}

#[tokio::test]
async fn a_server_that_was_opened_does_not_count_as_started_closed() {
    let place = Place::start(Flavour::MariaDb).await;
    place.run(&["SET GLOBAL read_only=OFF"]).await;
    let error = place.process.start_closed(Epoch(1), false, WITHIN).await.unwrap_err().to_string();
    assert!(error.contains("is open"), "{error}");
}
