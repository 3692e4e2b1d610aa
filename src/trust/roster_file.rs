//! The file of the roster: TOML with a `[[key]]` for each key. In: its text. Out: a roster, or every problem with its line; and
//! the text with a key added or revoked, everything else in it left as people wrote it.
//! It is written whole or not at all. An entry is never taken out: what a key said before it was revoked stays said.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use millrace_schemas::ids::HostId;
use millrace_schemas::signing::{About, Entry, KeyId, PublicKey, Role, Roster};
use millrace_schemas::time::Timestamp;
use toml::de::DeTable;

use super::Error;
use crate::config::read::{Problem, Problems, Section};

/// What the first line of a new roster says.
const HEAD: &str = "# Which key may speak as whom and about what. `millrace key enrol|list|revoke` edit it; so may you.\n\
                    # An entry is revoked, never taken out: what its key said before stays said.\n\
                    # What was appended before `since` is believed unsigned: nobody had a key then.\n";

/// Reads the roster in `file`. One that others than its owner can write is refused: they could enrol themselves.
pub fn read(file: &Path) -> Result<Roster, Error> {
    parse(&text(file)?).map_err(|problems| listed(file, &problems))
}

fn text(file: &Path) -> Result<String, Error> {
    let told = |problem: String| Error::Roster { problem: format!("{}: {problem}", file.display()) };
    let mode = fs::metadata(file).map_err(|error| told(error.to_string()))?.mode();
    if mode & 0o022 != 0 {
        let problem = format!("mode {:o} lets others enrol keys: chmod go-w {}", mode & 0o777, file.display());
        return Err(told(problem));
    }
    fs::read_to_string(file).map_err(|error| told(error.to_string()))
}

fn listed(file: &Path, problems: &[Problem]) -> Error {
    let lines: Vec<String> =
        problems.iter().map(|one| format!("{}:{}: {}", file.display(), one.line, one.what)).collect();
    Error::Roster { problem: lines.join("\n") }
}

/// Reads a roster; every problem at once.
pub fn parse(text: &str) -> Result<Roster, Vec<Problem>> {
    let mut problems = Problems::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        problems.note(error.span().map_or(0, |span| span.start), error.message().to_owned());
    }
    let mut root = Section::root(&table);
    let since = root.optional("since", &mut problems, str::parse::<Timestamp>);
    let mut roster = Roster::default();
    roster.since = since;
    for section in root.sections("key", &mut problems) {
        let at = section.at();
        let before = problems.found.len();
        if let Some(entry) = entry(section, &mut problems)
            && problems.found.len() == before
            && let Err(problem) = roster.enrol(entry)
        {
            problems.note(at, format!("key: {problem}"));
        }
    }
    root.finish(&mut problems);
    if problems.found.is_empty() {
        return Ok(roster);
    }
    problems.found.sort_by_key(|problem| problem.line);
    Err(problems.found)
}

fn entry(mut section: Section<'_, '_>, problems: &mut Problems<'_>) -> Option<Entry> {
    let id = section.required("id", problems);
    let public = section.parsed("public", problems, str::parse::<PublicKey>);
    let roles = section.all_parsed("roles", problems, str::parse::<Role>);
    let hosts = section.all_parsed("hosts", problems, str::parse::<HostId>);
    let names = section.all_parsed("names", problems, |name| named(name).map(str::to_owned));
    let about = section.all_parsed("about", problems, str::parse::<About>);
    // Both are for people: when it was taken in, and whose it is.
    let _ = section.text("enrolled", problems);
    let _ = section.text("note", problems);
    let revoked = section.optional("revoked", problems, str::parse::<Timestamp>);
    if let (Some((id, at)), Some(public)) = (&id, &public)
        && *id != public.id().as_str()
    {
        problems.note(*at, format!("key.id is {id}, and the id of this public key is {}", public.id()));
    }
    section.finish(problems);
    let sets = (roles.into_iter().collect(), hosts.into_iter().collect(), names.into_iter().collect());
    let (roles, hosts, names): (BTreeSet<_>, BTreeSet<_>, BTreeSet<_>) = sets;
    Some(Entry { public: public?, roles, hosts, names, about, revoked })
}

/// The name of a process, or of an operator.
pub fn named(name: &str) -> Result<&str, String> {
    HostId::parse(name).map(|_| name).map_err(|_| {
        format!("'{name}' is not the name of a process or an operator: use 1 to 64 of a-z, 0-9, '-', '_' and '.'")
    })
}

