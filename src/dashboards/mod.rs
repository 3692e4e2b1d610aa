//! Dashboards for Grafana: one definition enters, files leave, in an edition for each query language. A board is data over the metric
//! catalogue (`boards/`); `promql` and `influxql` write its queries, `json` the file. Pure: no clock, no I/O, so that the same
//! program always writes the same bytes. What an edition cannot say is left out of it and told in one place.

pub mod board;
pub mod boards;
pub mod influxql;
mod json;
mod promql;
mod provisioning;
pub mod query;

use std::path::PathBuf;

use clap::ValueEnum;

pub use board::Unit;
pub use influxql::Unsayable;

use board::{Board, Panel};

/// What the boards ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Edition {
    /// Anything that answers PromQL: Prometheus, VictoriaMetrics, Mimir, Thanos.
    Prometheus,
    /// InfluxDB by InfluxQL, which all its generations answer.
    Influxql,
}

impl Edition {
    /// As the command line names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus",
            Self::Influxql => "influxql",
        }
    }

    /// The type of data source, as Grafana names it.
    pub const fn source(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus",
            Self::Influxql => "influxdb",
        }
    }
}

/// A panel that an edition has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The board.
    pub board: &'static str,
    /// The panel.
    pub panel: &'static str,
    /// Why.
    pub why: Unsayable,
}

/// The panels of a board that `edition` can say, and those that it cannot. A row or a board with none is not there.
pub fn said(board: Board, edition: Edition) -> (Board, Vec<LeftOut>) {
    let names: Vec<&str> = board.variables.iter().map(|variable| variable.name).collect();
    let mut left_out = Vec::new();
    let mut can = |panel: &Panel| match json::unsayable(panel, &names, edition) {
        None => true,
        Some(why) => {
            left_out.push(LeftOut { board: board.title, panel: panel.title, why });
            false
        }
    };
    let mut rows = board.rows;
    for row in &mut rows {
        row.panels.retain(&mut can);
    }
    rows.retain(|row| !row.panels.is_empty());
    (Board { rows, ..board }, left_out)
}

/// Every file of an edition, by its path: boards, provisioning, and a page that says how they are used and what is left out.
pub fn files(edition: Edition) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut left_out = Vec::new();
    for board in boards::all() {
        let (board, without) = said(board, edition);
        left_out.extend(without);
        if board.rows.is_empty() {
            continue;
        }
        let path = format!("dashboards/{}.json", board.uid);
        let text = serde_json::to_string_pretty(&json::dashboard(&board, edition)).expect("values of our own are JSON");
        files.push((PathBuf::from(path), text + "\n"));
    }
    files.extend(provisioning::files(edition, &left_out));
    files
}
