//! Processors on a bus of their own, for commands that ask a running process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace::bus::SharedBus;
use millrace::bus::http::HttpBus;
use millrace::journal::appended_to;
use millrace_schemas::record::{Bytes, Headers, NewRecord, Record};
use millrace_schemas::topics::Topic;
use millrace_test_servers::Port;

use crate::real::site::{PATIENCE, millrace};

pub(super) struct World {
    folder: tempfile::TempDir,
    process: Child,
    pub(super) bus: SharedBus,
    _port: Port,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl World {
    /// Processors on a bus of their own.
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = millrace_test_servers::free_port();
        let listen = SocketAddr::from(([127, 0, 0, 1], port.number));
        let file = folder.path().join("bus.db");
        let text = format!("[bus]\nfile = \"{}\"\nlisten = \"{listen}\"\n", file.display());
        std::fs::write(folder.path().join("millrace.toml"), text).expect("writable");
        let mut command = millrace();
        command.args(["process", "--config"]).arg(folder.path().join("millrace.toml"));
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = process.expect("millrace starts");
        let until = Instant::now() + PATIENCE;
        let bus = loop {
            match HttpBus::new(listen, &file.with_extension("token")).and_then(|bus| bus.ping().map(|()| bus)) {
                Ok(bus) => break Arc::new(bus),
                Err(error) => assert!(Instant::now() < until, "the bus does not answer: {error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        Self { folder, process, bus, _port: port }
    }

    pub(super) fn config(&self) -> PathBuf {
        self.folder.path().join("millrace.toml")
    }

    pub(super) fn append(&self, topic: Topic, key: &str, value: &[u8]) {
        let headers = Headers::from([("from".to_owned(), "a test".to_owned())]);
        let (key, value) = (key.to_owned(), Some(Bytes::copy_from_slice(value)));
        let record = NewRecord { topic, partition_key: key.clone(), key, headers, value };
        self.bus.append(vec![record]).wait().expect("it is there");
    }

    pub(super) fn has(&self, topic: Topic) -> Vec<Record> {
        appended_to(&self.bus, topic).and_then(Iterator::collect).expect("the bus answers")
    }

    /// Waits until so many records are in `dead`.
    pub(super) fn died(&self, records: u64) {
        let until = Instant::now() + PATIENCE;
        while self.bus.end(Topic::Dead, 0).expect("the bus answers") < records {
            assert!(Instant::now() < until, "{:?}", self.has(Topic::Dead));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Output {
        let mut command = millrace();
        command.env("MILLRACE_LOG", "error").arg(arguments[0]).args(&arguments[1..]).arg("--config").arg(self.config());
        command.stdin(Stdio::null()).output().expect("it runs")
    }

    /// What `millrace ...` says, when it ends with `code` and says `expected`.
    pub(super) fn check(&self, arguments: &[&str], code: i32, expected: &str) -> String {
        let output = self.run(arguments);
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {out}{error}");
        assert!(format!("{out}{error}").contains(expected), "{arguments:?} does not say '{expected}': {out}{error}");
        out.into_owned()
    }
}
