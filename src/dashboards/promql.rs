//! A query enters, PromQL leaves. Every counter is under a rate over `$__rate_interval`, which Grafana makes four samples long or
//! more; every number is narrowed by those variables of the board that its metric has as labels.
//!
//! Points that the sink writes end without a word, unlike those of a scrape: Prometheus would show the last one for 5 minutes more, and
//! a replica as a follower of its old source and of its new one.

use super::influxql::is_stored;
use super::query::{How, Only, Query, Selection, Value};

/// A minute: six samples, and a store that is a little behind still shows something.
const FRESH: &str = "1m";
/// Windows end at tens of seconds, as steps do, and Prometheus before 3 takes what lies on both ends of a range: it would add four
/// windows up in 30 s. A millisecond later each range has three, in every version.
const OPEN: &str = "offset -1ms";

/// Its series may end, and nothing but their silence says so. Settings do not end, and come once a minute.
fn ends_silently(selection: &Selection) -> bool {
    is_stored(selection) && selection.metric.source != "SHOW GLOBAL VARIABLES"
}

/// The query, narrowed by the board's `variables`.
pub(super) fn expression(query: &Query, variables: &[&str]) -> String {
    let text = value(&query.value, &query.keep, variables);
    match query.top {
        Some(top) => format!("topk({top}, {text})"),
        None => text,
    }
}

/// What stands between the braces of a metric.
fn matchers(selection: &Selection, variables: &[&str]) -> String {
    let labels = selection.metric.labels;
    let of_board = selection.narrowing(variables).into_iter().map(|name| format!("{name}=~\"${name}\""));
    let own = selection.only.iter().map(|(label, only)| {
        assert!(labels.contains(label), "{} has no label {label}", selection.metric.name);
        match only {
            Only::Is(value) => format!("{label}=\"{value}\""),
            Only::Like(values) => format!("{label}=~\"{values}\""),
            Only::Unlike(values) => format!("{label}!~\"{values}\""),
        }
    });
    of_board.chain(own).collect::<Vec<_>>().join(", ")
}

fn selected(selection: &Selection, keep: &[&str], variables: &[&str]) -> String {
    let labels = selection.metric.labels;
    let foreign = keep.iter().find(|label| !labels.contains(label));
    assert_eq!(foreign, None, "{} has not every label that is kept", selection.metric.name);
    let series = match matchers(selection, variables) {
        none if none.is_empty() => selection.metric.name.to_owned(),
        some => format!("{}{{{some}}}", selection.metric.name),
    };
    let read = match selection.how {
        How::Now if ends_silently(selection) => format!("last_over_time({series}[{FRESH}])"),
        How::Now => series,
        How::Rate => format!("rate({series}[$__rate_interval])"),
        How::PerSecond => format!("sum_over_time({series}[$__interval] {OPEN})"),
        How::Highest => format!("max_over_time({series}[$__interval])"),
        How::Whole | How::WholePerSecond => format!("sum_over_time({series}[$__range])"),
        How::Peak => format!("max_over_time({series}[$__range])"),
        How::Last => format!("last_over_time({series}[$__range])"),
    };
    let read = if selection.repeated { format!("max by ({}) ({read})", labels.join(", ")) } else { read };
    let across = selection.across.name();
    let one = match keep {
        [] => format!("{across}({read})"),
        _ => format!("{across} by ({}) ({read})", keep.join(", ")),
    };
    let one = match selection.how {
        How::PerSecond => format!("{one} * 1000 / $__interval_ms"),
        How::WholePerSecond => format!("{one} / $__range_s"),
        _ => one,
    };
    match selection.equals {
        Some(value) => format!("{one} == {value}"),
        None => one,
    }
}

fn value(number: &Value, keep: &[&str], variables: &[&str]) -> String {
    let part = |number: &Value| match number {
        Value::Of(one) if !matches!(one.how, How::PerSecond | How::WholePerSecond) => value(number, keep, variables),
        _ => format!("({})", value(number, keep, variables)),
    };
    match number {
        Value::Of(one) => selected(one, keep, variables),
        Value::Ratio(a, b) => format!("{} / {}", part(a), part(b)),
        Value::Less(a, b) => format!("{} - {}", part(a), part(b)),
        Value::Rest(a) => format!("1 - {}", part(a)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::query::{Across, now, per_second, rate, status, variable};
    use super::*;

    #[test]
    fn queries_become_promql() {
        let check = |query: Query, expected: &str| assert_eq!(expression(&query, &["cluster", "instance"]), expected);
        check(
            rate(&status("questions")),
            "sum by (instance) (rate(mysql_global_status_questions{cluster=~\"$cluster\", \
             instance=~\"$instance\"}[$__rate_interval]))",
        );
        check(now("millrace_host_load1").by(&["host"]), "max by (host) (last_over_time(millrace_host_load1[1m]))");
        check(now("millrace_stage_lag_seconds").by(&[]), "max(millrace_stage_lag_seconds)");
        check(
            now(&variable("max_connections")).by(&[]),
            "max(mysql_global_variables_max_connections{cluster=~\"$cluster\", instance=~\"$instance\"})",
        );
        check(
            per_second("millrace_load_errors").per(per_second("millrace_load_queries")).by(&[]),
            "(sum(sum_over_time(millrace_load_errors{cluster=~\"$cluster\", instance=~\"$instance\"}[$__interval] offset -1ms)) \
             * 1000 / $__interval_ms) / (sum(sum_over_time(millrace_load_queries{cluster=~\"$cluster\", \
             instance=~\"$instance\"}[$__interval] offset -1ms)) * 1000 / $__interval_ms)",
        );
        check(
            rate("millrace_host_cpu_seconds_total")
                .only("mode", Only::Unlike("idle|iowait"))
                .by(&["host", "mode"])
                .top(3),
            "topk(3, sum by (host, mode) (rate(millrace_host_cpu_seconds_total{mode!~\"idle|iowait\"}[$__rate_interval])))",
        );
        check(
            now("millrace_alerts_firing").repeated().across(Across::Sum).by(&["cluster"]),
            "sum by (cluster) (max by (cluster, severity, quiet) (millrace_alerts_firing{cluster=~\"$cluster\"}))",
        );
        check(
            now("millrace_host_swap_free_bytes").per(now("millrace_host_swap_bytes")).rest(),
            "1 - (max by (host) (last_over_time(millrace_host_swap_free_bytes[1m])) \
             / max by (host) (last_over_time(millrace_host_swap_bytes[1m])))",
        );
    }

    #[test]
    #[should_panic(expected = "not in the catalogue")]
    fn a_metric_that_is_not_in_the_catalogue_is_refused() {
        let _ = now("mysql_global_status_threads_runing");
    }

    #[test]
    #[should_panic(expected = "a counter is shown by its rate")]
    fn a_counter_without_a_rate_is_refused() {
        let _ = now(&status("questions"));
    }
}
