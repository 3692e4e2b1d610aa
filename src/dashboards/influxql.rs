//! A query enters, InfluxQL leaves, or why the language cannot say it. A measurement and a field stand for the metric's name; a
//! series is read by itself first, and several become one in a query around that.

use super::query::{Across, How, Only, Query, Selection, Value};

/// Why a panel is not in this edition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unsayable {
    /// Only processes expose it, for who scrapes them.
    Scraped,
    /// A computation over two measurements, or over series that are narrowed in two ways.
    TwoMeasurements,
    /// The highest few of many series at each step.
    TopOfSeries,
}

impl Unsayable {
    /// One sentence for people.
    pub fn why(self) -> &'static str {
        match self {
            Self::Scraped => "its numbers are exposed at /metrics only, and nothing scrapes for a store of this kind",
            Self::TwoMeasurements => "InfluxQL computes nothing over two measurements or two choices of series",
            Self::TopOfSeries => "InfluxQL does not choose the highest few of many series at each moment",
        }
    }
}

/// How the answer is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Values over time.
    Series,
    /// One row per combination of the labels.
    Rows,
}

/// Numbers that the sink writes into stores: those of servers and hosts, of windows, digests and heartbeats. The others are
/// exposed by processes.
const STORED: [&str; 7] = [
    "mysql_up",
    "millrace_instance_open",
    "millrace_replica_lag_seconds",
    "millrace_canary_write_seconds",
    "millrace_host_load1",
    "mysql_global_status_threads_",
    "millrace_series_",
];

/// Whether the sink writes it into stores.
pub(super) fn is_stored(selection: &Selection) -> bool {
    let metric = selection.metric;
    let by_source = ["windows", "queries", "slow logs", "digests", "journal", "alerts", "/proc"]
        .contains(&metric.source)
        || metric.source.starts_with("SHOW ");
    by_source || STORED.iter().any(|name| metric.name.starts_with(name))
}

/// The statement, narrowed by the board's `variables`.
pub(super) fn statement(query: &Query, variables: &[&str], shape: Shape) -> Result<String, Unsayable> {
    if query.selections().iter().any(|one| !is_stored(one)) {
        return Err(Unsayable::Scraped);
    }
    let alias = if shape == Shape::Rows && query.top.is_none() {
        query.name.replace(['{', '}'], "")
    } else {
        "value".to_owned()
    };
    let one = Statement { variables, keep: &query.keep, shape };
    match (query.top, shape) {
        (Some(_), Shape::Series) => Err(Unsayable::TopOfSeries),
        (Some(top), Shape::Rows) => {
            let by: Vec<String> = query.keep.iter().map(|label| quoted(label)).collect();
            let inner = one.newest(&query.value)?;
            Ok(format!("SELECT top(\"v\", {}, {top}) AS \"{alias}\" FROM ({inner}) WHERE $timeFilter", by.join(", ")))
        }
        (None, Shape::Series) => one.series(&query.value, &alias),
        (None, Shape::Rows) => one.rows(&query.value, &alias),
    }
}

/// What is the same for all parts of a statement.
struct Statement<'a> {
    variables: &'a [&'a str],
    keep: &'a [&'static str],
    shape: Shape,
}

fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

/// A label in a condition: where a field has its name the language has to be told.
fn tag(selection: &Selection, label: &str) -> String {
    if selection.metric.field == label || label == "role" || label == "source" {
        format!("\"{label}\"::tag")
    } else {
        quoted(label)
    }
}

