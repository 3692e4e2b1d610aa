//! `[bus]`: where the bus is, as the configuration says. A file that this process opens, the process of this host that has one,
//! or Kafka.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::read::{Problems, Section};

/// 24: two to three for each of up to a dozen processes that share the windows.
const PARTITIONS: u32 = 24;
/// 1,000: beyond it each process would wait for the brokers' answers alone.
const PARTITIONS_MAX: u32 = 1_000;
/// 3: one broker may be away, and two have every record.
const REPLICATION: u32 = 3;
/// 7: more copies than anybody has brokers for one fleet.
const REPLICATION_MAX: u32 = 7;
/// 100 of the 249 characters that Kafka allows for the name of a topic.
const PREFIX_MAX: usize = 100;

/// Where the bus is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bus {
    /// In a file that this process opens.
    File {
        /// The file.
        file: PathBuf,
        /// Where other processes of this host reach it; absent: they do not.
        listen: Option<SocketAddr>,
        /// What they must show.
        token_file: PathBuf,
    },
    /// In another process of this host.
    Remote {
        /// Where that one listens.
        address: SocketAddr,
        /// What it wants to be shown.
        token_file: PathBuf,
        /// Where this process keeps its own state.
        state: PathBuf,
    },
    /// Kafka.
    Kafka(Kafka),
}

/// How Kafka is reached, and how its topics are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kafka {
    /// Some of the brokers: `host:port,host:port`.
    pub servers: String,
    /// What the names of topics and groups begin with.
    pub prefix: String,
    /// How many partitions each topic has.
    pub partitions: u32,
    /// How many brokers have each.
    pub replication: u32,
    /// Absent: nothing is encrypted.
    pub tls: Option<Tls>,
    /// Absent: the certificate says who it is, or nobody asks.
    pub sasl: Option<Sasl>,
    /// Where this process keeps its own state.
    pub state: PathBuf,
}

/// How the brokers' certificates are checked, and which one is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificates that sign the brokers'.
    pub authority: PathBuf,
    /// The own certificate and its key.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// Who logs in, by SCRAM-SHA-512.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sasl {
    /// The user.
    pub user: String,
    /// The file with its password.
    pub password_file: PathBuf,
}

impl Bus {
    /// Where a process keeps what it must remember itself: beside the bus file, or where it was told.
    pub fn state(&self) -> &Path {
        match self {
            Self::File { file, .. } => file.parent().unwrap_or_else(|| Path::new(".")),
            Self::Remote { state, .. } | Self::Kafka(Kafka { state, .. }) => state,
        }
    }
}

/// Reads `[bus]`.
pub(super) fn read(root: &mut Section<'_, '_>, problems: &mut Problems<'_>) -> Option<Bus> {
    let Some(mut section) = root.section("bus", problems) else {
        problems.note(0, "the file needs a section [bus] with file = \"/var/lib/millrace/bus.db\"");
        return None;
    };
    let kind = section.text("kind", problems);
    if let Some((kind, at)) = &kind
        && kind == "kafka"
    {
        let kafka = kafka(&mut section, *at, problems);
        section.finish(problems);
        return kafka.map(Bus::Kafka);
    }
    if let Some((kind, at)) = kind
        && kind != "local"
    {
        problems.note(at, format!("bus.kind = \"{kind}\" is not known: \"local\" or \"kafka\""));
    }
    let bus = if let Some((url, at)) = section.text("url", problems) {
        let address = remote_address(&url).map_err(|why| problems.note(at, why)).ok();
        let token_file = section.required("token-file", problems).map(|(text, _)| PathBuf::from(text));
        let state = section.required("state-dir", problems).map(|(text, _)| PathBuf::from(text));
        if section.text("file", problems).is_some() {
            problems.note(
                at,
                "bus.file and bus.url exclude each other: this process opens the file, or asks the one that has",
            );
        }
        address.zip(token_file).zip(state).map(|((address, token_file), state)| Bus::Remote {
            address,
            token_file,
            state,
        })
    } else {
        let file = section.required("file", problems).map(|(text, _)| PathBuf::from(text));
        let listen = section.text("listen", problems).and_then(|(text, at)| {
            loopback("bus.listen", &text, "its clients are not encrypted yet")
                .map_err(|why| problems.note(at, why))
                .ok()
        });
        let token_file = section.path("token-file", problems);
        file.map(|file| Bus::File {
            token_file: token_file.unwrap_or_else(|| file.with_extension("token")),
            file,
            listen,
        })
    };
    section.finish(problems);
    bus
}

