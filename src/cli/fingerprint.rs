//! `millrace fingerprint`: statements from standard input, the digest of each out. A text with several statements gives a line for
//! each, as a server counts them; a line without a statement gives none.

use std::io::{self, BufRead as _, BufWriter, Write as _};

use clap::{Args, ValueEnum};
use millrace_schemas::digest::{Charset, Digest, PtId, Scanner, Syntax, split};
use serde::Serialize;

use super::output::{told, write_line};
use super::syntax;

/// The layout of a line.
const SCHEMA_VERSION: u32 = 1;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Statements end with a NUL byte, and may have line ends inside (`find -print0` and the like write so).
    #[arg(long)]
    null: bool,
    /// Add the id that pt-query-digest has for the statement, its last 16 digits.
    #[arg(long)]
    pt_id: bool,
    #[command(flatten)]
    syntax: syntax::Arguments,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// The id, that of pt-query-digest where it is asked for, and the canonical text.
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
    /// That of pt-query-digest; null unless asked for.
    pt_id: Option<String>,
    digest_text: &'a str,
    kind: &'a str,
    tables: &'a [String],
    truncated: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut input = io::stdin().lock();
    let mut out = BufWriter::new(io::stdout().lock());
    let end = if arguments.null { 0 } else { b'\n' };
    let syntax = arguments.syntax.syntax();
    let mut scanner = Scanner::reading(Syntax { charset: Charset::default(), ..syntax });
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if input.read_until(end, &mut line)? == 0 {
            break;
        }
        let sql = syntax.to_utf8(&line);
        let statements: Vec<_> = split(&sql, syntax.mode).collect();
        let alone = statements.len() == 1;
        for (statement, range) in statements.into_iter().enumerate() {
            let digest = scanner.digest(&sql[range.clone()]);
            let sent = if alone { whole(&sql, end) } else { &sql[range] };
            let pt_id = arguments.pt_id.then(|| PtId::of(sent));
            told(write(&mut out, arguments.output, (number, statement), &digest, pt_id))?;
        }
    }
    told(out.flush())
}

/// The text of the only statement as a slow log would have it, with comments around it: they leave blanks behind that count.
fn whole(text: &[u8], end: u8) -> &[u8] {
    let text = text.strip_suffix(&[end]).unwrap_or(text).trim_ascii();
    text.strip_suffix(b";").unwrap_or(text)
}

fn write(
    out: &mut impl io::Write,
    form: Form,
    (input, statement): (u64, usize),
    digest: &Digest,
    pt_id: Option<PtId>,
) -> io::Result<()> {
    if form == Form::Text {
        write!(out, "{}  ", digest.id)?;
        if let Some(pt_id) = pt_id {
            write!(out, "{pt_id}  ")?;
        }
        return writeln!(out, "{}", digest.text);
    }
    let line = Line {
        schema_version: SCHEMA_VERSION,
        input,
        statement,
        digest_id: digest.id.to_string(),
        pt_id: pt_id.map(|id| id.to_string()),
        digest_text: &digest.text,
        kind: digest.kind.as_str(),
        tables: &digest.tables,
        truncated: digest.truncated,
    };
    write_line(out, &line)
}
