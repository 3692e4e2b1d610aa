//! `millrace dead replay`: letters enter, the records that they were leave, one append after the other, so that what was done is
//! known when one fails. It says of each where it landed or why it stays, asks before, and never replays what was refused for its
//! signature.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _};

use millrace_schemas::record::{Bytes, NewRecord};
use millrace_schemas::topics::Topic;
use serde::Serialize;

use super::letter::{Letter, Place};
use super::{Replay, fetched, letters, named};
use crate::bus::{Error, SharedBus};
use crate::cli::output::{Form, answer, printable};
use crate::cli::{End, Negative};
use crate::journal::SCHEMA_VERSION;

/// 64 MiB of values at once: what can be replayed together, in a process of 256 MiB.
const BYTES_MAX: usize = 64 << 20;
/// What everybody who replays must know.
const NOTE: &str = "readers may judge a replayed record late, or know it already by its sequence, and drop it";

/// What is to be done.
#[derive(Debug, Default)]
struct Plan {
    todo: Vec<(Place, NewRecord)>,
    stay: Vec<Staying>,
    /// The same words as another one.
    repeated: u64,
}

/// One that is not replayed.
#[derive(Debug, Serialize)]
struct Staying {
    place: String,
    why: String,
}

/// One that was replayed, or would be.
#[derive(Debug, Serialize)]
struct Replayed {
    place: String,
    topic: Topic,
    key: String,
    /// Where it lies now; absent in a dry run.
    landed: Option<String>,
}

#[derive(Debug, Serialize)]
struct Told {
    schema_version: u32,
    dry_run: bool,
    replayed: Vec<Replayed>,
    refused: Vec<Staying>,
    /// Letters that say the same as one that is replayed.
    repeated: u64,
    note: &'static str,
}

pub(super) fn run(replay: &Replay) -> anyhow::Result<()> {
    let bus = named(&replay.source)?;
    let plan = match replay.place {
        Some(place) => planned(&bus, std::iter::once(fetched(&bus, place)))?,
        None => planned(&bus, letters(&bus, replay.topic)?)?,
    };
    if plan.todo.is_empty() && !plan.stay.is_empty() {
        let why: Vec<String> = plan.stay.iter().map(|one| format!("{}: {}", one.place, one.why)).collect();
        return Err(End::Refused(format!("nothing was replayed\n{}", why.join("\n"))).into());
    }
    if !replay.dry_run && !replay.yes && !plan.todo.is_empty() && !agreed(&plan)? {
        return Err(End::Refused("nothing was replayed".to_owned()).into());
    }
    let Plan { todo, stay, repeated } = plan;
    let mut told = Told {
        schema_version: SCHEMA_VERSION,
        dry_run: replay.dry_run,
        replayed: Vec::new(),
        refused: stay,
        repeated,
        note: NOTE,
    };
    for (place, record) in todo {
        let (topic, key) = (record.topic, record.key.clone());
        let landed = if replay.dry_run { None } else { Some(append(&bus, place, record, &told, replay.output)?) };
        told.replayed.push(Replayed { place: place.to_string(), topic, key, landed });
    }
    answer(replay.output, &told, text)?;
    // Part of what was asked for was not done.
    if told.refused.is_empty() { Ok(()) } else { Err(Negative.into()) }
}

fn planned(bus: &SharedBus, letters: impl Iterator<Item = anyhow::Result<Letter>>) -> anyhow::Result<Plan> {
    let mut partitions: BTreeMap<Topic, u32> = BTreeMap::new();
    let mut plan = Plan::default();
    let mut bytes = 0;
    let mut had = HashSet::new();
    for letter in letters {
        let letter = letter?;
        let topic = letter.topic().unwrap_or(Topic::Dead);
        let of_topic = match partitions.get(&topic) {
            Some(known) => *known,
            None => *partitions.entry(topic).or_insert(bus.partitions(topic)?),
        };
        match letter.replayed(of_topic) {
            Err(why) => plan.stay.push(Staying { place: letter.place.to_string(), why }),
            Ok(record) => {
                // One that was replayed and died again is there twice: it must not become four.
                if !had.insert((record.topic, record.key.clone(), record.headers.clone(), record.value.clone())) {
                    plan.repeated += 1;
                    continue;
                }
                bytes += record.value.as_ref().map_or(0, Bytes::len);
                if bytes > BYTES_MAX {
                    let what = "more than 64 MiB would be replayed at once: choose a --topic, or single records";
                    return Err(End::Usage(what.to_owned()).into());
                }
                plan.todo.push((letter.place, record));
            }
        }
    }
    Ok(plan)
}

/// Shows what would be done, and asks.
fn agreed(plan: &Plan) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(End::Usage("no terminal to ask on: add --yes, or look first with --dry-run".to_owned()).into());
    }
    for (place, record) in &plan.todo {
        eprintln!("{place} to {}, key {}", record.topic, printable(&record.key));
    }
    eprint!("{NOTE}\nreplay {}? [y/N] ", counted(plan.todo.len(), "record"));
    let mut said = String::new();
    std::io::stdin().lock().read_line(&mut said)?;
    Ok(matches!(said.trim(), "y" | "Y" | "yes"))
}

/// Appends one; where it landed. When that fails, what was done before it is said first.
fn append(bus: &SharedBus, place: Place, record: NewRecord, told: &Told, output: Form) -> anyhow::Result<String> {
    let error = match bus.append(vec![record]).wait() {
        Ok(landed) => {
            let landed = landed.first().map(|one| Place { partition: one.partition, offset: one.offset });
            return Ok(landed.map_or_else(String::new, |landed| landed.to_string()));
        }
        Err(error) => error,
    };
    if !told.replayed.is_empty() {
        answer(output, told, text)?;
    }
    Err(match error {
        Error::NoKey { topic } => End::Refused(format!(
            "{place} was never signed, and on this site nobody believes what lies unsigned in {topic}: it was not replayed"
        )),
        Error::TooLarge { .. } => End::Refused(format!("{place} was not replayed: {error}")),
        error => End::Unknown(format!("whether {place} was replayed is not known: {error}; look into its topic")),
    }
    .into())
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn text(told: &Told) -> String {
    let mut text = String::new();
    for one in &told.replayed {
        let key = printable(&one.key);
        let _ = match &one.landed {
            Some(landed) => writeln!(text, "{} is in {} at {landed}, key {key}", one.place, one.topic),
            None => writeln!(text, "{} would go to {}, key {key}", one.place, one.topic),
        };
    }
    for one in &told.refused {
        let _ = writeln!(text, "{} stays: {}", one.place, printable(&one.why));
    }
    if told.repeated > 0 {
        let _ = writeln!(text, "{} more say the same", told.repeated);
    }
    let records = counted(told.replayed.len(), "record");
    let _ = if told.dry_run {
        writeln!(text, "{records} would be replayed; nothing was changed")
    } else {
        writeln!(text, "{records} replayed")
    };
    if !told.replayed.is_empty() {
        let _ = writeln!(text, "{NOTE}");
    }
    text
}