impl Statement<'_> {
    fn condition(&self, selection: &Selection) -> String {
        let of_board = selection.narrowing(self.variables).into_iter();
        let of_board = of_board.map(|name| format!("{} =~ /^${name}$/", quoted(name)));
        let own = selection.only.iter().map(|(label, only)| {
            let label = tag(selection, label);
            match only {
                Only::Is(value) => format!("{label} = '{value}'"),
                Only::Like(values) => format!("{label} =~ /^({values})$/"),
                Only::Unlike(values) => format!("{label} !~ /^({values})$/"),
            }
        });
        std::iter::once("$timeFilter".to_owned()).chain(of_board).chain(own).collect::<Vec<_>>().join(" AND ")
    }

    fn group(labels: &[&str], each: Option<&str>) -> String {
        let labels = labels.iter().map(|label| quoted(label));
        let all: Vec<String> = each.map(str::to_owned).into_iter().chain(labels).collect();
        match all.as_slice() {
            [] => String::new(),
            all => format!(" GROUP BY {}", all.join(", ")),
        }
    }

    /// Whether each combination of the kept labels has one series: nothing has to be added up.
    fn is_alone(&self, selection: &Selection) -> bool {
        let narrowed =
            |label: &str| selection.only.iter().any(|(one, only)| *one == label && matches!(only, Only::Is(_)));
        let kept = |label: &str| self.keep.contains(&label);
        let placed = self.keep.contains(&"instance");
        let goes = |label: &str| {
            narrowed(label) || (placed && ["cluster", "host", "channel_name", "connection_name"].contains(&label))
        };
        selection.metric.labels.iter().all(|label| kept(label) || goes(label))
    }

    /// A number as a function of a field, at each step.
    fn at_step(selection: &Selection) -> String {
        let field = format!("{}::field", quoted(selection.metric.field));
        match selection.how {
            How::Now | How::Last => format!("last({field})"),
            How::Rate => format!("non_negative_derivative(last({field}), 1s)"),
            How::PerSecond => format!("sum({field}) * 1000 / $__interval_ms"),
            How::Whole => format!("sum({field})"),
            How::WholePerSecond => format!("sum({field}) * 1000 / ($__to - $__from)"),
            How::Highest | How::Peak => format!("max({field})"),
        }
    }

    fn computed(&self, value: &Value) -> Result<String, Unsayable> {
        let all = value.selections();
        let same = |one: &&&Selection| {
            one.metric.measurement == all[0].metric.measurement && one.only == all[0].only && one.equals.is_none()
        };
        // A sum of sums is the sum of all, whatever is added up.
        let adds_up = |one: &Selection| {
            one.across == Across::Sum && matches!(one.how, How::PerSecond | How::Whole | How::WholePerSecond)
        };
        if all.len() > 1 && !all.iter().all(|one| same(&one) && (adds_up(one) || self.is_alone(one))) {
            return Err(Unsayable::TwoMeasurements);
        }
        let part = |value: &Value| self.computed(value).map(|text| format!("({text})"));
        Ok(match value {
            Value::Of(one) => Self::at_step(one),
            Value::Ratio(a, b) => format!("{} / {}", part(a)?, part(b)?),
            Value::Less(a, b) => format!("{} - {}", part(a)?, part(b)?),
            Value::Rest(a) => format!("1 - {}", part(a)?),
        })
    }

    /// Each series over time, where none has to be added up.
    fn plain(&self, value: &Value, alias: &str) -> Result<String, Unsayable> {
        let first = value.selections()[0];
        let (text, condition) = (self.computed(value)?, self.condition(first));
        let group = Self::group(self.keep, Some("time($__interval)"));
        let measurement = first.metric.measurement;
        Ok(format!("SELECT {text} AS \"{alias}\" FROM \"{measurement}\" WHERE {condition}{group} fill(none)"))
    }

    fn series(&self, value: &Value, alias: &str) -> Result<String, Unsayable> {
        let first = value.selections()[0];
        let adds = first.across != Across::Max && first.across != Across::Min;
        if matches!(value, Value::Of(_)) && (!self.is_alone(first) || first.across == Across::Count) {
            let adds_windows = matches!(first.how, How::PerSecond | How::Highest);
            if adds_windows && (adds || first.how == How::Highest) {
                return self.plain(value, alias); // the sum of sums, the highest of the highest
            }
            let inner = Statement { variables: self.variables, keep: first.metric.labels, shape: self.shape };
            let inner = inner.plain(value, "v")?;
            let group = Self::group(self.keep, Some("time($__interval)"));
            let across = first.across.name();
            return Ok(format!(
                "SELECT {across}(\"v\") AS \"{alias}\" FROM ({inner}) WHERE $timeFilter{group} fill(none)"
            ));
        }
        self.plain(value, alias)
    }

    /// One value per combination of the labels.
    fn rows(&self, value: &Value, alias: &str) -> Result<String, Unsayable> {
        let first = value.selections()[0];
        let inner = match first.how {
            How::Rate | How::PerSecond | How::Highest => {
                let inner = self.series(value, "v")?;
                let group = Self::group(self.keep, None);
                return Ok(format!("SELECT last(\"v\") AS \"{alias}\" FROM ({inner}) WHERE $timeFilter{group}"));
            }
            _ => self.computed(value)?,
        };
        let alias_of = |alias: &str| {
            let (condition, group) = (self.condition(first), Self::group(self.keep, None));
            format!("SELECT {inner} AS \"{alias}\" FROM \"{}\" WHERE {condition}{group}", first.metric.measurement)
        };
        Ok(match first.equals {
            Some(wanted) => {
                let (inner, group) = (alias_of("v"), Self::group(self.keep, None));
                format!(
                    "SELECT last(\"v\") AS \"{alias}\" FROM ({inner}) WHERE $timeFilter AND \"v\" = {wanted}{group}"
                )
            }
            None => alias_of(alias),
        })
    }

    /// The newest value per combination of the labels, as `v`.
    fn newest(&self, value: &Value) -> Result<String, Unsayable> {
        self.rows(value, "v")
    }
}

#[cfg(test)]
mod tests {
    use super::super::query::{now, rate, status, variable};
    use super::*;

    #[test]
    fn queries_become_influxql_or_say_why_not() {
        let check = |query: Query, shape, expected: Result<&str, Unsayable>| {
            assert_eq!(statement(&query, &["instance"], shape), expected.map(str::to_owned));
        };
        check(
            rate(&status("questions")),
            Shape::Series,
            Ok(
                "SELECT non_negative_derivative(last(\"questions\"::field), 1s) AS \"value\" FROM \"mysql_global_status\" \
                WHERE $timeFilter AND \"instance\" =~ /^$instance$/ GROUP BY time($__interval), \"instance\" fill(none)",
            ),
        );
        check(
            now("millrace_instance_role").only("role", Only::Is("primary")).across(Across::Sum).by(&[]),
            Shape::Series,
            Ok(
                "SELECT sum(\"v\") AS \"value\" FROM (SELECT last(\"instance_role\"::field) AS \"v\" FROM \"millrace\" \
                WHERE $timeFilter AND \"instance\" =~ /^$instance$/ AND \"role\"::tag = 'primary' GROUP BY \
                time($__interval), \"cluster\", \"instance\", \"host\", \"role\" fill(none)) WHERE $timeFilter GROUP BY \
                time($__interval) fill(none)",
            ),
        );
        let connections = || now(&status("threads_connected"));
        let share = connections().per(now(&variable("max_connections")));
        check(share, Shape::Series, Err(Unsayable::TwoMeasurements));
        check(connections().top(3), Shape::Series, Err(Unsayable::TopOfSeries));
        check(rate("millrace_bus_commits_total").by(&[]), Shape::Series, Err(Unsayable::Scraped));
    }
}
