//! A real mail server. In: what `scripts/store.sh` installs into a Python of its own. Out: a server on loopback that keeps what it gets, with
//! or without STARTTLS; it ends with the test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::parent;
use crate::ports::{Port, free_port};
use crate::{LOOK_EVERY, WAIT_MAX};

/// A mail server.
#[derive(Debug)]
pub struct Mail {
    child: Child,
    port: Port,
    folder: tempfile::TempDir,
}

impl Mail {
    /// Starts one; with `tls` it takes nothing before STARTTLS, and its certificate is its own word.
    pub fn start(tls: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("mr-mail-").tempdir().expect("a folder");
        let certificate = if tls { certificate(folder.path()).to_vec() } else { Vec::new() };
        Self::with(folder, &certificate, &[])
    }

    /// Starts one that takes nothing before STARTTLS, with this certificate and key, and the log-in of a user with a password.
    pub fn with_login(certificate: &[PathBuf; 2], login: [&str; 2]) -> Self {
        Self::with(tempfile::Builder::new().prefix("mr-mail-").tempdir().expect("a folder"), certificate, &login)
    }

    fn with(folder: tempfile::TempDir, certificate: &[PathBuf], login: &[&str]) -> Self {
        let port = free_port();
        let mut command = Command::new("setpriv");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/store.sh");
        command.args(["--pdeathsig", "KILL", "--"]).arg(script).arg("mail");
        command.arg(folder.path().join("box")).arg(port.number.to_string());
        command.args(certificate).args(login);
        let log = std::fs::File::create(folder.path().join("log")).expect("writable");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = parent::start(command).expect("setpriv is there");
        let mail = Self { child, port, folder };
        let began = std::time::Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", mail.port.number)).is_err() {
            let log = || std::fs::read_to_string(mail.folder.path().join("log")).unwrap_or_default();
            assert!(began.elapsed() < WAIT_MAX, "the mail server does not answer: {}", log());
            std::thread::sleep(LOOK_EVERY);
        }
        mail
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port.number
    }

    /// Every message that it has.
    pub fn messages(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.folder.path().join("box/new")).into_iter().flatten().flatten();
        files.map(|file| std::fs::read_to_string(file.path()).expect("a message is text")).collect()
    }
}

impl Drop for Mail {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it fails only if it has ended
        let _ = self.child.wait();
    }
}

/// A certificate for `localhost` that nobody signed, and its key.
pub fn certificate(folder: &Path) -> [PathBuf; 2] {
    let files = [folder.join("certificate.pem"), folder.join("key.pem")];
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    command.args(["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=DNS:localhost"]);
    command.args(["-subj", "/CN=localhost", "-out"]).arg(&files[0]).arg("-keyout").arg(&files[1]);
    let made = command.output().expect("openssl is there");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    files
}

/// An authority of the test's own, and a certificate for `localhost` that it signed, with its key.
pub fn signed(folder: &Path) -> [PathBuf; 3] {
    let files = ["authority.pem", "signed.pem", "signed-key.pem"].map(|name| folder.join(name));
    let authority_key = folder.join("authority-key.pem");
    let new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    let openssl = |arguments: &[&str], out: &Path, key: &Path, more: &[&Path]| {
        let mut command = Command::new("openssl");
        command.args(new).args(arguments).arg("-out").arg(out).arg("-keyout").arg(key);
        let made = command.args(more).output().expect("openssl is there");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    openssl(&["-subj", "/CN=an authority"], &files[0], &authority_key, &[]);
    let own = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
    let own: Vec<&str> = own.into_iter().chain(["-addext", "basicConstraints=critical,CA:FALSE"]).collect();
    openssl(&own, &files[1], &files[2], &[Path::new("-CA"), &files[0], Path::new("-CAkey"), &authority_key]);
    files
}
