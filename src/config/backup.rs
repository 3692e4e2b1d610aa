//! `[[agent.backup]]`: how old the newest backup of a cluster may be, and where this host's are found. In: a section. Out: a policy, or
//! every problem with its line. Millrace makes no backups; it looks for those that others make.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use millrace_schemas::ids::ClusterId;

use super::read::{Problems, Section};

/// An hour to a year: backups are not made more often, and nobody relies on an older one.
const WITHIN: RangeInclusive<Duration> = Duration::from_hours(1)..=Duration::from_hours(24 * 366);

/// A policy of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The cluster.
    pub cluster: ClusterId,
    /// How old its newest backup may be.
    pub within: Duration,
    /// Folders on this host, or patterns of names in them. The servers' own tables are looked into beside them.
    pub find: Vec<PathBuf>,
}

/// Reads all of an agent.
pub(super) fn read_all(agent: &mut Section<'_, '_>, problems: &mut Problems<'_>) -> Vec<Backup> {
    let mut all: Vec<Backup> = Vec::new();
    for mut section in agent.sections("backup", problems) {
        let at = section.at_key("cluster");
        let cluster = section.parsed("cluster", problems, |text| ClusterId::parse(text));
        let within = if section.has("within") {
            section.duration_in("within", WITHIN, problems)
        } else {
            section.required("within", problems);
            None
        };
        let find = section.all_parsed("find", problems, absolute);
        section.finish(problems);
        let (Some(cluster), Some(within)) = (cluster, within) else { continue };
        if all.iter().any(|other| other.cluster == cluster) {
            problems
                .note(at, format!("backup.cluster {cluster} has a policy already: name all its places in one find"));
        }
        all.push(Backup { cluster, within, find });
    }
    all
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let in_folder = path.parent().is_some_and(|folder| folder.to_string_lossy().contains('*'));
    match path.is_absolute() {
        true if in_folder => Err(format!("\"{text}\": * stands for names in one folder: \"/backups/*.sql.gz\"")),
        true => Ok(path),
        false => Err(format!("\"{text}\" is no whole path: it begins with /")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    const AGENT: &str = "[bus]\nfile = \"b.db\"\n[[agent]]\nhost = \"h1\"\nstate-dir = \"s\"\n";

    #[test]
    fn a_policy_is_read() {
        let text =
            format!("{AGENT}[[agent.backup]]\ncluster = \"c1\"\nwithin = \"26h\"\nfind = [\"/b\", \"/c/*.gz\"]\n");
        let expected = Backup {
            cluster: ClusterId::parse("c1").expect("legal"),
            within: Duration::from_hours(26),
            find: vec![PathBuf::from("/b"), PathBuf::from("/c/*.gz")],
        };
        assert_eq!(parse(&text).expect("right").agents[0].backups, [expected]);
    }

    #[test]
    fn what_is_wrong_with_a_policy_is_told_with_its_line() {
        let text = format!(
            "{AGENT}[[agent.backup]]\ncluster = \"c1\"\nwithin = \"5m\"\nfind = [\"b\", \"/b/*/c\"]\n\
             [[agent.backup]]\ncluster = \"c2\"\n[[agent.backup]]\ncluster = \"c3\"\nwithin = \"2d\"\n\
             [[agent.backup]]\ncluster = \"c3\"\nwithin = \"2d\"\nof = 1\n"
        );
        let problems = parse(&text).expect_err("wrong");
        let expected = [
            (8, "is no time from"),
            (9, "is no whole path"),
            (9, "names in one folder"),
            (10, "needs within"),
            (16, "c3 has a policy already"),
            (18, "of is not known"),
        ];
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        for (problem, (line, what)) in problems.iter().zip(expected) {
            assert!(problem.line == line && problem.what.contains(what), "{what} in line {line}: {problem:?}");
        }
    }
}
