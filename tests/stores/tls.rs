//! A store over TLS, with a certificate of an authority of the test's own: `millrace doctor` says whether this host believes it, or who names
//! the authority with `ca-file`, and the sink writes only then.

use std::process::{Command, Stdio};

use millrace_test_servers::signed;

use super::*;

/// Doctor's finding of the store `name`, with those authorities that `believed` names.
fn doctor(config: &Path, believed: Option<&Path>, name: &str) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.args(["doctor", "-o", "json", "--config"]).arg(config).env_remove("SSL_CERT_DIR");
    match believed {
        Some(file) => command.env("SSL_CERT_FILE", file),
        None => command.env_remove("SSL_CERT_FILE"),
    };
    let output = command.output().expect("it runs");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let findings = report["findings"].as_array().expect("findings").clone();
    let finding =
        findings.iter().find(|one| one["check"] == format!("store {name}")).expect("a finding for each store");
    let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    (text("level"), format!("{}; {}", text("found"), text("do")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_says_of_each_store_how_it_is_and_numbers_go_over_tls_to_who_is_believed() {
    let folder = tempfile::tempdir().expect("a folder");
    let strangers = tempfile::tempdir().expect("a folder");
    let [authority, certificate, key] = signed(folder.path());
    let [stranger, ..] = signed(strangers.path());
    let (store, port) = Store::tls([&certificate, &key]);
    let root = folder.path().display();
    let config = folder.path().join("millrace.toml");
    let over_tls = |name: &str, more: &str| {
        format!(
            "[[store]]\nname = \"{name}\"\nurl = \"https://localhost:{port}\"\nkind = \"influx-v2\"\nbucket = \"b\"\n{more}"
        )
    };
    let by = |name: &str, file: &Path| over_tls(name, &format!("ca-file = \"{}\"\n", file.display()));
    let stores = [over_tls("tls", ""), by("private", &authority), by("strange", &stranger)].concat();
    let text = format!(
        "[bus]\nfile = \"{root}/bus.db\"\n{stores}\
         [[store]]\nname = \"plain\"\nurl = \"{}\"\nkind = \"remote-write\"\n\
         [[store]]\nname = \"away\"\nurl = \"tcp://127.0.0.1:9\"\nkind = \"graphite\"\n\
         [[store]]\nname = \"lake\"\nurl = \"file://{root}/lake\"\nkind = \"parquet\"\n",
        store.url()
    );
    std::fs::write(&config, text).expect("writable");
    let check = |believed, name, level: &str, part: &str| {
        let (found, text) = doctor(&config, believed, name);
        assert!(found == level && text.contains(part), "{name}: {found}: {text}");
    };
    check(None, "tls", "problem", "certificate");
    check(None, "tls", "problem", "believe who signed");
    check(Some(&authority), "tls", "ok", "takes writes, its certificate is believed");
    check(None, "private", "ok", "takes writes, its certificate is believed");
    check(Some(&authority), "strange", "problem", "certificate"); // the file alone counts
    check(None, "plain", "ok", "takes writes");
    check(None, "away", "problem", "refused");
    check(None, "lake", "ok", "writable, will be made");

    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.args(["up", "--config"]).arg(&config).env("SSL_CERT_FILE", &authority).env_remove("SSL_CERT_DIR");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let bus = LocalBus::open(&folder.path().join("bus.db"), Arc::default()).expect("it opens");
    let Some(samples::Taken::Sample(sample)) = examples::taken().into_iter().next() else { panic!("an example") };
    let taken = Timestamp(jiff::Timestamp::now().as_microsecond());
    bus.append(vec![event(samples::Taken::Sample(samples::Sample { taken, ..sample }))]).await.expect("taken");
    drop(bus);
    let mut up = command.spawn().expect("it starts");
    let until = Instant::now() + PATIENCE;
    let series = "/api/v1/export?match[]=mysql_global_status_questions";
    let stored = loop {
        store.flush();
        let stored = store.get(series);
        if !stored.is_empty() || Instant::now() > until {
            break stored;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    tokio::time::sleep(Duration::from_secs(22)).await; // its position is saved once the store had time to keep it
    let _ = up.kill();
    let _ = up.wait();
    // Several stores have it: what comes by any way is one series.
    assert!(stored.contains("\"host\":\"h2\""), "{stored}");
    check(Some(&authority), "tls", "ok", "records behind: ");
    check(None, "private", "ok", "records behind: ");
    check(None, "strange", "problem", "it has no position yet");
}
