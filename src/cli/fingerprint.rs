//! `millrace fingerprint`: statements from standard input, the digest of each out. A text with several statements gives a line for
//! each, as a server counts them; a line without a statement gives none.

use std::io::{self, BufRead as _, BufWriter, Write as _};

use clap::{Args, ValueEnum};
use millrace_schemas::digest::{Digest, Scanner, split};
use serde::Serialize;

use super::output::{told, write_line};

/// The layout of a line.
const SCHEMA_VERSION: u32 = 1;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Statements end with a NUL byte, and may have line ends inside (`find -print0` and the like write so).
    #[arg(long)]
    null: bool,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// The id and the canonical text.
    Text,
    /// One JSON object a statement.
    Jsonl,
}

/// One statement, as a JSON line.
#[derive(Serialize)]
struct Line<'a> {
    schema_version: u32,
    /// Which of the inputs it is of, from 1.
    input: u64,
    /// Which statement of that, from 0.
    statement: usize,
    digest_id: String,
    digest_text: &'a str,
    kind: &'a str,
    tables: &'a [String],
    truncated: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut input = io::stdin().lock();
    let mut out = BufWriter::new(io::stdout().lock());
    let end = if arguments.null { 0 } else { b'\n' };
    let mut scanner = Scanner::new();
    let mut sql = Vec::new();
    for number in 1.. {
        sql.clear();
        if input.read_until(end, &mut sql)? == 0 {
            break;
        }
        for (statement, range) in split(&sql).enumerate() {
            let digest = scanner.digest(&sql[range]);
            told(write(&mut out, arguments.output, number, statement, &digest))?;
        }
    }
    told(out.flush())
}

fn write(out: &mut impl io::Write, form: Form, input: u64, statement: usize, digest: &Digest) -> io::Result<()> {
    if form == Form::Text {
        return writeln!(out, "{}  {}", digest.id, digest.text);
    }
    let line = Line {
        schema_version: SCHEMA_VERSION,
        input,
        statement,
        digest_id: digest.id.to_string(),
        digest_text: &digest.text,
        kind: digest.kind.as_str(),
        tables: &digest.tables,
        truncated: digest.truncated,
    };
    write_line(out, &line)
}
