//! `millrace key`: makes private keys, and edits the roster that says which key may speak as whom and about what. It asks no bus:
//! every process reads the roster again within a second of its change, wherever the file was copied to.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use millrace_schemas::ids::HostId;
use millrace_schemas::signing::{About, Entry, PublicKey, Role, Roster};
use serde::Serialize;

use super::End;
use super::output::{Form, answer};
use crate::roles::speaker::now;
use crate::trust::{key_file, roster_file};

/// Version of the JSON of these answers.
const SCHEMA_VERSION: u32 = 1;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a private key that only you can read, and print its public key.
    New {
        /// Where. A key is never written over.
        file: PathBuf,
        /// The form of the answer.
        #[arg(short, long, value_enum, default_value = "text")]
        output: Form,
    },
    /// Let a key speak: as whom, and about what. Makes the roster when it is not there.
    Enrol(Enrol),
    /// Show the keys of a roster. Exit code 2: it cannot be used, each problem with its line.
    List {
        /// The roster.
        roster: PathBuf,
        /// The form of the answer.
        #[arg(short, long, value_enum, default_value = "text")]
        output: Form,
    },
    /// Refuse what a key says from now on. What it said before stays said.
    Revoke {
        /// The roster.
        roster: PathBuf,
        /// The key's id, as `list` shows it.
        id: String,
        /// The form of the answer.
        #[arg(short, long, value_enum, default_value = "text")]
        output: Form,
    },
}

#[derive(Debug, Args)]
pub(super) struct Enrol {
    /// The roster.
    roster: PathBuf,
    /// The public key, as `millrace key new` prints it.
    #[arg(long, value_name = "BASE64")]
    public: PublicKey,
    /// What it is for; once for each.
    #[arg(long = "role", value_name = "agent|process|execute|operator", required = true)]
    roles: Vec<Role>,
    /// An agent's host, as [[agent]] host says it; once for each.
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<HostId>,
    /// The name that a process speaks under, as `name` in its configuration says it; an operator's is NAME-UID.
    #[arg(long = "name", value_name = "NAME", value_parser = |text: &str| roster_file::named(text).map(str::to_owned))]
    names: Vec<String>,
    /// What it may speak about: CLUSTER/INSTANCE, CLUSTER/* or *. An agent's key names its instances; the others may have
    /// everything, which is what they get when nothing is named.
    #[arg(long, value_name = "CLUSTER/INSTANCE,...", value_delimiter = ',')]
    about: Vec<About>,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

/// A key in a line.
#[derive(Debug, Serialize)]
struct Line {
    id: String,
    roles: Vec<Role>,
    speaks_as: Vec<String>,
    about: Vec<String>,
    revoked: Option<String>,
}

pub(super) fn run(command: Command) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Key {
        schema_version: u32,
        id: String,
        public: Option<String>,
    }
    let told = |id: String, public: Option<String>| Key { schema_version: SCHEMA_VERSION, id, public };
    match command {
        Command::New { file, output } => {
            let made = key_file::make(&file)?;
            let key = told(made.id().to_string(), Some(made.public().to_string()));
            answer(output, &key, |key| key.public.clone().unwrap_or_default())
        }
        Command::Enrol(enrol) => {
            let entry = entry(&enrol)?;
            let id = roster_file::enrol(&enrol.roster, &entry, now())?;
            answer(enrol.output, &told(id.to_string(), None), |key| format!("{} may speak from now on", key.id))
        }
        Command::List { roster, output } => list(&roster_file::read(&roster)?, output),
        Command::Revoke { roster, id, output } => {
            roster_file::revoke(&roster, &id, now())?;
            answer(output, &told(id, None), |key| format!("{} is refused from now on", key.id))
        }
    }
}

fn entry(enrol: &Enrol) -> anyhow::Result<Entry> {
    let roles: BTreeSet<Role> = enrol.roles.iter().copied().collect();
    // An agent on one host must not speak for all only because nobody said for whom.
    let about = match (&enrol.about[..], roles.contains(&Role::Agent)) {
        ([], true) => {
            let what = "an agent's key names its instances: --about shop/db1,shop/db2; --about 'shop/*' or '*' lets it \
                        speak about those that it will be asked to make";
            return Err(End::Usage(what.to_owned()).into());
        }
        ([], false) => vec![About::ALL],
        (about, _) => about.to_vec(),
    };
    let entry = Entry {
        public: enrol.public,
        roles,
        hosts: enrol.hosts.iter().cloned().collect(),
        names: enrol.names.iter().cloned().collect(),
        about,
        revoked: None,
    };
    let problems = entry.problems();
    if problems.is_empty() { Ok(entry) } else { Err(End::Usage(problems.join("; ")).into()) }
}

