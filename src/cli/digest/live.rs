//! `millrace digest --from SERVER`: which statements take the time on a server now, by its own counters, without an agent. A look at
//! `performance_schema` each interval in, a profile of what happened between two looks out. It changes nothing on the server.

use std::io::{IsTerminal as _, stdout};
use std::time::Duration;

use anyhow::Context as _;
use millrace_collectors::performance_schema::{Deltas, Difference, Differences};
use millrace_mysql::digests::{self, DIGESTS_MAX, read_commands};
use millrace_mysql::{Dialect, Flavour, Session};
use millrace_processors::profile::{Classes, Filter, Observed, Tally, Text, Times, Wish};
use millrace_schemas::digest::Syntax;
use millrace_schemas::profile::{GroupBy, Input, InputKind, OrderBy, Profile};
use millrace_schemas::time::{Timestamp, length};

use super::{Arguments, Form, text};
use crate::cli::End;
use crate::cli::login::Known;
use crate::cli::output::{complain, say};
use crate::roles::speaker::now;

/// 1 s to 1 h: each look reads the table of digests, 10,000 rows at most, which takes a server some 20 to 50 ms.
const INTERVAL: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);
/// 10 s for the answer of a server that is busy.
const LOOK_WITHIN: Duration = Duration::from_secs(10);
/// A terminal is cleared before each profile, as `top` does.
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

/// `10s`, `1m`.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let span = Some(length(text)?).filter(|span| INTERVAL.contains(span));
    span.ok_or_else(|| format!("'{text}' is no interval: give 1s to 1h, as in 10s or 1m"))
}

/// Looks until it has told as many profiles as were asked for.
pub(super) fn run(arguments: &Arguments, server: &str) -> anyhow::Result<()> {
    if arguments.output == Form::Html {
        return Err(End::Usage("a server is watched as text or JSON: -o html needs files".to_owned()).into());
    }
    if let Some(filter) = &arguments.filter {
        filter.check_for_sums().map_err(|error| End::Usage(error.to_string()))?;
    }
    let known = arguments.who.known(server, arguments.ask_password);
    let known = known.map_err(|error| End::Usage(error.to_string()))?;
    crate::cli::async_runtime(watch(arguments, known))
}

async fn watch(arguments: &Arguments, known: Known) -> anyhow::Result<()> {
    let name = known.target.address.to_string();
    let mut target = known.target.clone();
    target.answer_within = LOOK_WITHIN;
    let mut session = Session::open(&target).await.map_err(|error| End::Usage(error.to_string()))?;
    let flavour = ready(&mut session).await?;
    let (mut deltas, mut classes) = (Deltas::new(), Classes::new());
    let (mut before, mut executes) = (look(&mut session, &mut deltas).await?.0, executes(&mut session, flavour).await?);
    let mut told = 0;
    while arguments.count.is_none_or(|count| told < count) {
        tokio::time::sleep(arguments.interval).await;
        let (at, found) = look(&mut session, &mut deltas).await?;
        let Some(found) = found else { continue };
        let input = Input {
            file: name.clone(),
            kind: InputKind::PerformanceSchema,
            entries: found.rows.len() as u64,
            ..Input::default()
        };
        let profile = profile(arguments, &mut classes, &found, (before, at), input);
        before = at;
        tell(arguments.output, &profile)?;
        lacking(&name, &found);
        let executed = self::executes(&mut session, flavour).await?;
        if executed > executes {
            complain(&format!(
                "{name}: {} executions of prepared statements are in no digest: MariaDB counts them apart",
                executed - executes
            ));
        }
        executes = executed;
        told += 1;
    }
    session.close().await;
    Ok(())
}

/// Whether the server counts digests at all; its family.
async fn ready(session: &mut Session) -> anyhow::Result<Flavour> {
    let dialect = Dialect::detect(session).await.context("the server's family cannot be asked")?;
    let flavour = dialect.flavour;
    let on = session.value("SELECT @@performance_schema").await.context("performance_schema cannot be asked for")?;
    if on.as_deref() != Some("1") {
        return Err(End::Usage(
            "performance_schema is off on this server, so it counts no statements: set performance_schema=ON in its \
             configuration and restart it, or read its slow log"
                .to_owned(),
        )
        .into());
    }
    let consumer = "SELECT ENABLED FROM performance_schema.setup_consumers WHERE NAME = 'statements_digest'";
    match session.value(consumer).await {
        Ok(Some(enabled)) if enabled == "NO" => Err(End::Usage(
            "the server's consumer statements_digest is off, so it counts no digests: UPDATE \
             performance_schema.setup_consumers SET ENABLED = 'YES' WHERE NAME = 'statements_digest'"
                .to_owned(),
        )
        .into()),
        Ok(_) => Ok(flavour),
        Err(error) => {
            Err(End::Usage(format!("{error}; it needs GRANT SELECT ON performance_schema.* for this account")).into())
        }
    }
}

