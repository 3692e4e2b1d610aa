//! Channels over TLS, with a certificate of an authority of the test's own: who names its file with `ca-file` is believed, who does not gets
//! nothing, and neither gets who names another's. A mail server takes nothing before STARTTLS and the log-in.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use millrace_sinks::channels::email::Email;
use millrace_sinks::channels::{Failed, Way};
use millrace_test_servers::{Mail, Port, certificate, free_port, signed};

use super::*;

/// Takes every POST over TLS, and appends its path and body to a file.
const LISTENER: &str = r#"
import http.server, ssl, sys
port, certificate, key, out = sys.argv[1:]
class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        with open(out, "ab") as file:
            file.write(self.path.encode() + b" " + body + b"\n")
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Hook)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"#;

/// Ended with the test.
struct Listener {
    child: Child,
    port: Port,
    out: PathBuf,
}

impl Listener {
    fn start(folder: &Path, [certificate, key]: [&Path; 2]) -> Self {
        let (port, out) = (free_port(), folder.join("posts"));
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "python3", "-c", LISTENER]).arg(port.number.to_string());
        command.arg(certificate).arg(key).arg(&out).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().expect("setpriv of util-linux and Python are there");
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port.number)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "it does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, port, out }
    }

    fn posts(&self) -> Vec<String> {
        std::fs::read_to_string(&self.out).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it fails only if it has ended
        let _ = self.child.wait();
    }
}

/// Sends an alert over a way of its own.
fn send(kind: Kind, ca_file: Option<&Path>) -> Result<String, Failed> {
    let settings = channel("tls", kind);
    let way = Way::open(&settings.kind, &settings.style, Duration::from_secs(10), ca_file)?;
    let event = Event::from_json(began("PrimaryDown").value.as_deref().expect("a value"), false);
    way.deliver(&[event.expect("readable")])
}

fn because_of_certificate(sent: Result<String, Failed>) {
    let failed = sent.expect_err("nobody believes who signed it");
    assert!(matches!(&failed, Failed::Later { why, all: true, .. } if why.contains("certificate")), "{failed}");
}

#[test]
fn a_receiver_over_tls_is_told_by_who_names_its_authority() {
    let (folder, strangers) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let [authority, certificate, key] = signed(folder.path());
    let [stranger, ..] = signed(strangers.path());
    let listener = Listener::start(folder.path(), [&certificate, &key]);
    let address = format!("https://localhost:{}", listener.port.number);
    let kinds = [Kind::Webhook(hook(format!("{address}/hook"))), Kind::Alertmanager(hook(address))];
    for (kind, path) in kinds.iter().zip(["/hook ", "/api/v2/alerts "]) {
        let before = listener.posts().len();
        because_of_certificate(send(kind.clone(), None));
        because_of_certificate(send(kind.clone(), Some(&stranger)));
        assert_eq!(listener.posts().len(), before, "nothing was sent");
        assert_eq!(send(kind.clone(), Some(&authority)), Ok("200 OK".to_owned()));
        let posts = listener.posts();
        assert!(posts.len() == before + 1 && posts[before].starts_with(path), "{posts:?}");
        assert!(posts[before].contains("PrimaryDown"), "{posts:?}");
    }
    let failed = send(kinds[0].clone(), Some(&key)).expect_err("that file has no certificate");
    assert!(failed.to_string().contains("there is none in it"), "{failed}");
}

#[test]
fn mail_goes_over_starttls_with_a_log_in_and_by_who_is_believed() {
    let folder = tempfile::tempdir().expect("a folder");
    let [authority, certificate_file, key] = signed(folder.path());
    let server = Mail::with_login(&[certificate_file, key], ["millrace", "right horse"]);
    let password = |text: &str| {
        let file = folder.path().join(text.replace(' ', "-"));
        std::fs::write(&file, format!("{text}\n")).expect("writable");
        file
    };
    let mail = |login: Option<&str>| {
        Kind::Email(Email {
            host: "localhost".to_owned(),
            port: server.port(),
            from: "Millrace <millrace@example.org>".parse().expect("an address"),
            to: vec!["dba@example.org".parse().expect("an address")],
            user: login.map(|_| "millrace".to_owned()),
            password_file: login.map(password),
            plain: false,
        })
    };
    let said = send(mail(Some("right horse")), Some(&authority)).expect("taken");
    assert!(said.starts_with("250 "), "{said}");
    let messages = server.messages();
    assert!(messages.len() == 1 && messages[0].contains("PrimaryDown"), "{messages:?}");

    // What may be mended is waited for, and nothing that is said has the password in it.
    for login in [None, Some("wrong horse")] {
        let failed = send(mail(login), Some(&authority)).expect_err("it does not come in");
        assert!(matches!(&failed, Failed::Later { why, all: true, .. } if why.contains("53")), "{failed}");
        assert!(!failed.to_string().contains("horse"), "{failed}");
    }
    let [stranger, _] = certificate(folder.path());
    because_of_certificate(send(mail(Some("right horse")), Some(&stranger)));
    assert_eq!(server.messages().len(), 1);
    // On this host nobody has to be believed, where no authority is named.
    send(mail(Some("right horse")), None).expect("taken");
    assert_eq!(server.messages().len(), 2);
}
