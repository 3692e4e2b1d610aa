//! Who depends on whom, from `cargo metadata`: the floors among ourselves, and what is reached through others.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Crates of floor 2: they know the floors below and never each other.
const FLOOR_2: [&str; 4] = ["millrace-collectors", "millrace-processors", "millrace-executors", "millrace-sinks"];

/// Normal dependencies, by package name.
#[derive(Debug, Default)]
pub(super) struct Graph(BTreeMap<String, BTreeSet<String>>);

impl Graph {
    /// Asks cargo, without the network.
    pub(super) fn read() -> Self {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--offline", "--locked"])
            // Packages of other platforms were never downloaded.
            .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
            .current_dir(super::source::root())
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        let value: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let graph = Self::of(&value);
        assert!(graph.0.len() > 50, "cargo named {} packages only", graph.0.len());
        graph
    }

    fn of(metadata: &Value) -> Self {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let names: BTreeMap<String, String> =
            list(&metadata["packages"]).iter().map(|package| (text(&package["id"]), text(&package["name"]))).collect();
        let mut graph = Self::default();
        for node in list(&metadata["resolve"]["nodes"]) {
            let from = names.get(&text(&node["id"])).cloned().unwrap_or_default();
            let to = graph.0.entry(from).or_default();
            for dep in list(&node["deps"]) {
                // `kind` is null for what is linked in, else "dev" or "build".
                if list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"].is_null()) {
                    to.extend(names.get(&text(&dep["pkg"])).cloned());
                }
            }
        }
        graph
    }

    /// Dependencies between crates of floor 2, or from a lower floor to a higher one.
    pub(super) fn sideways(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for (from, to) in &self.0 {
            let floor_1 = ["millrace-schemas", "millrace-mysql"].contains(&from.as_str());
            for other in to.iter().filter(|other| FLOOR_2.contains(&other.as_str()) || *other == "millrace") {
                if floor_1 || FLOOR_2.contains(&from.as_str()) {
                    broken.push(format!("{from} depends on {other}"));
                }
            }
        }
        broken
    }

    /// Which of `barred` are reached from `from`, each with the way there.
    pub(super) fn reaches(&self, from: &str, barred: &[&str]) -> Vec<String> {
        assert!(self.0.contains_key(from), "{from} is not in the graph");
        let mut ways: BTreeMap<String, String> = BTreeMap::from([(from.to_owned(), from.to_owned())]);
        let mut queue = vec![from.to_owned()];
        while let Some(name) = queue.pop() {
            for next in self.0.get(&name).into_iter().flatten() {
                if !ways.contains_key(next) {
                    ways.insert(next.clone(), format!("{} -> {next}", ways[&name]));
                    queue.push(next.clone());
                }
            }
        }
        ways.into_iter().filter(|(name, _)| barred.contains(&name.as_str())).map(|(_, way)| way).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &str)]) -> Graph {
        let mut graph = Graph::default();
        for (from, to) in edges {
            graph.0.entry((*from).to_owned()).or_default().insert((*to).to_owned());
            graph.0.entry((*to).to_owned()).or_default();
        }
        graph
    }

    #[test]
    fn a_crate_beside_and_a_way_through_another_are_found() {
        let bad = graph(&[("millrace-sinks", "millrace-collectors"), ("millrace-schemas", "a"), ("a", "tokio")]);
        assert_eq!(bad.sideways(), ["millrace-sinks depends on millrace-collectors"]);
        assert_eq!(bad.reaches("millrace-schemas", &["tokio"]), ["millrace-schemas -> a -> tokio"]);
        let good = graph(&[("millrace", "millrace-sinks"), ("millrace-sinks", "millrace-schemas")]);
        assert!(good.sideways().is_empty());
        assert!(good.reaches("millrace-schemas", &["tokio"]).is_empty());
    }

    #[test]
    fn what_only_tests_or_builds_need_is_not_linked_in() {
        let metadata = serde_json::json!({
            "packages": [{"id": "1", "name": "a"}, {"id": "2", "name": "b"}, {"id": "3", "name": "c"}],
            "resolve": {"nodes": [{"id": "1", "deps": [
                {"pkg": "2", "dep_kinds": [{"kind": "dev"}]},
                {"pkg": "3", "dep_kinds": [{"kind": "build"}, {"kind": null}]},
            ]}]},
        });
        let graph = Graph::of(&metadata);
        assert_eq!(graph.0["a"], BTreeSet::from(["c".to_owned()]));
    }
}
