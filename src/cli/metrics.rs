//! `millrace metrics`: every metric of the catalogue, as the reference page has them. Nothing is asked.

use clap::Args;
use millrace_schemas::metrics::{all, page};
use serde::Serialize;

use super::output::{Form, answer};
use crate::journal::SCHEMA_VERSION;

/// How it is told.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// How it is told.
    #[arg(short, long, value_name = "FORM", default_value = "text")]
    output: Form,
}

/// What is told.
#[derive(Debug, Serialize)]
struct Told {
    schema_version: u32,
    metrics: Vec<Metric>,
}

#[derive(Debug, Serialize)]
struct Metric {
    name: &'static str,
    measurement: &'static str,
    field: &'static str,
    unit: &'static str,
    r#type: &'static str,
    labels: &'static [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    only: Option<millrace_schemas::flavour::Flavour>,
    source: &'static str,
    help: &'static str,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let metrics = all().map(|one| Metric {
        name: one.name,
        measurement: one.measurement,
        field: one.field,
        unit: one.unit,
        r#type: one.kind.as_str(),
        labels: one.labels,
        only: one.only,
        source: one.source,
        help: one.help,
    });
    let told = Told { schema_version: SCHEMA_VERSION, metrics: metrics.collect() };
    answer(arguments.output, &told, |_| page::markdown().trim_end().to_owned())
}
