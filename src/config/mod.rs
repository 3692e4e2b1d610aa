//! The one configuration file: TOML in, checked settings out, or every problem at once with its line and remedy.
//! Secrets are paths of files, never values. Validation is pure: nothing is opened, connected or created here.

mod agent;
mod anomaly;
mod backup;
mod bus;
mod channel;
mod check;
mod lake;
mod store;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use millrace_processors::alerts;
use millrace_processors::anomalies;
use millrace_processors::rules::Rules;
use millrace_schemas::cluster::{ClusterSpec, Member, Mode};
use millrace_schemas::flavour::Flavour;
use millrace_schemas::ids::{ClusterId, HostId, InstanceId};

pub use agent::{Agent, WatchedServer};
pub use backup::Backup;
use bus::loopback;
pub use bus::{Bus, Kafka, Sasl, Tls};
pub use channel::Channel;
use check::Names;
pub use lake::Lake;
pub use millrace_schemas::sections as read;
use read::{Problem, Problems, Section, recovered};
pub use store::Store;

/// Checked settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Who this process is among those of the site: executors and tickers speak under it.
    pub name: String,
    /// Where the bus is.
    pub bus: Bus,
    /// Whom it believes; absent: everybody who can reach the bus.
    pub trust: Option<Trust>,
    /// Where the console listens; absent: no console.
    pub console: Option<SocketAddr>,
    /// Where every role tells its metrics; absent: only where the console does.
    pub metrics: Option<SocketAddr>,
    /// Where the archive is written; absent: none.
    pub archive: Option<PathBuf>,
    /// Where numbers are written for people to look at.
    pub stores: Vec<Store>,
    /// Where windows and slow statements are written as files for other programs.
    pub lakes: Vec<Lake>,
    /// Where people are told of alerts.
    pub channels: Vec<Channel>,
    /// The agents of this process.
    pub agents: Vec<Agent>,
    /// Clusters that Millrace did not create, to be watched.
    pub clusters: Vec<Watched>,
    /// How often people are told of alerts.
    pub told: alerts::Settings,
    /// The user's file of rules; absent: those that are shipped are in force.
    pub rules: Option<PathBuf>,
    /// How anomalies are judged.
    pub anomalies: anomalies::Settings,
}

impl Settings {
    /// A process of that name on a bus, which does nothing yet.
    pub fn new(name: &str, bus: Bus) -> Self {
        Self {
            name: name.to_owned(),
            bus,
            trust: None,
            console: None,
            metrics: None,
            archive: None,
            stores: Vec::new(),
            lakes: Vec::new(),
            channels: Vec::new(),
            agents: Vec::new(),
            clusters: Vec::new(),
            told: alerts::Settings::default(),
            rules: None,
            anomalies: anomalies::Settings::default(),
        }
    }
}

/// Whom a process believes, and with which key it speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// Its private key; absent: it only reads.
    pub key_file: Option<PathBuf>,
    /// The public keys, and what each may say.
    pub roster: PathBuf,
}

/// A cluster that is only watched.
#[derive(Clone, Debug, PartialEq)]
pub struct Watched {
    /// Its id, chosen once.
    pub id: ClusterId,
    /// What is known of it.
    pub spec: ClusterSpec,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Problems, all of them.
    #[error("{}", list(path, problems))]
    Problems {
        /// The file.
        path: PathBuf,
        /// Each with its line.
        problems: Vec<Problem>,
    },
}

fn list(path: &Path, problems: &[Problem]) -> String {
    let lines: Vec<String> =
        problems.iter().map(|one| format!("{}:{}: {}", path.display(), one.line, one.what)).collect();
    lines.join("\n")
}

/// Reads the file at `path`.
pub fn load(path: &Path) -> Result<Settings, Error> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::Unreadable { path: path.to_owned(), error })?;
    let mut settings = parse(&text).map_err(|problems| Error::Problems { path: path.to_owned(), problems })?;
    // Beside the configuration, wherever the process was started.
    let folder = path.parent().unwrap_or(Path::new(""));
    settings.rules = settings.rules.map(|rules| folder.join(rules));
    Ok(settings)
}

/// A minute to a month between two words: more often is a watchdog's, more rarely nobody remembers the first.
const REPEATS: RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(24 * 30);

/// `[alerts]`: the user's file of rules, and how often people are told.
fn alerting(mut section: Section<'_, '_>, problems: &mut Problems<'_>) -> (Option<PathBuf>, alerts::Settings) {
    let usual = alerts::Settings::default();
    let rules = section.path("rules", problems);
    let mut time = |key, usual| section.duration_in(key, REPEATS, problems).unwrap_or(usual);
    let told = alerts::Settings {
        repeat_critical: time("repeat-critical", usual.repeat_critical),
        repeat_warning: time("repeat-warning", usual.repeat_warning),
        escalate_after: time("escalate-after", usual.escalate_after),
    };
    section.finish(problems);
    (rules, told)
}

