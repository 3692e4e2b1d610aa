//! `millrace journal export|replay`.

use std::path::PathBuf;

use clap::Subcommand;

use super::output::{Form, answer};
use super::site::Source;
use super::{End, Negative};
use crate::journal::{Replayed, export, replay_judged};
use crate::trust::roster_file;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write journal, actions and alerts of a bus to an archive, with the range that is still open.
    Export {
        #[command(flatten)]
        source: Source,
        /// The archive.
        dir: PathBuf,
        /// The form of the answer.
        #[arg(short, long, value_enum, default_value = "text")]
        output: Form,
    },
    /// Fold an archived journal again and compare the decisions. Exit code 1 when they differ.
    Replay {
        /// The archive.
        dir: PathBuf,
        /// Pass over what this roster does not believe, as the deciders did when it ran. Give it where the configuration has
        /// [trust].
        #[arg(long, value_name = "FILE")]
        roster: Option<PathBuf>,
        /// The form of the answer.
        #[arg(short, long, value_enum, default_value = "text")]
        output: Form,
    },
}

pub(super) fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Export { source, dir, output } => {
            let Some(bus) = source.open()? else {
                return Err(End::Usage("name the bus: --config FILE or --bus FILE".to_owned()).into());
            };
            answer(output, &export(&bus, &dir)?, |exported| format!("exported to {}", exported.dir.display()))
        }
        Command::Replay { dir, roster, output } => {
            let roster = roster.as_deref().map(roster_file::read).transpose()?;
            let replayed = replay_judged(&dir, roster.as_ref())?;
            answer(output, &replayed, text)?;
            if replayed.equal { Ok(()) } else { Err(Negative.into()) }
        }
    }
}

fn text(replayed: &Replayed) -> String {
    let mut lines =
        vec![format!("{} records of the journal, {} decisions:", replayed.records, replayed.decisions.len())];
    if replayed.refused > 0 {
        lines.push(format!("{} records that the roster does not believe were passed over", replayed.refused));
    }
    for decision in &replayed.decisions {
        lines.push(format!("  epoch {} {} {}: {}", decision.epoch, decision.kind, decision.cluster, decision.reason));
    }
    lines.push(format!("{} permits of the fleet were asked for and answered", replayed.permits));
    lines.push(format!("replayed {}", replayed.hash));
    lines.push(format!("recorded {} ({} decisions)", replayed.recorded_hash, replayed.recorded));
    lines.push(if replayed.equal { "equal".to_owned() } else { "NOT EQUAL".to_owned() });
    lines.join("\n")
}
