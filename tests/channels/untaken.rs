//! A channel for what nobody takes: it hears of an alert when its own time has passed and nobody took it, however often it was
//! started again in between, and then of its end; another channel hears of all at once.

use super::receiver::Receiver;
use super::*;

/// Minutes of people are seconds of a test.
const UNTAKEN: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hears_of_what_nobody_took_hears_of_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let (all, late) = (Receiver::start(), Receiver::start());
    let channels = || {
        let untaken = Channel { untaken_for: Some(UNTAKEN), ..webhook("late", late.url()) };
        vec![webhook("all", all.url()), untaken]
    };
    let up = site(folder.path(), channels()).await;
    let began_at = Instant::now();
    up.bus.append(vec![began("Left"), began("Taken"), began("Over")]).await.expect("taken");
    all.takes(3).await;
    up.bus
        .append(vec![alert("Taken", Some(Told::Acknowledged), Severity::Critical), ended("Over")])
        .await
        .expect("taken");
    all.takes(4).await;
    assert_eq!(late.got().len(), 0, "{:?} after they began", began_at.elapsed());
    // The time goes on while nobody runs, and what was read is not read again.
    up.stop().await;
    let up = site(folder.path(), channels()).await;
    assert_eq!(late.takes(1).await, [pair("Left", "firing")]);
    assert!(began_at.elapsed() >= UNTAKEN, "{:?}", began_at.elapsed());
    let got = late.got();
    assert_eq!(got[0].body["alerts"][0]["annotations"]["told"], "escalated");
    let ids: Vec<String> = all.got().iter().map(|one| one.header("idempotency-key").to_owned()).collect();
    assert!(!ids.contains(&got[0].header("idempotency-key").to_owned()), "it is a word of its own");
    up.bus
        .append(vec![alert("Left", Some(Told::Changed), Severity::Critical), ended("Left"), ended("Taken")])
        .await
        .expect("taken");
    let expected = [pair("Left", "firing"), pair("Left", "firing"), pair("Left", "resolved")];
    assert_eq!(late.takes(3).await, expected, "who was told of it is told what becomes of it");
    tokio::time::sleep(UNTAKEN).await;
    assert_eq!(late.got().len(), 3, "and of nothing that somebody took, or that was over");
    up.stop().await;
}