/// The rules in force: those of the file at `path` over those that are shipped.
pub fn rules(path: Option<&Path>) -> Result<Rules, Error> {
    let text = path
        .map(|path| std::fs::read_to_string(path).map_err(|error| Error::Unreadable { path: path.to_owned(), error }));
    let text = text.transpose()?.unwrap_or_default();
    let path = path.map_or_else(PathBuf::new, Path::to_owned);
    Rules::read(&text).map_err(|problems| Error::Problems { path, problems })
}

/// Reads a configuration.
pub fn parse(text: &str) -> Result<Settings, Vec<Problem>> {
    let mut problems = Problems::new(text);
    let table = recovered(text, &mut problems);
    let mut root = Section::root(&table);
    let bus = bus::read(&mut root, &mut problems);
    let trust = root.section("trust", &mut problems).and_then(|section| trust(section, &mut problems));
    let name = name(&mut root, bus.as_ref(), &mut problems);
    let console = listens(&mut root, "console", "the console has no log-in yet", &mut problems);
    let metrics = listens(&mut root, "metrics", "whoever reaches them may read them", &mut problems);
    let archive = root.section("archive", &mut problems).and_then(|mut section| {
        let folder = section.required("dir", &mut problems).map(|(text, _)| PathBuf::from(text));
        section.finish(&mut problems);
        folder
    });
    let (stores, lakes) = store::read_all(&mut root, &mut problems);
    let channels = channel::read_all(&mut root, &mut problems);
    let mut names = Names::default();
    let sections = root.sections("agent", &mut problems);
    let agents: Vec<Agent> =
        sections.into_iter().filter_map(|section| agent::read(section, &mut names, &mut problems)).collect();
    let sections = root.sections("cluster", &mut problems);
    let clusters: Vec<Watched> =
        sections.into_iter().filter_map(|section| cluster(section, &agents, &mut names, &mut problems)).collect();
    if matches!(bus, Some(Bus::File { .. })) {
        names.enrolled(&mut problems);
    }
    let (rules, told) =
        root.section("alerts", &mut problems).map_or_else(Default::default, |section| alerting(section, &mut problems));
    let anomalies = root.section("anomalies", &mut problems);
    let anomalies = anomalies.map_or_else(Default::default, |section| anomaly::read(section, &mut problems));
    root.finish(&mut problems);
    match bus {
        Some(bus) if problems.found.is_empty() => Ok(Settings {
            name,
            bus,
            trust,
            console,
            metrics,
            archive,
            stores,
            lakes,
            channels,
            agents,
            clusters,
            told,
            rules,
            anomalies,
        }),
        _ => {
            problems.found.sort_by_key(|problem| problem.line);
            Err(problems.found)
        }
    }
}

/// As given; else `local` for the process that has the bus, and the name of the host for others.
fn name(root: &mut Section<'_, '_>, bus: Option<&Bus>, problems: &mut Problems<'_>) -> String {
    let given = root.text("name", problems);
    if let Some((name, at)) = &given
        && let Err(error) = HostId::parse(name.clone())
    {
        problems.note(*at, format!("name: {error}"));
    }
    let usual = || match bus {
        Some(Bus::Remote { .. } | Bus::Kafka(_)) => rustix::system::uname().nodename().to_string_lossy().to_lowercase(),
        _ => "local".to_owned(),
    };
    given.map_or_else(usual, |(name, _)| name)
}

fn trust(mut section: Section<'_, '_>, problems: &mut Problems<'_>) -> Option<Trust> {
    let key_file = section.path("key-file", problems);
    let roster = section.required("roster", problems).map(|(text, _)| PathBuf::from(text));
    section.finish(problems);
    Some(Trust { key_file, roster: roster? })
}

/// A section that says where something listens on this host; `why` nowhere else.
fn listens(
    root: &mut Section<'_, '_>,
    name: &'static str,
    why: &str,
    problems: &mut Problems<'_>,
) -> Option<SocketAddr> {
    let mut section = root.section(name, problems)?;
    let listen = section.required("listen", problems);
    section.finish(problems);
    let (text, at) = listen?;
    loopback(&format!("{name}.listen"), &text, why).map_err(|why| problems.note(at, why)).ok()
}

