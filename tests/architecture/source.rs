//! The source text of the project: which files there are, and which part of each is test code.

use std::fs;
use std::path::{Path, PathBuf};

/// A file and its text.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// Relative to the root.
    pub(super) path: String,
    pub(super) text: String,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// True for files that hold nothing but tests or benchmarks.
    pub(super) fn is_test(&self) -> bool {
        let part = |name: &str| self.path.split('/').any(|part| part == name);
        part("tests") || part("benches") || self.path.ends_with("tests.rs")
    }

    /// Lines of code with their numbers: no comments, nothing from the first test module on.
    pub(super) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let before = self.text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
        before.enumerate().map(|(at, line)| (at + 1, line)).filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of the project.
pub(super) fn tree() -> Vec<Source> {
    let mut found = Vec::new();
    for folder in ["schemas", "mysql", "collectors", "processors", "executors", "sinks", "src", "tests", "benches"] {
        walk(&root().join(folder), "rs", &mut found);
    }
    found
}

/// Every manifest.
pub(super) fn manifests() -> Vec<Source> {
    let mut found = Vec::new();
    walk(root(), "toml", &mut found);
    found.retain(|one| one.path.ends_with("Cargo.toml"));
    found
}

fn walk(folder: &Path, extension: &str, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            walk(&path, extension, found);
        } else if path.extension().is_some_and(|other| other == extension) {
            let text = fs::read_to_string(&path).expect("source is UTF-8");
            let relative = path.strip_prefix(root()).expect("it lies in the root").to_string_lossy().into_owned();
            found.push(Source { path: relative, text });
        }
    }
}
