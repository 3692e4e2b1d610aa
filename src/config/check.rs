//! What sections of a configuration say about each other. In: the names and folders of each, as they are read, with where they
//! stand. Out: a problem at each that is taken already, and at each server whose cluster nobody describes: two agents of one
//! host or folder would speak over each other, and one instance in two clusters would be decided about twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use millrace_schemas::ids::{ClusterId, HostId, InstanceId};

use super::read::{Problems, Section};

/// The names so far, each with where it stands.
#[derive(Debug, Default)]
pub(super) struct Names {
    hosts: BTreeMap<HostId, usize>,
    states: BTreeMap<PathBuf, usize>,
    instances: BTreeMap<InstanceId, usize>,
    clusters: BTreeMap<ClusterId, usize>,
    /// Clusters that servers say they are of.
    wanted: Vec<(ClusterId, usize)>,
}

impl Names {
    /// An agent: its host and its folder are its own.
    pub(super) fn agent(
        &mut self,
        section: &Section<'_, '_>,
        host: Option<&HostId>,
        state: Option<&Path>,
        problems: &mut Problems<'_>,
    ) {
        if let Some(host) = host
            && let Err(line) = taken(&mut self.hosts, host.clone(), section.at_key("host"), problems)
        {
            let what =
                format!("agent.host {host} has an agent already (line {line}): a host has one, with all its instances");
            problems.note(section.at_key("host"), what);
        }
        if let Some(state) = state
            && let Err(line) = taken(&mut self.states, state.to_owned(), section.at_key("state-dir"), problems)
        {
            let what = format!(
                "agent.state-dir {} is the folder of another agent (line {line}): give each one of its own",
                state.display()
            );
            problems.note(section.at_key("state-dir"), what);
        }
    }

    /// A server: its id is its own, over all clusters.
    pub(super) fn server(
        &mut self,
        section: &Section<'_, '_>,
        instance: Option<&InstanceId>,
        cluster: Option<&ClusterId>,
        problems: &mut Problems<'_>,
    ) {
        if let Some(instance) = instance
            && let Err(line) = taken(&mut self.instances, instance.clone(), section.at_key("id"), problems)
        {
            let what = format!(
                "agent.instance.id {instance} is there already (line {line}): an instance is one server, of one cluster"
            );
            problems.note(section.at_key("id"), what);
        }
        self.wanted.extend(cluster.map(|cluster| (cluster.clone(), section.at_key("cluster"))));
    }

    /// A cluster: its id is its own.
    pub(super) fn cluster(&mut self, section: &Section<'_, '_>, id: Option<&ClusterId>, problems: &mut Problems<'_>) {
        if let Some(id) = id
            && let Err(line) = taken(&mut self.clusters, id.clone(), section.at_key("id"), problems)
        {
            problems
                .note(section.at_key("id"), format!("cluster.id {id} is there already (line {line}): give it another"));
        }
    }

    /// Every server's cluster must be described, or nobody would look after it. Where the bus is in another process, that one
    /// may describe it.
    pub(super) fn enrolled(&self, problems: &mut Problems<'_>) {
        for (cluster, at) in &self.wanted {
            if !self.clusters.contains_key(cluster) {
                let what = format!(
                    "agent.instance.cluster names {cluster}, which is not described: add [[cluster]] with id = \"{cluster}\", \
                     flavour and primary"
                );
                problems.note(*at, what);
            }
        }
    }
}

/// Notes that `name` stands at `at`; the line of where it stood before, if it did.
fn taken<N: Ord>(names: &mut BTreeMap<N, usize>, name: N, at: usize, problems: &Problems<'_>) -> Result<(), usize> {
    if let Some(before) = names.get(&name) {
        return Err(problems.line(*before));
    }
    names.insert(name, at);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::parse;

    const BUS: &str = "[bus]\nfile = \"b.db\"\n";
    const CLUSTER: &str = "[[cluster]]\nid = \"c1\"\nflavour = \"mysql\"\nprimary = \"db1\"\n";

    fn agent(host: &str, state: &str) -> String {
        format!("[[agent]]\nhost = \"{host}\"\nstate-dir = \"{state}\"\n")
    }

    fn server(id: &str, cluster: &str, port: u16) -> String {
        format!("[[agent.instance]]\nid = \"{id}\"\ncluster = \"{cluster}\"\nuser = \"u\"\nport = {port}\n")
    }

    fn check(parts: &[&str], expected: &[(usize, &str)]) {
        let text = parts.concat();
        let problems = parse(&text).err().unwrap_or_default();
        assert_eq!(problems.len(), expected.len(), "{text}\n{problems:#?}");
        for (problem, (line, what)) in problems.iter().zip(expected) {
            assert!(problem.line == *line && problem.what.contains(what), "{what} in line {line}\n{problem:?}\n{text}");
        }
    }

    #[test]
    fn a_host_has_one_agent_and_an_agent_a_folder() {
        check(&[BUS, &agent("h1", "a"), &agent("h2", "b")], &[]);
        check(&[BUS, &agent("h1", "a"), &agent("h1", "b")], &[(7, "h1 has an agent already (line 4)")]);
        check(&[BUS, &agent("h1", "a"), &agent("h2", "a/")], &[(8, "the folder of another agent (line 5)")]);
        check(
            &[BUS, &agent("h1", "a"), &agent("h1", "a"), &agent("h1", "b")],
            &[(7, "line 4"), (8, "line 5"), (10, "line 4")],
        );
    }

    #[test]
    fn an_instance_is_one_server_of_one_cluster() {
        let (one, two) = (agent("h1", "a"), agent("h2", "b"));
        let (db1, db2) = (server("db1", "c1", 1), server("db2", "c1", 2));
        check(&[BUS, &one, &db1, &db2, CLUSTER], &[]);
        check(
            &[BUS, &one, &db1, &two, &server("db1", "c2", 1), CLUSTER],
            &[(15, "db1 is there already (line 7)"), (16, "c2")],
        );
    }

    #[test]
    fn a_cluster_is_described_once_and_each_that_is_named_is() {
        let one = agent("h1", "a");
        check(&[BUS, &one, &server("db1", "c1", 1), CLUSTER, CLUSTER], &[(16, "c1 is there already (line 12)")]);
        check(&[BUS, &one, &server("db1", "c9", 1)], &[(8, "add [[cluster]] with id = \"c9\"")]);
        let elsewhere = "[bus]\nurl = \"http://127.0.0.1:7071\"\ntoken-file = \"t\"\nstate-dir = \"s\"\n";
        check(&[elsewhere, &one, &server("db1", "c9", 1)], &[]);
    }
}