fn cluster(
    mut section: Section<'_, '_>,
    agents: &[Agent],
    names: &mut Names,
    problems: &mut Problems<'_>,
) -> Option<Watched> {
    let id = section.parsed("id", problems, |text| ClusterId::declared(text));
    names.cluster(&section, id.as_ref(), problems);
    let name = section.text("name", problems).map(|(text, _)| text);
    let flavour = section.parsed("flavour", problems, str::parse::<Flavour>);
    let primary = section.parsed("primary", problems, |text| InstanceId::parse(text));
    let at = section.at();
    section.finish(problems);
    let (id, primary) = (id?, primary?);
    let members: Vec<Member> = agents
        .iter()
        .flat_map(|agent| agent.servers.iter().map(move |server| (agent, server)))
        .filter(|(_, server)| server.cluster == id)
        .map(|(agent, server)| Member {
            instance: server.instance.clone(),
            host: agent.host.clone(),
            address: server.address.clone(),
            port: server.port,
        })
        .collect();
    let spec = ClusterSpec {
        name: name.unwrap_or_else(|| id.to_string()),
        flavour: flavour?,
        members,
        primary,
        acknowledgers: Vec::new(),
        acknowledgements: 0,
        mode: Mode::Observe,
        template: None,
    };
    for problem in spec.problems() {
        problems.note(at, format!("cluster {id}: {problem}"));
    }
    Some(Watched { id, spec })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_told_at_once_with_its_line() {
        let text = "[bus]\nkind = \"pulsar\"\n\n[console]\nlisten = \"0.0.0.0:7070\"\ncolour = 1\n\n[[agent]]\nhost = \"H 1\"\n";
        let problems = parse(text).expect_err("it is all wrong");
        let lines: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [1, 2, 5, 6, 8, 9], "{problems:#?}");
    }

    #[test]
    fn how_often_people_are_told_is_read() {
        let read = |lines: &str| parse(&format!("[bus]\nfile = \"b.db\"\n[alerts]\n{lines}"));
        let told = read("repeat-critical = \"30m\"\nescalate-after = \"5m\"\n").expect("right").told;
        let expected = alerts::Settings {
            repeat_critical: Duration::from_mins(30),
            escalate_after: Duration::from_mins(5),
            ..alerts::Settings::default()
        };
        assert_eq!(told, expected);
        let problems = read("repeat-warning = \"5s\"\nescalate-after = \"soon\"\n").expect_err("both are wrong");
        assert_eq!(problems.iter().map(|one| one.line).collect::<Vec<_>>(), [4, 5], "{problems:#?}");
    }

    #[test]
    fn a_whole_file_is_read() {
        let text = "[bus]\nfile = \"b.db\"\n[console]\nlisten = \"127.0.0.1:7070\"\n[[agent]]\nhost = \"h1\"\nstate-dir = \"s\"\n\
                    [[agent.instance]]\nid = \"db1\"\ncluster = \"c1\"\nuser = \"millrace\"\n\
                    [[cluster]]\nid = \"c1\"\nflavour = \"mysql\"\nprimary = \"db1\"\n";
        let settings = parse(text).expect("right");
        assert_eq!(settings.clusters[0].spec.members[0].endpoint(), "127.0.0.1:3306");
    }

    #[test]
    fn metrics_are_told_on_this_host_only() {
        let metrics = |listen: &str| parse(&format!("[bus]\nfile = \"b.db\"\n[metrics]\n{listen}"));
        let address = metrics("listen = \"127.0.0.1:9464\"\n").expect("right").metrics;
        assert_eq!(address, Some(SocketAddr::from(([127, 0, 0, 1], 9464))));
        for (listen, expected) in [
            ("", "[metrics] needs listen"),
            ("listen = \"0.0.0.0:9464\"\n", "metrics.listen names 0.0.0.0:9464, which must be a loopback address"),
            ("listen = \"here\"\n", "metrics.listen names \"here\""),
        ] {
            let problems = metrics(listen).expect_err(listen);
            assert!(problems[0].what.contains(expected), "{problems:?}");
        }
    }

    #[test]
    fn trust_needs_a_roster() {
        let bus = "[bus]\nfile = \"b.db\"\n";
        let trust = |section: &str| parse(&format!("{bus}{section}")).map(|settings| settings.trust);
        assert_eq!(trust("").expect("right"), None);
        let whole = trust("[trust]\nkey-file = \"k\"\nroster = \"r\"\n").expect("right").expect("there");
        assert_eq!(whole, Trust { key_file: Some(PathBuf::from("k")), roster: PathBuf::from("r") });
        assert_eq!(trust("[trust]\nroster = \"r\"\n").expect("right").expect("there").key_file, None);
        let problems = trust("[trust]\nkey-file = \"k\"\n").expect_err("no roster");
        assert!(problems[0].what.contains("[trust] needs roster"), "{problems:?}");
    }

    #[test]
    fn every_example_is_right() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/examples");
        let files = std::fs::read_dir(folder).expect("the examples").flatten().map(|file| file.path());
        // The others are programs for people who consume.
        let files: Vec<_> = files.filter(|file| file.extension().is_some_and(|kind| kind == "toml")).collect();
        assert!(files.len() >= 4, "the examples were not found");
        for file in files {
            load(&file).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    #[test]
    fn syntax_errors_have_lines_too() {
        let problems = parse("[bus]\nfile = \n").expect_err("no value");
        assert_eq!(problems[0].line, 2, "{problems:#?}");
    }
}