async fn look(session: &mut Session, deltas: &mut Deltas) -> anyhow::Result<(Timestamp, Option<Differences>)> {
    let rows = digests::read(session).await.context("the digests cannot be read any more")?;
    Ok((now(), deltas.look(&rows)))
}

/// What MariaDB leaves out of its digests; 0 where nothing is left out.
async fn executes(session: &mut Session, flavour: Flavour) -> anyhow::Result<u64> {
    if flavour != Flavour::MariaDb {
        return Ok(0);
    }
    let commands = read_commands(session).await.context("the commands cannot be counted any more")?;
    Ok(commands.get("statement/com/Execute").copied().unwrap_or(0))
}

/// What the numbers of this interval lack.
fn lacking(name: &str, found: &Differences) {
    if found.reset > 0 {
        complain(&format!(
            "{name}: {} digests count anew: the table was emptied, or the server restarted",
            found.reset
        ));
    }
    if found.beyond > 0 {
        complain(&format!(
            "{name}: {} statements are only in the row for all others: the table of digests is full (performance_schema_digests_size)",
            found.beyond
        ));
    }
    if found.unknown > 0 {
        complain(&format!(
            "{name}: {} digests came into view, and count from now on: more than {DIGESTS_MAX} are there",
            found.unknown
        ));
    }
}

fn profile(
    arguments: &Arguments,
    classes: &mut Classes,
    found: &Differences,
    (from, to): (Timestamp, Timestamp),
    input: Input,
) -> Profile {
    let mut tally = Tally::new(GroupBy::from(arguments.group_by), OrderBy::from(arguments.order_by));
    tally.span(from, to);
    for row in &found.rows {
        take(&mut tally, row, to, classes, arguments.filter.as_ref());
    }
    let filter = arguments.filter.as_ref().map(|filter| filter.as_str().to_owned());
    let syntax = Syntax::default();
    let wish = Wish { inputs: vec![input], filter, limit: arguments.limit, show_literals: false, syntax };
    tally.profile(wish)
}

fn take(tally: &mut Tally, row: &Difference, ended: Timestamp, classes: &mut Classes, filter: Option<&Filter>) {
    let (mean_us, sketch) = (row.mean_us(), row.times());
    let statement = Observed {
        ended,
        digest: row.digest,
        user: "",
        host: "",
        schema: &row.schema,
        thread: None,
        calls: row.count,
        factor: 1,
        times: Times::Many { sketch: &sketch, sum_us: row.time_us, min_us: mean_us, max_us: mean_us },
        lock_us: Some(row.lock_us),
        rows_sent: row.rows_sent,
        rows_examined: Some(row.rows_examined),
        rows_affected: Some(row.rows_affected),
        bytes_sent: None,
        errors: Some(row.errors),
        error_code: 0,
        flags: &[],
        text: Text { sql: row.text.as_bytes(), bytes: row.text.len() as u64, masked: true, input: 0, offset: None },
    };
    let class = &mut || classes.of(row.digest, row.text.as_bytes());
    match filter {
        Some(filter) if !filter.fits(&statement, class) => tally.leave_out(row.count),
        _ => tally.take(&statement, class),
    }
}

fn tell(form: Form, profile: &Profile) -> anyhow::Result<()> {
    match form {
        Form::Json => say(&serde_json::to_string(profile)?),
        Form::Text | Form::Html => {
            let clear = if stdout().is_terminal() { CLEAR } else { "" };
            say(&format!("{clear}{}", text::live(profile)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_a_second_to_an_hour() {
        assert_eq!(interval("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(interval("1m"), Ok(Duration::from_mins(1)));
        for text in ["0s", "500ms", "2h"] {
            assert!(interval(text).unwrap_err().contains("1s to 1h"), "{text}");
        }
        for text in ["", "10", "-1s"] {
            assert!(interval(text).unwrap_err().contains("is no length of time"), "{text}");
        }
    }
}
