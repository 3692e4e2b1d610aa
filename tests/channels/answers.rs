//! Webhooks with every kind of answer: taken, not now, never, too late, and nobody there.

use std::collections::BTreeSet;

use millrace_schemas::metrics::{CHANNEL_BUNDLED, CHANNEL_DEAD, CHANNEL_DELIVERED, CHANNEL_FAILED, CHANNEL_OLDEST};
use millrace_schemas::topics::alerts::{Finding, fingerprint};
use millrace_schemas::topics::journal::Fact;
use millrace_sinks::channels::sign;

use super::receiver::{Answer, Receiver};
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_is_told_within_a_second_signed_and_with_the_events_id() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start();
    let (key, token) = (folder.path().join("key"), folder.path().join("token"));
    std::fs::write(&key, "a key\n").expect("writable");
    std::fs::write(&token, "a-token\n").expect("writable");
    let signed = Hook { token_file: Some(token), key_file: Some(key), ..hook(receiver.url()) };
    let up = site(folder.path(), vec![channel("ops", Kind::Webhook(signed))]).await;
    let mut appended = Vec::new();
    for number in 0..100 {
        let landed = up.bus.append(vec![began(&format!("R{number}"))]).await.expect("taken");
        appended.push(landed[0].appended);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    receiver.takes(100).await;
    // Two processors beside each other say the same, with the same id.
    let twice = began("Twice");
    up.bus.append(vec![twice.clone(), twice.clone()]).await.expect("taken");
    receiver.takes(101).await;
    up.bus.append(vec![twice, began("Last")]).await.expect("taken");
    assert_eq!(receiver.takes(102).await[100..], [pair("Twice", "firing"), pair("Last", "firing")]);
    let got = receiver.got();
    let mut waits: Vec<Duration> = appended.iter().zip(&got).map(|(at, got)| got.at.since(*at)).collect();
    waits.sort();
    println!(
        "from the record appended to the webhook received: p50 {:?}, p99 {:?}, most {:?}",
        waits[50], waits[98], waits[99]
    );
    let (parts, one) = (got[0].header(sign::HEADER), &got[0]);
    let seconds: i64 = parts.strip_prefix("t=").and_then(|rest| rest.split(',').next()?.parse().ok()).expect("a time");
    assert!((one.at.0 / 1_000_000 - seconds).abs() <= 5, "{parts}");
    assert_eq!(parts, sign::signature(b"a key", seconds, &one.bytes));
    assert_eq!(one.header("authorization"), "Bearer a-token");
    assert_eq!(one.header("idempotency-key"), one.body["alerts"][0]["annotations"]["event_id"].as_str().expect("text"));
    assert_eq!(one.body["alerts"][0]["annotations"]["runbook_url"], "https://wiki.example/blob/main/docs/alerts.md#r0");
    let ids: BTreeSet<&str> = got.iter().map(|got| got.header("idempotency-key")).collect();
    assert_eq!(ids.len(), 102);
    up.stop().await;
}

/// What a decider found, in the journal.
pub(super) fn finding(rule: &str, counter: u64) -> NewRecord {
    let cluster = ClusterId::parse("c1").expect("legal");
    let at = Timestamp(jiff::Timestamp::now().as_microsecond());
    let finding = Finding {
        fingerprint: fingerprint(&cluster, rule, None, &BTreeMap::new()),
        rule: rule.to_owned(),
        instance: None,
        labels: BTreeMap::new(),
        severity: Severity::Critical,
        state: AlertState::Firing,
        since: at,
        summary: format!("{rule} holds"),
        value: None,
        notifies: true,
    };
    let event = Event {
        id: EventId::derive(&["finding", rule]),
        source: "rules.1".to_owned(),
        sequence: Sequence { incarnation: 1, counter },
        at,
        appended: Timestamp::ZERO,
        subject: Subject::cluster(cluster),
        cause: None,
        payload: Fact::Finding(Box::new(finding)),
    };
    event.to_record()
}

