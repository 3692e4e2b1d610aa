//! A `millrace process` of its own, as operators run it: what it tells on `/metrics`, and what it costs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::thread::{CpuSet, sched_setaffinity};

use crate::place::Place;

/// A role that runs.
pub(crate) struct Process {
    child: Child,
    metrics: u16,
    log: PathBuf,
}

/// Seconds on a core.
pub(crate) struct Cost {
    pub(crate) all: f64,
    threads: BTreeMap<String, f64>,
}

impl Cost {
    /// Of the threads of this name.
    pub(crate) fn thread(&self, name: &str) -> f64 {
        self.threads.get(name).copied().unwrap_or(0.0)
    }

    /// What came on top of `before`.
    pub(crate) fn since(mut self, before: &Self) -> Self {
        self.all -= before.all;
        for (name, seconds) in &mut self.threads {
            *seconds -= before.thread(name);
        }
        self
    }
}

/// Binds this thread, and those that it starts, to one core.
pub(crate) fn bind_thread(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).expect("a thread may choose its own cores");
}

/// What the threads of a process have cost so far.
pub(crate) fn cost(pid: u32) -> Cost {
    let mut threads: BTreeMap<String, f64> = BTreeMap::new();
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    for task in tasks.flatten().map(|task| task.path()) {
        // A thread may end meanwhile.
        let read = |name| std::fs::read_to_string(task.join(name)).unwrap_or_default();
        let (name, spent) = (read("comm"), read("schedstat"));
        let nanoseconds: f64 = spent.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0.0);
        *threads.entry(name.trim_end().to_owned()).or_default() += nanoseconds / 1e9;
    }
    Cost { all: threads.values().sum(), threads }
}

impl Process {
    /// Starts the processors under `name`, on one core only where `core` says so; `more` is added to the configuration.
    pub(crate) fn start(place: &Place, name: &str, core: Option<usize>, more: &str) -> Self {
        // Free until the process takes it, a moment later.
        let metrics = TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr()).expect("a port").port();
        let millrace::config::Kafka { servers, prefix, partitions, replication, .. } = &place.settings;
        let folder = place.folder();
        let mut text = format!("name = \"{name}\"\n[bus]\nkind = \"kafka\"\nservers = \"{servers}\"\n");
        let _ = write!(text, "prefix = \"{prefix}\"\npartitions = {partitions}\nreplication = {replication}\n");
        let _ = writeln!(text, "state-dir = \"{}/{name}\"", folder.display());
        let _ = write!(text, "[metrics]\nlisten = \"127.0.0.1:{metrics}\"\n{more}");
        let (config, log) = (folder.join(format!("{name}.toml")), folder.join(format!("{name}.log")));
        std::fs::write(&config, text).expect("writable");
        let errors = std::fs::File::create(&log).expect("writable");
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
        command.arg("process").arg("--config").arg(config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        // A thread of its own, since a child runs where its parent may.
        let spawn = move || {
            if let Some(core) = core {
                bind_thread(core);
            }
            command.spawn().expect("millrace starts")
        };
        let child = std::thread::spawn(spawn).join().expect("it starts");
        Self { child, metrics, log }
    }

    /// The sum of what it tells under names and labels that begin so; 0 while it tells nothing.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = self.scraped().unwrap_or_default();
        let numbers = text.lines().filter(|line| line.starts_with(series)).filter_map(|line| line.rsplit(' ').next());
        numbers.filter_map(|number| number.parse::<f64>().ok()).sum()
    }

    fn scraped(&self) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.metrics)).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// What its threads have cost so far.
    pub(crate) fn cost(&self) -> Cost {
        cost(self.child.id())
    }

    /// The most memory that it had, in MB.
    pub(crate) fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1e3
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