/// Adds a key to the roster in `file`, which is made when it is not there.
pub fn enrol(file: &Path, entry: &Entry, now: Timestamp) -> Result<KeyId, Error> {
    let _alone = alone(file)?;
    let before = if file.exists() { text(file)? } else { format!("{HEAD}since = \"{now}\"\n") };
    let mut roster = parse(&before).map_err(|problems| listed(file, &problems))?;
    let told = |problem: String| Error::Roster { problem: format!("{}: {problem}", file.display()) };
    let id = roster.enrol(entry.clone()).map_err(told)?;
    let after = before + &section(&id, entry, now);
    parse(&after).map_err(|problems| listed(file, &problems))?;
    write(file, &after)?;
    Ok(id)
}

/// Revokes a key of the roster in `file`: what is appended from `now` on is refused.
pub fn revoke(file: &Path, id: &str, now: Timestamp) -> Result<(), Error> {
    let _alone = alone(file)?;
    let before = text(file)?;
    let roster = parse(&before).map_err(|problems| listed(file, &problems))?;
    let told = |problem: String| Error::Roster { problem: format!("{}: {problem}", file.display()) };
    let (id, entry) = roster
        .entries()
        .find(|(known, _)| known.as_str() == id)
        .ok_or_else(|| told(format!("there is no key {id}: `millrace key list {}` shows them", file.display())))?;
    if let Some(at) = entry.revoked {
        return Err(told(format!("key {id} was revoked at {at} already")));
    }
    let at = line_after_id(&before, id.as_str()).ok_or_else(|| told(format!("the line of key {id} was not found")))?;
    let after = format!("{}revoked = \"{now}\"\n{}", &before[..at], &before[at..]);
    let read = parse(&after).map_err(|problems| listed(file, &problems))?;
    if read.entry(id).and_then(|entry| entry.revoked).is_none() {
        return Err(told(format!("key {id} could not be revoked: add revoked = \"{now}\" to its entry")));
    }
    write(file, &after)
}

/// Where the line after that of `id = "ID"` begins.
fn line_after_id(text: &str, id: &str) -> Option<usize> {
    let (table, _) = DeTable::parse_recoverable(text);
    let mut problems = Problems::new(text);
    let mut root = Section::root(&table);
    let sections = root.sections("key", &mut problems);
    let at = sections.into_iter().find_map(|mut section| {
        let (found, at) = section.text("id", &mut problems)?;
        (found == id).then_some(at)
    })?;
    Some(text[at..].find('\n').map_or(text.len(), |end| at + end + 1))
}

fn section(id: &KeyId, entry: &Entry, now: Timestamp) -> String {
    let list = |texts: Vec<String>| {
        let quoted: Vec<String> = texts.iter().map(|text| format!("\"{text}\"")).collect();
        format!("[{}]", quoted.join(", "))
    };
    let mut text = format!("\n[[key]]\nid = \"{id}\"\npublic = \"{}\"\n", entry.public);
    let roles: Vec<String> = entry.roles.iter().map(ToString::to_string).collect();
    let _ = writeln!(text, "roles = {}", list(roles));
    if !entry.hosts.is_empty() {
        let _ = writeln!(text, "hosts = {}", list(entry.hosts.iter().map(ToString::to_string).collect()));
    }
    if !entry.names.is_empty() {
        let _ = writeln!(text, "names = {}", list(entry.names.iter().cloned().collect()));
    }
    let _ = writeln!(text, "about = {}", list(entry.about.iter().map(ToString::to_string).collect()));
    let _ = writeln!(text, "enrolled = \"{now}\"");
    text
}

/// One editor at a time: two who enrol at once would lose one of the keys.
fn alone(file: &Path) -> Result<File, Error> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let locked = File::open(folder).and_then(|folder| folder.lock().map(|()| folder));
    locked.map_err(|error| Error::Roster { problem: format!("{} cannot be locked: {error}", folder.display()) })
}

fn write(file: &Path, text: &str) -> Result<(), Error> {
    let new = file.with_extension("new");
    let mode = fs::metadata(file).map_or(0o644, |about| about.mode() & 0o777);
    let written = fs::remove_file(&new)
        .or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
        .and_then(|()| OpenOptions::new().write(true).create_new(true).mode(mode).open(&new))
        .and_then(|mut out| {
            out.write_all(text.as_bytes())?;
            out.sync_all()?;
            fs::rename(&new, file)
        });
    written.map_err(|error| Error::Roster { problem: format!("{} cannot be written: {error}", file.display()) })
}

#[cfg(test)]
#[path = "roster_file_tests.rs"]
mod tests;
