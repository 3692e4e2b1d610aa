//! `millrace dashboards`: the boards are written to a folder, in the edition for a kind of data source. Nothing is asked; what lies
//! there under the same names is replaced.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::output::{Form, answer};
use crate::dashboards::{Edition, LeftOut, boards, files, said};
use crate::journal::SCHEMA_VERSION;

/// Which edition, and where to.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The folder that they are written to; it is made.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What the boards ask: anything that answers PromQL, or InfluxDB by InfluxQL.
    #[arg(long, value_name = "prometheus|influxql")]
    datasource: Edition,
    /// How it is told.
    #[arg(short, long, value_name = "FORM", default_value = "text")]
    output: Form,
}

/// What is told.
#[derive(Debug, Serialize)]
struct Told {
    schema_version: u32,
    datasource: &'static str,
    files: Vec<PathBuf>,
    boards: Vec<Board>,
    left_out: Vec<Without>,
}

#[derive(Debug, Serialize)]
struct Board {
    uid: &'static str,
    title: &'static str,
    panels: usize,
}

#[derive(Debug, Serialize)]
struct Without {
    board: &'static str,
    panel: &'static str,
    why: &'static str,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let edition = arguments.datasource;
    let mut told = Told {
        schema_version: SCHEMA_VERSION,
        datasource: edition.name(),
        files: Vec::new(),
        boards: Vec::new(),
        left_out: Vec::new(),
    };
    for (path, text) in files(edition) {
        let file = arguments.out.join(path);
        let folder = file.parent().unwrap_or(&arguments.out);
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        told.files.push(file);
    }
    for board in boards::all() {
        let (board, without) = said(board, edition);
        let panels = board.rows.iter().map(|row| row.panels.len()).sum();
        if panels > 0 {
            told.boards.push(Board { uid: board.uid, title: board.title, panels });
        }
        told.left_out.extend(without.into_iter().map(|LeftOut { board, panel, why }| Without {
            board,
            panel,
            why: why.why(),
        }));
    }
    answer(arguments.output, &told, text)
}

fn text(told: &Told) -> String {
    let mut text = String::new();
    for Board { uid, title, panels } in &told.boards {
        let _ = writeln!(text, "{uid:<22} {title:<26} {panels:>3} panels");
    }
    let _ = writeln!(text, "{} files are written", told.files.len());
    if !told.left_out.is_empty() {
        let without = told.left_out.len();
        let _ = writeln!(text, "{without} panels are not in this edition: README.md says which, and why");
    }
    text
}