/// Through the life of alerts: from the fact in the journal to the webhook.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finding_of_the_journal_is_told_once_by_a_webhook() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start();
    let settings = settings(folder.path(), vec![webhook("ops", receiver.url())]);
    let up = Up::start(&settings, Roles { process: true, ..SINK }).expect("it starts");
    begun(&up.bus, "ops").await;
    let mut appended = Vec::new();
    for number in 0..100 {
        let landed = up.bus.append(vec![finding(&format!("R{number}"), number)]).await.expect("taken");
        appended.push(landed[0].appended);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let expected: Vec<_> = (0..100).map(|number| pair(&format!("R{number}"), "firing")).collect();
    assert_eq!(receiver.takes(100).await, expected);
    let mut waits: Vec<Duration> = appended.iter().zip(receiver.got()).map(|(at, got)| got.at.since(*at)).collect();
    waits.sort();
    println!(
        "from the fact in the journal to the webhook received: p50 {:?}, p99 {:?}, most {:?}",
        waits[50], waits[98], waits[99]
    );
    up.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_taken_now_comes_later_with_the_same_id_and_what_never_is_goes_to_dead() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start();
    let up = site(folder.path(), vec![webhook("ops", receiver.url())]).await;
    receiver.answers([
        Answer { retry_after: Some(2), ..Answer::status(429) },
        Answer { delay: Duration::from_secs(4), ..Answer::status(200) },
        Answer::status(503),
    ]);
    up.bus.append(vec![began("First"), ended("First")]).await.expect("taken");
    receiver.takes(3).await; // the one that was too late counts for the receiver, not for the channel
    let got = receiver.got();
    let ids: Vec<&str> = got.iter().map(|got| got.header("idempotency-key")).collect();
    assert!(ids[0] == ids[1] && ids[1] == ids[2] && ids[2] == ids[3] && ids[3] != ids[4], "{ids:?}");
    assert!(got[1].at.since(got[0].at) >= Duration::from_secs(2), "it was asked to wait for 2 s");
    assert_eq!(got[4].alerts(), [pair("First", "resolved")], "the end comes after the beginning");

    receiver.rule(|body| match body["alerts"][0]["labels"]["alertname"].as_str() {
        Some("Bad") => Some(Answer::status(400)),
        Some("Stumbles") => Some(Answer::status(500)),
        _ => None,
    });
    let bad = began("Bad");
    up.bus.append(vec![bad.clone(), began("Stumbles"), began("Good")]).await.expect("taken");
    until("the good one is taken", || receiver.taken().contains(&pair("Good", "firing")).then_some(())).await;
    let letter = until("the bad one is in dead", || letters(&up.bus).into_iter().next()).await;
    assert_eq!(letter.headers["millrace.errors.stage"], "channel.ops.v1");
    assert_eq!(letter.headers["millrace.errors.message"], "400 Bad Request: the answer is 400 Bad Request");
    receiver.rule(|_| None);
    until("the one that it stumbled over is taken", || {
        receiver.taken().contains(&pair("Stumbles", "firing")).then_some(())
    })
    .await;
    until("nothing waits", || (up.metrics.get(&CHANNEL_OLDEST, &["ops"]) == 0.0).then_some(())).await;
    let count = |metric| up.metrics.get(metric, &["ops"]) as u64;
    assert_eq!((count(&CHANNEL_DELIVERED), count(&CHANNEL_DEAD)), (4, 1));
    assert!(count(&CHANNEL_FAILED) >= 4, "429, too late, 503 and 500");
    up.bus.append(vec![bad]).await.expect("taken"); // as `millrace dead replay` does
    until("what is replayed is taken", || receiver.taken().contains(&pair("Bad", "firing")).then_some(())).await;
    up.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_goes_away_has_all_when_it_is_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut receiver = Receiver::start();
    let up = site(folder.path(), vec![webhook("ops", receiver.url())]).await;
    receiver.go_away().await;
    up.bus.append((0..20).map(|number| began(&format!("R{number}"))).collect()).await.expect("taken");
    until("it was tried", || (up.metrics.get(&CHANNEL_FAILED, &["ops"]) >= 2.0).then_some(())).await;
    until("something waits", || (up.metrics.get(&CHANNEL_OLDEST, &["ops"]) > 0.5).then_some(())).await;
    receiver.come_back();
    let expected: Vec<_> = (0..20).map(|number| pair(&format!("R{number}"), "firing")).collect();
    assert_eq!(receiver.takes(20).await, expected);
    assert!(letters(&up.bus).is_empty());
    up.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_is_told_in_few_messages_and_all_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start();
    let slow = Channel { rate: 20, ..webhook("ops", receiver.url()) };
    let up = site(folder.path(), vec![slow]).await;
    let mut all: Vec<NewRecord> = (0..150).map(|number| began(&format!("R{number}"))).collect();
    all.push(ended("R149"));
    up.bus.append(all).await.expect("taken");
    let taken = receiver.takes(151).await;
    let different: BTreeSet<_> = taken.iter().collect();
    assert_eq!((taken.len(), different.len()), (151, 151), "each once");
    let place = |one: &(String, String)| taken.iter().position(|other| other == one).expect("taken");
    assert!(place(&pair("R149", "firing")) < place(&pair("R149", "resolved")), "in order");
    let sizes: Vec<usize> = receiver.got().iter().map(|got| got.alerts().len()).collect();
    assert_eq!(sizes[..20], [1; 20], "within the rate each goes alone");
    assert_eq!(sizes[20..], [130, 1], "the others in one; the end of one of them after it");
    let bundle = &receiver.got()[20].body;
    assert_eq!((bundle["status"].as_str(), bundle["commonLabels"]["cluster"].as_str()), (Some("firing"), Some("c1")));
    assert_eq!(up.metrics.get(&CHANNEL_BUNDLED, &["ops"]) as u64, 130);
    up.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_is_told_what_it_is_for_and_how_that_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let (all, some, pager) = (Receiver::start(), Receiver::start(), Receiver::start());
    let before = settings(folder.path(), Vec::new());
    let up = Up::start(&before, SINK).expect("it starts");
    up.bus.append(vec![began("LastMonth")]).await.expect("taken");
    up.stop().await;
    let channels = vec![
        webhook("all", all.url()),
        Channel {
            severity: Severity::Critical,
            rules: vec!["Wanted".to_owned()],
            clusters: vec![ClusterId::parse("c1").expect("legal")],
            ..webhook("some", some.url())
        },
        Channel { escalations: true, ..webhook("pager", pager.url()) },
        Channel {
            clusters: vec![ClusterId::parse("c9").expect("legal")],
            ..webhook("nobody", "http://127.0.0.1:9/".to_owned())
        },
    ];
    let up = site(folder.path(), channels).await;
    let records = vec![
        alert("Quiet", None, Severity::Critical),
        alert("Wanted", Some(Told::Began), Severity::Warning),
        alert("Wanted", Some(Told::Changed), Severity::Critical),
        alert("Wanted", Some(Told::Acknowledged), Severity::Critical), // a webhook has no word for it
        alert("Other", Some(Told::Began), Severity::Critical),
        alert("Other", Some(Told::Escalated), Severity::Critical),
        alert("Wanted", Some(Told::Resolved), Severity::Warning),
        alert("Other", Some(Told::Resolved), Severity::Info),
    ];
    up.bus.append(records).await.expect("taken");
    let taken = all.takes(6).await;
    assert_eq!(taken.len(), 6, "nothing of last month, and nothing that is not to be told: {taken:?}");
    let of_pager = pager.takes(2).await;
    assert_eq!(of_pager, [pair("Other", "firing"), pair("Other", "resolved")], "what was escalated, and its end");
    let of_some = some.takes(2).await;
    assert_eq!(
        of_some,
        [pair("Wanted", "firing"), pair("Wanted", "resolved")],
        "the end of what it was told, whatever its severity"
    );
    assert_eq!(up.metrics.get(&CHANNEL_FAILED, &["nobody"]) as u64, 0, "nothing is for it");
    up.stop().await;
}
