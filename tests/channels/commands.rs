//! `millrace channels list` and `test`: what is configured, and what the other side answers.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use millrace_test_servers::{Store, certificate};
use serde_json::Value;

use super::receiver::{Answer, Receiver};
use super::*;
use crate::real::site::millrace;

fn config(folder: &Path, channels: &str) -> PathBuf {
    let file = folder.join("millrace.toml");
    std::fs::write(&file, format!("[bus]\nfile = \"{}\"\n{channels}", folder.join("bus.db").display()))
        .expect("writable");
    file
}

/// Exit code and output.
async fn run(config: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = millrace();
    command.arg("channels").args(arguments).arg("--config").arg(config);
    let ended = tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("no panic");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (ended.status.code(), text(ended.stdout), text(ended.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_message_is_marked_and_its_answer_is_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start();
    let (secret, url) = (folder.path().join("url"), receiver.url());
    std::fs::write(&secret, &url).expect("writable");
    let channels = format!(
        "[[channel]]\nname = \"ops\"\nkind = \"webhook\"\nurl-file = \"{}\"\nseverity = \"critical\"\n",
        secret.display()
    );
    let config = config(folder.path(), &channels);
    let (code, said, _) = run(&config, &["test", "ops"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("ops (firing, ") && said.ends_with("): taken: 200 OK: the answer is 200 OK\n"), "{said}");
    let alert = &receiver.got()[0].body["alerts"][0];
    assert_eq!(alert["labels"]["alertname"], "ChannelTest");
    assert!(alert["annotations"]["summary"].as_str().expect("text").contains("nothing is wrong"), "{alert}");

    receiver.answers([Answer::status(400)]);
    let (code, said, _) = run(&config, &["test", "ops"]).await;
    assert_eq!((code, said.contains("): refused: 400 Bad Request")), (Some(1), true), "{said}");
    receiver.answers([Answer::status(503)]);
    let (code, said, _) = run(&config, &["test", "ops", "-o", "json"]).await;
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((code, said["messages"][0]["outcome"].as_str()), (Some(1), Some("not-now")), "{said}");
    std::fs::write(&secret, "http://127.0.0.1:9/a-secret\n").expect("writable");
    let (code, said, errors) = run(&config, &["test", "ops"]).await;
    assert_eq!((code, said.contains("not taken")), (Some(1), true), "{said}");
    assert!(!said.contains("a-secret") && !errors.contains("a-secret"), "{said}{errors}");
    let (code, _, errors) = run(&config, &["test", "pos"]).await;
    assert_eq!(
        (code, errors.contains("there is no channel pos; the configuration has: ops")),
        (Some(2), true),
        "{errors}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_leaves_nothing_firing_in_an_alertmanager() {
    let folder = tempfile::tempdir().expect("a folder");
    let manager = Store::alertmanager();
    let config = config(
        folder.path(),
        &format!("[[channel]]\nname = \"am\"\nkind = \"alertmanager\"\nurl = \"{}\"\n", manager.url()),
    );
    let (code, said, _) = run(&config, &["test", "am"]).await;
    assert_eq!((code, said.lines().count()), (Some(0), 2), "{said}");
    let shown = manager.get("/api/v2/alerts");
    assert_eq!(shown.trim(), "[]");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_says_where_alerts_go_and_no_secret() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/examples/channels.toml");
    let (code, said, _) = run(&example, &["list"]).await;
    let expected = "\
ops              webhook      https://alerts.example.org/hook: info and worse, 30 messages a minute
alertmanager     alertmanager http://alertmanager.example.org:9093: info and worse, 120 messages a minute
pager            pagerduty    https://events.pagerduty.com/v2/enqueue: critical and worse, only what was escalated, 30 messages a minute
second-pager     pagerduty    https://events.pagerduty.com/v2/enqueue: warning and worse, only what nobody took for 45 min, 30 messages a minute
chat             slack        the address in /etc/millrace/slack.url: warning and worse, 30 messages a minute
other-chat       chat         the address in /etc/millrace/chat.url: info and worse, clusters c-shop, 30 messages a minute
mail             email        dba@example.org by mail.example.org:587: info and worse, 6 messages a minute
own-program      command      /usr/local/bin/tell-us: info and worse, rules FailoverDone FailoverRefused, 30 messages a minute
";
    assert_eq!((code, said.as_str()), (Some(0), expected));
}

/// A server that speaks TLS: it prints its port, and answers any message.
const TLS_SERVER: &str = r#"
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(202)
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_is_spoken_with_those_alone_whose_certificate_this_host_believes() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = certificate(folder.path());
    let mut command = Command::new("python3");
    command.args(["-c", TLS_SERVER]).args(&files).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut server = command.spawn().expect("python3 is there");
    let mut port = String::new();
    BufReader::new(server.stdout.take().expect("piped")).read_line(&mut port).expect("it says its port");
    let url = format!("https://localhost:{}/", port.trim());
    let config = config(folder.path(), &format!("[[channel]]\nname = \"a\"\nkind = \"webhook\"\nurl = \"{url}\"\n"));
    let mut tried = Vec::new();
    for believed in [None, Some(&files[0])] {
        let mut command = millrace();
        command.args(["channels", "test", "a", "--config"]).arg(&config).env_remove("SSL_CERT_DIR");
        match believed {
            Some(file) => command.env("SSL_CERT_FILE", file),
            None => command.env_remove("SSL_CERT_FILE"),
        };
        let ended = command.output().expect("it runs");
        tried.push((ended.status.code(), String::from_utf8(ended.stdout).expect("text")));
    }
    let _ = server.kill(); // it fails only if it has ended
    let _ = server.wait();
    assert!(tried[0].0 == Some(1) && tried[0].1.contains("certificate"), "nobody here believes it: {tried:?}");
    assert!(tried[1].0 == Some(0) && tried[1].1.contains("taken: 202 Accepted"), "{tried:?}");
}
