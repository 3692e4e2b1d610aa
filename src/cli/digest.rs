//! `millrace digest FILE...`: which statements took the time, from slow logs and captures, as text, JSON or a page; `--from SERVER`:
//! which take it now. Literals are masked unless they are asked for.

mod batch;
mod chunks;
mod compare;
mod figures;
mod html;
mod live;
mod plots;
mod progress;
mod read;
mod span;
mod text;

use std::num::NonZero;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use millrace_collectors::slow_log::Dialect;
use millrace_processors::profile::{Classes, Filter, Limit, THRESHOLD_PERCENT, Tally, Wish};
use millrace_schemas::profile::{GroupBy, OrderBy, Profile};

use self::progress::Progress;
use self::read::Reader;
use self::span::When;
use super::input::{Place, places};
use super::login::Who;
use super::logs::Written;
use super::output::say;
use super::syntax;
use super::{End, Negative};

/// What `--help` says below the options.
const MORE_HELP: &str = "\
Filters:
  FIELD = 'x'     also !=, ~ (regular expression) and !~, for these fields:
                    user host schema digest kind table flag text (canonical) sql
  FIELD > 1s      also >= < <= = !=, for these fields:
                    query_time lock_time (us, ms, s, m, h), rows_sent rows_examined
                    rows_affected bytes_sent error thread (k, M, G, KiB, MiB, GiB)
  and, or, not, ( )   'or' binds weakest; a quote in a text is doubled
  Example: user = 'app' and query_time > 500ms and not (schema = 'test' or table ~ '^tmp_')
  A statement of which a log does not say the value (its error, say) fits no comparison.
  Captures are summed by second and digest: ask them for user, schema, digest, kind, table, text;
  a server (--from) for schema, digest, kind, table, text.

Times: 2026-11-21T09:00:00Z, '2026-11-21 09:00' (local), 1h (ago). --until is not included.

Examples:
  millrace digest /var/log/mysql/slow.log
  millrace digest --since 1h --order-by rows --limit 5 /var/log/mysql/
  millrace digest --from db1 --user monitor -p --interval 5s
  millrace digest --pt-id slow.log
  millrace digest -o html slow.log.1.gz slow.log > report.html
  millrace digest -o json --limit all slow.log > base.json; millrace digest --compare base.json new.log";

