//! The keys of the demo's fleet: each role that says something has one of its own, which may say no more than that role must. In: who
//! speaks. Out: private keys and a roster in the demo's folder, and the `[trust]` that a configuration has because of them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use millrace_schemas::ids::HostId;
use millrace_schemas::signing::{About, Entry, Role};

use crate::config;
use crate::roles::speaker::now;
use crate::trust::{key_file, roster_file};

/// Whom a key speaks as.
#[derive(Debug)]
pub(super) enum As<'a> {
    /// The agent of a host.
    Agent(&'a HostId),
    /// A process or an operator of these names.
    Named(Role, Vec<String>),
}

pub(super) fn roster(dir: &Path) -> PathBuf {
    dir.join("roster.toml")
}

fn file(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.key"))
}

/// Makes the key of `name`, and lets it speak about `about`.
pub(super) fn enrol(dir: &Path, name: &str, speaks: As<'_>, about: &str) -> anyhow::Result<()> {
    let about: About = about.parse().map_err(anyhow::Error::msg).context("whom a key may speak about")?;
    let public = key_file::make(&file(dir, name))?.public();
    let (role, hosts, names) = match speaks {
        As::Agent(host) => (Role::Agent, vec![host.clone()], Vec::new()),
        As::Named(role, names) => (role, Vec::new(), names),
    };
    let (roles, hosts, names) = ([role].into(), hosts.into_iter().collect(), names.into_iter().collect());
    roster_file::enrol(&roster(dir), &Entry { public, roles, hosts, names, about: vec![about], revoked: None }, now())?;
    Ok(())
}

/// What a process is told of whom it believes; who was given no key only reads.
pub(super) fn trust(dir: &Path, name: &str) -> config::Trust {
    let file = file(dir, name);
    config::Trust { key_file: file.exists().then_some(file), roster: roster(dir) }
}

/// The same as a section of a configuration.
pub(super) fn section(dir: &Path, name: &str) -> String {
    let config::Trust { key_file, roster } = trust(dir, name);
    let mut text = format!("[trust]\nroster = \"{}\"\n", roster.display());
    if let Some(file) = key_file {
        let _ = writeln!(text, "key-file = \"{}\"", file.display());
    }
    text
}