/// `http://127.0.0.1:7071` as an address.
fn remote_address(url: &str) -> Result<SocketAddr, String> {
    let Some(address) = url.strip_prefix("http://") else {
        return Err(format!(
            "bus.url = \"{url}\" does not begin with http://; \"http://127.0.0.1:7071\" is an example"
        ));
    };
    loopback("bus.url", address.trim_end_matches('/'), "what goes there is not encrypted yet")
}

/// An address and port on this host only.
pub(super) fn loopback(key: &str, text: &str, why: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(address),
        Ok(address) => Err(format!("{key} names {address}, which must be a loopback address: {why}; use a tunnel")),
        Err(error) => Err(format!("{key} names \"{text}\": {error}; \"127.0.0.1:7071\" is an example")),
    }
}

/// `kind = "kafka"`; every topic has the same number of partitions, so that a cluster is in the same one of each.
fn kafka(section: &mut Section<'_, '_>, at: usize, problems: &mut Problems<'_>) -> Option<Kafka> {
    let servers = section.parsed("servers", problems, servers);
    let prefix = section.text("prefix", problems);
    if let Some((prefix, at)) = &prefix
        && !(prefix.len() <= PREFIX_MAX && prefix.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')))
    {
        problems.note(
            *at,
            format!("bus.prefix: up to {PREFIX_MAX} letters, digits, dots and hyphens name topics on Kafka"),
        );
    }
    let partitions = section.number("partitions", 1..=PARTITIONS_MAX, problems);
    let replication = section.number("replication", 1..=REPLICATION_MAX, problems);
    let state = section.required("state-dir", problems).map(|(text, _)| PathBuf::from(text));
    let before = problems.found.len();
    let tls_section = section.section("tls", problems);
    let sasl_section = section.section("sasl", problems);
    if sasl_section.is_some() && tls_section.is_none() {
        problems.note(at, "[bus.sasl] needs [bus.tls]: a password is not sent over a connection that others can read");
    }
    let tls = tls_section.and_then(|section| tls(section, problems));
    let sasl = sasl_section.and_then(|section| sasl(section, problems));
    // A section that is there and wrong is not one that is not there.
    if problems.found.len() > before {
        return None;
    }
    Some(Kafka {
        servers: servers?,
        prefix: prefix.map_or_else(|| "millrace.".to_owned(), |(prefix, _)| prefix),
        partitions: partitions.unwrap_or(PARTITIONS),
        replication: replication.unwrap_or(REPLICATION),
        tls,
        sasl,
        state: state?,
    })
}

fn servers(text: &str) -> Result<String, String> {
    let is_server = |one: &str| {
        one.rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
    };
    if text.split(',').all(|one| is_server(one.trim())) {
        return Ok(text.to_owned());
    }
    Err(format!("\"{text}\" is not a list of HOST:PORT; \"kafka1:9093,kafka2:9093\" is an example"))
}

fn tls(mut section: Section<'_, '_>, problems: &mut Problems<'_>) -> Option<Tls> {
    let authority = section.required("ca-file", problems).map(|(text, _)| PathBuf::from(text));
    let (certificate, key) = (section.path("cert-file", problems), section.path("key-file", problems));
    if certificate.is_some() != key.is_some() {
        problems.note(section.at(), "cert-file and key-file go together: give both, or neither");
    }
    section.finish(problems);
    Some(Tls { authority: authority?, own: certificate.zip(key) })
}

fn sasl(mut section: Section<'_, '_>, problems: &mut Problems<'_>) -> Option<Sasl> {
    let user = section.required("user", problems).map(|(text, _)| text);
    let password_file = section.required("password-file", problems).map(|(text, _)| PathBuf::from(text));
    section.finish(problems);
    Some(Sasl { user: user?, password_file: password_file? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bus(text: &str) -> Result<Bus, Vec<String>> {
        let read = super::super::parse(text).map(|settings| settings.bus);
        read.map_err(|problems| problems.into_iter().map(|one| one.what).collect())
    }

    #[test]
    fn kafka_has_defaults_for_all_but_where_it_is() {
        let read = bus("[bus]\nkind = \"kafka\"\nservers = \"k1:9092\"\nstate-dir = \"s\"\n").expect("right");
        let Bus::Kafka(kafka) = read else { panic!("{read:?}") };
        assert_eq!((kafka.partitions, kafka.replication, kafka.prefix.as_str()), (24, 3, "millrace."));
        assert_eq!((kafka.tls, kafka.sasl), (None, None));
    }

    #[test]
    fn a_password_wants_an_encrypted_connection() {
        let text = "[bus]\nkind = \"kafka\"\nservers = \"k1:9092,k2\"\nstate-dir = \"s\"\npartitions = 0\n\
                    [bus.sasl]\nuser = \"agent\"\npassword-file = \"p\"\n";
        let problems = bus(text).expect_err("three things are wrong");
        assert_eq!(problems.len(), 3, "{problems:#?}");
    }
}