fn list(roster: &Roster, form: Form) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Listed {
        schema_version: u32,
        keys: Vec<Line>,
    }
    let lines = roster.entries().map(|(id, entry)| {
        let hosts = entry.hosts.iter().map(|host| format!("agent/{host}"));
        Line {
            id: id.to_string(),
            roles: entry.roles.iter().copied().collect(),
            speaks_as: hosts.chain(entry.names.iter().cloned()).collect(),
            about: entry.about.iter().map(ToString::to_string).collect(),
            revoked: entry.revoked.map(|at| at.to_string()),
        }
    });
    let listed = Listed { schema_version: SCHEMA_VERSION, keys: lines.collect() };
    answer(form, &listed, |listed| table(&listed.keys))
}

fn table(lines: &[Line]) -> String {
    if lines.is_empty() {
        return "no keys: `millrace key enrol` takes one in".to_owned();
    }
    let widest = lines.iter().map(|line| line.speaks_as.join(",").len()).max().unwrap_or(0).max("SPEAKS AS".len());
    let mut all = vec![format!("{:16}  {:widest$}  ABOUT", "KEY", "SPEAKS AS")];
    for line in lines {
        let revoked = line.revoked.as_ref().map_or_else(String::new, |at| format!("  revoked {at}"));
        all.push(format!("{:16}  {:widest$}  {}{revoked}", line.id, line.speaks_as.join(","), line.about.join(",")));
    }
    all.join("\n")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Arguments {
        #[command(subcommand)]
        command: Command,
    }

    fn enrolment(rest: &str) -> anyhow::Result<Entry> {
        let public = millrace_schemas::signing::Signer::from_seed(&[1; 32]).public();
        let line = format!("key enrol r.toml --public {public} {rest}");
        let Command::Enrol(enrol) = Arguments::try_parse_from(line.split_whitespace())?.command else {
            panic!("enrol")
        };
        entry(&enrol)
    }

    #[test]
    fn a_key_is_bound_to_what_was_named() {
        let check = |rest: &str, about: &[&str]| {
            let entry = enrolment(rest).unwrap_or_else(|error| panic!("{rest}: {error}"));
            assert_eq!(entry.about.iter().map(ToString::to_string).collect::<Vec<_>>(), about, "{rest}");
        };
        check("--role agent --host h1 --about shop/db1,shop/db2", &["shop/db1", "shop/db2"]);
        check("--role agent --host h1 --about *", &["*"]);
        check("--role process --name p1", &["*"]);
        check("--role operator --name ops-1000 --about shop/*", &["shop/*"]);
        check("--role process --role execute --name p1", &["*"]);
    }

    #[test]
    fn what_is_not_said_is_not_guessed() {
        let check = |rest: &str, expected: &str| {
            let error = enrolment(rest).expect_err(rest).to_string();
            assert!(error.contains(expected), "{rest}: {error}");
        };
        check("--role agent --host h1", "names its instances");
        check("--role agent --about *", "names the hosts");
        check("--role process", "names that they speak under");
        check("--role boss --name p1", "'boss' is not a role");
        check("--role agent --host h1 --about shop", "CLUSTER/INSTANCE");
        check("--role operator --name ../x", "is not the name of a process");
    }

    #[test]
    fn a_table_names_who_is_refused() {
        let line = Line {
            id: "0123456789abcdef".to_owned(),
            roles: vec![Role::Agent],
            speaks_as: vec!["agent/h1".to_owned()],
            about: vec!["shop/db1".to_owned()],
            revoked: Some("2026-11-21T20:00:00Z".to_owned()),
        };
        let expected =
            "KEY               SPEAKS AS  ABOUT\n0123456789abcdef  agent/h1   shop/db1  revoked 2026-11-21T20:00:00Z";
        assert_eq!(table(&[line]), expected);
        assert!(table(&[]).contains("key enrol"));
    }
}
