//! A notifier that is killed: whatever it had sent and not yet kept as told is sent again, with the same id; and nothing else is.

use std::sync::Arc;

use millrace::bus::local::LocalBus;

use super::receiver::{Answer, Receiver};
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_killed_between_sending_and_keeping_sends_again_with_the_same_id() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start();
    let up = site(folder.path(), vec![webhook("ops", receiver.url())]).await;
    up.stop().await;
    let file = folder.path().join("bus.db");
    let bus = until("the bus is free", || LocalBus::open(&file, Arc::default()).ok()).await;
    bus.append(vec![began("One"), began("Two"), ended("One")]).await.expect("taken");
    drop(bus);
    let config = folder.path().join("millrace.toml");
    let channel = format!("[[channel]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"{}\"\n", receiver.url());
    std::fs::write(&config, format!("[bus]\nfile = \"{}\"\n{channel}", file.display())).expect("writable");

    // It has the second alert and says nothing: then the sender is killed.
    receiver.answers([Answer::status(200), Answer { delay: PATIENCE, ..Answer::status(200) }]);
    let child = Killed::start("sink", &config);
    until("the second was sent", || (receiver.got().len() == 2).then_some(())).await;
    drop(child);
    let child = Killed::start("sink", &config);
    let rest = [pair("Two", "firing"), pair("One", "resolved")];
    until("the rest is told", || receiver.taken().ends_with(&rest).then_some(())).await;
    let got = receiver.got();
    let ids: Vec<&str> = got.iter().map(|got| got.header("idempotency-key")).collect();
    assert_eq!(ids[1], ids[ids.len() - 2], "the second came again with its id: {ids:?}");
    assert!(ids.len() <= 5, "at most the first, whose answer may not have been kept, came again too: {ids:?}");
    tokio::time::sleep(Duration::from_secs(1)).await; // its position is kept
    drop(child);
    let _child = Killed::start("sink", &config);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(receiver.got().len(), ids.len(), "what was told and kept is not told again");
}