#[derive(Debug, Args)]
#[command(after_long_help = MORE_HELP)]
pub(super) struct Arguments {
    /// Slow logs and captures, also packed (gzip, zstd, xz); a folder is all files in it, `-` is standard input.
    #[arg(required_unless_present_any = ["read", "from"], conflicts_with = "from", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The same, as capture tools name it.
    #[arg(short, long, value_name = "FILE", conflicts_with = "from")]
    read: Vec<PathBuf>,
    /// Watch a server by its own counters (`performance_schema`) instead: HOST, HOST:PORT, the path of its socket, or
    /// mysql://USER@HOST:PORT.
    #[arg(long, value_name = "SERVER", conflicts_with_all = ["since", "until", "compare", "sql_mode", "charset"])]
    from: Option<String>,
    /// How long each profile of a server is.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = live::interval)]
    interval: std::time::Duration,
    /// How many profiles of a server; without it until you stop it.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    who: Who,
    /// Ask for the account's password.
    #[arg(short = 'p', long)]
    ask_password: bool,
    /// The form of the answer; of a server one line of JSON per interval.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
    /// What the first group has most of.
    #[arg(long, value_enum, default_value = "time")]
    order_by: Order,
    /// What the statements of a group have in common. A statement with several tables counts for each of them.
    #[arg(long, value_enum, default_value = "digest")]
    group_by: By,
    /// How many groups: a number, `all`, or `95%:20`: as many as make up 95 % of what they are ordered by, at most 20.
    #[arg(long, default_value = "95%:20", value_parser = limit)]
    limit: Limit,
    /// Only statements that ended at this time or later.
    #[arg(long, value_name = "TIME|AGO")]
    since: Option<When>,
    /// Only statements that ended before this time.
    #[arg(long, value_name = "TIME|AGO")]
    until: Option<When>,
    /// Only statements that fit; `--help` has the grammar.
    #[arg(long, value_name = "EXPR", value_parser = Filter::parse)]
    filter: Option<Filter>,
    /// What the files are; without it each is asked.
    #[arg(long = "type", value_enum, default_value = "auto", value_name = "TYPE")]
    kind: Type,
    /// Who wrote the logs; without it each is asked.
    #[arg(long, value_enum, value_name = "DIALECT")]
    dialect: Option<Written>,
    #[command(flatten)]
    syntax: syntax::Arguments,
    /// The ports of the servers in captures.
    #[arg(long, value_name = "PORT", default_value = "3306", value_delimiter = ',')]
    port: Vec<u16>,
    /// The logs hold one of so many statements: MariaDB's `log_slow_rate_limit` leaves no mark in them.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    sample_factor: u64,
    /// Add the id that pt-query-digest has for the sample of each digest (its last 16 digits), to find statements in that tool's
    /// reports. Other statements of the digest may have others there. From logs; captures keep no literals to tell it by.
    #[arg(long, conflicts_with = "from")]
    pt_id: bool,
    /// Show the literals of the samples.
    #[arg(long)]
    show_literals: bool,
    /// Say what changed since an earlier profile, made with `-o json --limit all`. Exit code 1: something became slower.
    #[arg(long, value_name = "BASE.json")]
    compare: Option<PathBuf>,
    /// By how many per cent the median must change to be called slower or faster.
    #[arg(long, value_name = "PERCENT", default_value_t = THRESHOLD_PERCENT, value_parser = threshold)]
    threshold: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people, 80 columns.
    Text,
    /// One JSON value; `schemas/src/golden/profile.schema.json` is its schema.
    Json,
    /// One page with plots, which needs nothing else.
    Html,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Order {
    /// Time in all.
    Time,
    /// Calls.
    Count,
    /// The longest call.
    Max,
    /// Rows examined.
    Rows,
    /// Time spent waiting for locks.
    Lock,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    Digest,
    Table,
    User,
    Host,
    Schema,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Type {
    Slowlog,
    Pcap,
    Auto,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(server) = &arguments.from {
        return live::run(arguments, server);
    }
    let named: Vec<PathBuf> = arguments.read.iter().chain(&arguments.files).cloned().collect();
    let places = places(&named)?;
    let group_by = arguments.group_by.into();
    let base =
        arguments.compare.as_ref().map(|file| compare::base(file, group_by).map(|base| (file, base))).transpose()?;
    let syntax = arguments.syntax.syntax();
    let total = places.iter().map(Place::bytes).sum();
    let mut reader = Reader {
        tally: Tally::new(group_by, arguments.order_by.into()).with_pt_ids(arguments.pt_id),
        inputs: Vec::new(),
        kind: arguments.kind,
        dialect: arguments.dialect.map(Dialect::from),
        filter: arguments.filter.as_ref(),
        since: arguments.since.map(|when| when.0),
        until: arguments.until.map(|when| when.0),
        factor: arguments.sample_factor,
        ports: &arguments.port,
        threads: std::thread::available_parallelism().map_or(1, NonZero::get),
        classes: Classes::reading(syntax),
        syntax,
        progress: Progress::new(total),
    };
    for place in &places {
        reader.read(place);
    }
    let Reader { tally, inputs, progress, .. } = reader;
    drop(progress);
    let wish = |limit| Wish {
        inputs: inputs.clone(),
        filter: arguments.filter.as_ref().map(|filter| filter.as_str().to_owned()),
        limit,
        show_literals: arguments.show_literals,
        syntax,
    };
    let mut profile = tally.profile(wish(arguments.limit));
    if !inputs.is_empty() && inputs.iter().all(|input| input.error.is_some() && input.entries == 0) {
        return Err(End::Usage("none of the files can be read".to_owned()).into());
    }
    if let Some((file, base)) = &base {
        profile.comparison = Some(compare::with(base, file, &tally.profile(wish(Limit::All)), arguments.threshold));
    }
    match arguments.output {
        Form::Text => say(&text::report(&profile))?,
        Form::Json => say(&serde_json::to_string(&profile)?)?,
        Form::Html => say(&html::report(&profile))?,
    }
    whole(&profile)?;
    // Regressions are the answer that was asked for; what could not be read comes before, since it may hide some.
    if profile.comparison.is_some_and(|comparison| comparison.regressions > 0) { Err(Negative.into()) } else { Ok(()) }
}

/// Whether everything could be read.
fn whole(profile: &Profile) -> anyhow::Result<()> {
    let parts: u64 = profile.inputs.iter().map(|input| input.unreadable).sum();
    let files = profile.inputs.iter().filter(|input| input.error.is_some()).count();
    if parts == 0 && files == 0 {
        return Ok(());
    }
    Err(End::Partial(format!(
        "what could not be read is named above: {parts} parts, {files} of {} files",
        profile.inputs.len()
    ))
    .into())
}

/// `20`, `all`, `95%`, `95%:20`.
fn limit(text: &str) -> Result<Limit, String> {
    let wrong =
        || format!("'{text}' is no limit: give a number of groups, `all`, or per cent and a number as in 95%:20");
    if text == "all" {
        return Ok(Limit::All);
    }
    let Some((percent, most)) = text.split_once('%') else {
        return text.parse().map(Limit::Groups).map_err(|_| wrong());
    };
    let percent: f64 = percent.parse().map_err(|_| wrong())?;
    let most = match most.strip_prefix(':') {
        Some(most) => most.parse().map_err(|_| wrong())?,
        None if most.is_empty() => usize::MAX,
        None => return Err(wrong()),
    };
    if (0.0..=100.0).contains(&percent) { Ok(Limit::Share(percent, most)) } else { Err(wrong()) }
}

fn threshold(text: &str) -> Result<f64, String> {
    let percent = text.trim_end_matches('%').parse::<f64>().ok().filter(|percent| (0.0..=10_000.0).contains(percent));
    percent.ok_or_else(|| format!("'{text}' is no threshold: give per cent, 0 to 10000"))
}

impl From<Order> for OrderBy {
    fn from(order: Order) -> Self {
        match order {
            Order::Time => OrderBy::Time,
            Order::Count => OrderBy::Count,
            Order::Max => OrderBy::Max,
            Order::Rows => OrderBy::Rows,
            Order::Lock => OrderBy::Lock,
        }
    }
}

impl From<By> for GroupBy {
    fn from(by: By) -> Self {
        match by {
            By::Digest => GroupBy::Digest,
            By::Table => GroupBy::Table,
            By::User => GroupBy::User,
            By::Host => GroupBy::Host,
            By::Schema => GroupBy::Schema,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_come_in_three_forms() {
        assert_eq!(limit("all"), Ok(Limit::All));
        assert_eq!(limit("7"), Ok(Limit::Groups(7)));
        assert_eq!(limit("95%:20"), Ok(Limit::Share(95.0, 20)));
        assert_eq!(limit("99.5%"), Ok(Limit::Share(99.5, usize::MAX)));
        for text in ["", "%", "95%20", "101%:3", "-1", "95%:x"] {
            assert!(limit(text).is_err(), "{text}");
        }
    }
}
