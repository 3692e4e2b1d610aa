//! A program that runs beside the demo: one of those that a script has, which listens on a port of loopback. In: the script, the
//! name of its command. Out: the port, once it answers. It ends with the demo.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// 2 minutes to answer: it may have to be fetched first.
const STARTS_WITHIN: Duration = Duration::from_mins(2);
/// 100 ms between looks.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// It runs.
#[derive(Debug)]
pub(super) struct Beside {
    process: Child,
    port: u16,
}

impl Beside {
    /// Starts `command` of `script` with its data below `dir`, on the port that people know it by where that is free.
    pub(super) fn start(script: &Path, command: &str, dir: &Path, known_port: u16) -> anyhow::Result<Self> {
        let free = TcpListener::bind(("127.0.0.1", known_port)).or_else(|_| TcpListener::bind("127.0.0.1:0"))?;
        let port = free.local_addr()?.port();
        drop(free);
        let log = dir.join(format!("beside-{command}.log"));
        let process = Command::new(script)
            .arg(command)
            .arg(dir.join(format!("beside-{command}")))
            .arg(port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .spawn()
            .with_context(|| format!("{} cannot be started", script.display()))?;
        let mut beside = Self { process, port };
        let until = Instant::now() + STARTS_WITHIN;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = beside.process.try_wait()?;
            if ended.is_some() || Instant::now() > until {
                let why = std::fs::read_to_string(&log).unwrap_or_default();
                bail!("what `{} {command}` starts does not run: {}", script.display(), why.trim());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(beside)
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
