//! `[[agent]]`: what one host's agent looks after, and the servers there that Millrace did not create. In: a section. Out: an agent, or every
//! problem with its line.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use millrace_collectors::wire::Live;
use millrace_schemas::ids::{ClusterId, HostId, InstanceId};
use millrace_schemas::topics::queries::Source;

use super::backup::{self, Backup};
use super::check::Names;
use super::read::{Problems, Section};

/// A day to ten years of slow logs.
const SLOW_LOGS: RangeInclusive<u32> = 1..=3_650;
/// 16 threads decode more than any host's servers send.
const CAPTURE_THREADS: RangeInclusive<u32> = 1..=16;

/// An agent: the part that runs on a database host.
#[derive(Clone, Debug, PartialEq)]
pub struct Agent {
    /// Its host.
    pub host: HostId,
    /// Promises, incarnation, positions.
    pub state: PathBuf,
    /// Where instances that Millrace creates live; absent: it creates none.
    pub instances: Option<PathBuf>,
    /// Templates of data directories, by name.
    pub templates: Option<PathBuf>,
    /// The interface whose packets are captured, and by how many threads; absent: none.
    pub capture: Option<Live>,
    /// How many days of slow logs the servers keep that Millrace creates; absent: their logs are not rotated.
    pub keep_slow_logs: Option<u32>,
    /// Servers that Millrace did not create.
    pub servers: Vec<WatchedServer>,
    /// How old backups of clusters may be, and where this host's are found.
    pub backups: Vec<Backup>,
}

/// A server that is only watched.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchedServer {
    /// The instance.
    pub instance: InstanceId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Where it listens.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// The account that reads.
    pub user: String,
    /// The file with its password.
    pub password_file: Option<PathBuf>,
    /// The slow log to follow, when it is not the one that the server names.
    pub slow_log: Option<PathBuf>,
    /// Where its statements are counted; absent: the agent decides by what it sees.
    pub statements: Option<Source>,
}

/// Reads one.
pub(super) fn read(mut section: Section<'_, '_>, names: &mut Names, problems: &mut Problems<'_>) -> Option<Agent> {
    let host = section.parsed("host", problems, |text| HostId::parse(text));
    let state = section.required("state-dir", problems).map(|(text, _)| PathBuf::from(text));
    let instances = section.path("instances-dir", problems);
    let templates = section.path("templates-dir", problems);
    let capture = section.text("capture", problems).map(|(text, _)| text);
    let threads = section.number("capture-threads", CAPTURE_THREADS, problems);
    if threads.is_some() && capture.is_none() {
        let what =
            "agent.capture-threads is for a host whose packets are captured: name the interface with capture too";
        problems.note(section.at_key("capture-threads"), what);
    }
    let capture = capture.map(|interface| Live { interface, threads: threads.map_or(1, |threads| threads as usize) });
    let keep_slow_logs = section.number("keep-slow-logs", SLOW_LOGS, problems);
    names.agent(&section, host.as_ref(), state.as_deref(), problems);
    let sections = section.sections("instance", problems);
    let servers = sections.into_iter().filter_map(|one| server(one, names, problems)).collect::<Vec<_>>();
    let backups = backup::read_all(&mut section, problems);
    if instances.is_some() != templates.is_some() {
        problems.note(section.at(), "instances-dir and templates-dir go together: give both, or neither");
    }
    if keep_slow_logs.is_some() && instances.is_none() {
        let what = "agent.keep-slow-logs is for servers that Millrace creates, in instances-dir; those of others are never rotated";
        problems.note(section.at_key("keep-slow-logs"), what);
    }
    section.finish(problems);
    Some(Agent { host: host?, state: state?, instances, templates, capture, keep_slow_logs, servers, backups })
}

fn server(mut section: Section<'_, '_>, names: &mut Names, problems: &mut Problems<'_>) -> Option<WatchedServer> {
    let instance = section.parsed("id", problems, |text| InstanceId::parse(text));
    let cluster = section.parsed("cluster", problems, |text| ClusterId::declared(text));
    names.server(&section, instance.as_ref(), cluster.as_ref(), problems);
    let address = section.text("address", problems).map_or_else(|| "127.0.0.1".to_owned(), |(text, _)| text);
    let port = section.port("port", problems).unwrap_or(3306);
    let user = section.required("user", problems).map(|(text, _)| text);
    let password_file = section.path("password-file", problems);
    let slow_log = section.path("slow-log", problems);
    let statements = section.optional("statements", problems, source).flatten();
    section.finish(problems);
    let (instance, cluster, user) = (instance?, cluster?, user?);
    Some(WatchedServer { instance, cluster, address, port, user, password_file, slow_log, statements })
}

/// Where statements are counted. Rows of slow logs are no counts: they have only what was slow.
fn source(text: &str) -> Result<Option<Source>, String> {
    match text {
        "auto" => Ok(None),
        "wire" => Ok(Some(Source::Wire)),
        "performance-schema" => Ok(Some(Source::PerformanceSchema)),
        _ => Err(format!("'{text}' is no source of statements: give \"auto\", \"wire\" or \"performance-schema\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    #[test]
    fn packets_are_read_by_as_many_threads_as_are_asked_for() {
        let agent = |lines: &str| {
            let agent = "[bus]\nfile = \"b.db\"\n[[agent]]\nhost = \"h1\"\nstate-dir = \"s\"\n";
            parse(&format!("{agent}{lines}")).map(|settings| settings.agents[0].capture.clone())
        };
        let live = |threads| Some(Live { interface: "eth0".to_owned(), threads });
        assert_eq!(agent("").expect("right"), None);
        assert_eq!(agent("capture = \"eth0\"\n").expect("right"), live(1));
        assert_eq!(agent("capture = \"eth0\"\ncapture-threads = 4\n").expect("right"), live(4));
        for (lines, expected) in [
            ("capture-threads = 4\n", "name the interface with capture too"),
            ("capture = \"eth0\"\ncapture-threads = 17\n", "a whole number from 1 to 16"),
        ] {
            let problems = agent(lines).expect_err(lines);
            assert!(problems[0].what.contains(expected), "{problems:?}");
        }
    }

    #[test]
    fn only_own_slow_logs_are_rotated() {
        let agent = |lines: &str| {
            let agent = "[bus]\nfile = \"b.db\"\n[[agent]]\nhost = \"h1\"\nstate-dir = \"s\"\n";
            parse(&format!("{agent}{lines}")).map(|settings| settings.agents[0].keep_slow_logs)
        };
        let own = "instances-dir = \"i\"\ntemplates-dir = \"t\"\n";
        assert_eq!(agent(own).expect("right"), None);
        assert_eq!(agent(&format!("{own}keep-slow-logs = 7\n")).expect("right"), Some(7));
        for (lines, expected) in [
            ("keep-slow-logs = 7\n".to_owned(), "those of others are never rotated"),
            (format!("{own}keep-slow-logs = 0\n"), "a whole number from 1 to 3650"),
        ] {
            let problems = agent(&lines).expect_err(&lines);
            assert!(problems[0].what.contains(expected), "{problems:?}");
        }
    }
}
