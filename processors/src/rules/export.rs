//! Rules as PromQL: a file of rules for Prometheus and what understands its files (vmalert). What PromQL cannot say as it is meant
//! here is a comment with the reason, and no rule that means something else.

use std::fmt::Write as _;
use std::time::Duration;

use millrace_schemas::metrics::Metric;
use millrace_schemas::topics::alerts::Severity;

use super::facts::{NEWEST, SOURCE, field_of};
use super::rule::{Judge, Role, Rule, Side, Unit};
use super::set::Rules;
use super::summary::{duration, number};

const HEAD: &str = "\
# Rules of Millrace for Prometheus, as far as PromQL can say them. Not the same: a rule is over here at its limit, where Millrace waits
# for `clear`; what is missing is over here, where Millrace goes on. Numbers of servers and hosts are those of a store that Millrace
# fills; those of clusters, backups among them, are told at /metrics of the role process.
";

/// The file.
pub fn prometheus(rules: &Rules) -> String {
    let mut file = format!("{HEAD}groups:\n- name: millrace\n  rules:\n");
    let mut left_out = String::new();
    for rule in &rules.all {
        match expression(rule) {
            Ok(expression) => write(&mut file, rule, &expression),
            Err(why) => {
                let _ = writeln!(left_out, "# {}: {why}", rule.name);
            }
        }
        if !rule.overrides.is_empty() {
            let _ = writeln!(left_out, "# {}: limits of single clusters and instances are not in this file", rule.name);
        }
    }
    for name in &rules.off {
        let _ = writeln!(left_out, "# {name}: it is switched off");
    }
    if !left_out.is_empty() {
        let _ = write!(file, "\n# Left out:\n{left_out}");
    }
    file
}

/// What is judged, and how it is compared with a limit: `{limit}` stands for it.
struct Expression {
    text: String,
    limits: Vec<(f64, Severity)>,
}

fn write(file: &mut String, rule: &Rule, expression: &Expression) {
    for (limit, severity) in &expression.limits {
        let text = expression.text.replace("{limit}", &limit.to_string());
        let severity = format!("{severity:?}").to_lowercase();
        let _ = writeln!(file, "  - alert: {}\n    expr: {}", rule.name, quoted(&text));
        if !rule.limit.lasts.is_zero() && rule.judge != Judge::Always {
            let _ = writeln!(file, "    for: {}s", rule.limit.lasts.as_secs());
        }
        let notifies = if rule.notifies { "" } else { "\n      notifies: \"false\"" };
        let summary = rule.summary.with(|field| filled(rule, field));
        let _ = writeln!(
            file,
            "    labels:\n      severity: {severity}{notifies}\n    annotations:\n      summary: {}\n      runbook: {}",
            quoted(&summary),
            quoted(&rule.runbook)
        );
    }
}

/// JSON texts are texts of YAML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A field of the sentence, as Prometheus' templates have it.
fn filled(rule: &Rule, field: &str) -> String {
    match field {
        NEWEST => "the newest is older than its policy allows, or none was ever seen".to_owned(),
        SOURCE if rule.metric.and_then(field_of) == Some(SOURCE) => "its source".to_owned(),
        "limit" => number(rule.limit.at, rule.unit()),
        "for" => duration(rule.limit.lasts),
        // There the number is what is left in the end, not the time until then.
        "value" if matches!(rule.judge, Judge::Forecast { .. }) => {
            format!("less than {}", number(rule.limit.at, rule.unit()))
        }
        "value" => match rule.unit() {
            Unit::Share => "{{ $value | humanizePercentage }}".to_owned(),
            Unit::Seconds => "{{ $value | humanizeDuration }}".to_owned(),
            Unit::Bytes => "{{ $value | humanize1024 }}B".to_owned(),
            Unit::Of(what) => format!("{{{{ $value | humanize }}}} {what}"),
            Unit::PerSecond(what) => format!("{{{{ $value | humanize }}}} {what} a second"),
            _ => "{{ $value | humanize }}".to_owned(),
        },
        "cluster" | "instance" if rule.judge == Judge::Always => "every cluster".to_owned(),
        "instance" if rule.about() == "cluster" => "{{ $labels.cluster }}".to_owned(),
        label => format!("{{{{ $labels.{label} }}}}"),
    }
}

fn expression(rule: &Rule) -> Result<Expression, &'static str> {
    let side = if rule.limit.side == Side::Above { ">" } else { "<" };
    let critical = rule.limit.critical.map(|critical| (critical, Severity::Critical));
    let mut limits: Vec<(f64, Severity)> = [(rule.limit.at, rule.severity)].into_iter().chain(critical).collect();
    let Some(metric) = rule.metric else {
        return match rule.judge {
            Judge::Always => Ok(Expression { text: "vector(1)".to_owned(), limits }),
            _ => Err("PromQL does not know of an instance that says nothing any more"),
        };
    };
    let own = selected(metric, rule);
    let per = rule.per.map(|per| (per, per.name.to_owned()));
    let text = match rule.judge {
        Judge::Threshold => divided(metric, own.clone(), per, |one| one),
        Judge::Rate { span } => divided(metric, own.clone(), per, |one| format!("rate({one}[{}])", seconds(span))),
        Judge::Change { span } => format!("changes({own}[{}])", seconds(span)),
        Judge::Forecast { span, reaches, only_below } => {
            let whole = divided(metric, own.clone(), per, |one| one);
            for (hours, _) in &mut limits {
                *hours = (*hours * 3_600.0).round();
            }
            if reaches != 0.0 {
                return Err("a line that may arrive from either side is not said in one expression");
            }
            let near = only_below.map_or_else(String::new, |below| format!(" and {whole} < {below}"));
            return Ok(Expression {
                text: format!("predict_linear({own}[{}], {{limit}}) <= 0{near}", seconds(span)),
                limits,
            });
        }
        Judge::Peers => return Err("PromQL would compare an instance with itself too"),
        Judge::History { .. } => return Err("PromQL compares moments, not hours that are known well enough"),
        Judge::Absence => return Err("PromQL forgets a series that is not told any more"),
        Judge::Always => return Err("it judges nothing"),
    };
    let mut text = format!("{text} {side} {{limit}}");
    if let Some(minimum) = rule.minimum {
        let value = match rule.judge {
            Judge::Rate { span } => format!("increase({own}[{}])", seconds(span)),
            _ => own,
        };
        let _ = write!(text, " and {value} >= {minimum}");
    }
    if let Some(role) = rule.role {
        let role = if role == Role::Primary { "primary" } else { "replica" };
        let _ = write!(text, " and on (cluster, instance) millrace_instance_role{{role=\"{role}\"}} == 1");
    }
    Ok(Expression { text, limits })
}

fn selected(metric: &Metric, rule: &Rule) -> String {
    let only: Vec<String> = rule.only.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
    if only.is_empty() { metric.name.to_owned() } else { format!("{}{{{}}}", metric.name, only.join(", ")) }
}

/// One by the other, over the labels that both have.
fn divided(
    metric: &Metric,
    own: String,
    per: Option<(&'static Metric, String)>,
    read: impl Fn(String) -> String,
) -> String {
    let Some((per, name)) = per else { return read(own) };
    let shared: Vec<&str> = metric.labels.iter().copied().filter(|label| per.labels.contains(label)).collect();
    let many = if shared.len() < metric.labels.len() { " group_left ()" } else { "" };
    format!("{} / on ({}){many} {}", read(own), shared.join(", "), read(name))
}

fn seconds(span: Duration) -> String {
    format!("{}s", span.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_become_promql() {
        let file = prometheus(&Rules::shipped());
        for expected in [
            "  - alert: LagHigh\n    expr: \"millrace_replica_lag_seconds > 300\"\n    for: 60s\n    labels:\n      severity: critical\n",
            "expr: \"mysql_global_status_threads_connected / on (cluster, instance, host) mysql_global_variables_max_connections > 0.8\"",
            "summary: \"{{ $value | humanizePercentage }} of the connections of {{ $labels.instance }} are in use\"",
            "expr: \"mysql_global_status_threads_running / on (host) group_left () millrace_host_cores > 4 and mysql_global_status_threads_running >= 32\"",
            "expr: \"predict_linear(millrace_host_datadir_free_bytes[21600s], 86400) <= 0 and millrace_host_datadir_free_bytes / on (cluster, instance, host) millrace_host_datadir_bytes < 0.25\"",
            "  - alert: Watchdog\n    expr: \"vector(1)\"\n    labels:\n",
            "# Left out:\n# AgentSilent: PromQL does not know",
        ] {
            assert!(file.contains(expected), "{expected}\nis not in\n{file}");
        }
    }

    #[test]
    fn every_rule_is_there_or_says_why_not() {
        let text = "[[rule]]\nname = \"Peers\"\njudge = \"peers\"\nmetric = \"mysql_global_status_threads_running\"\nabove = 2\n\
                    summary = \"x\"\n[[rule]]\nname = \"LagHigh\"\noff = true\n[[rule]]\nname = \"Flaps\"\njudge = \"change\"\n\
                    metric = \"mysql_up\"\nspan = \"5m\"\nabove = 3\nrole = \"replica\"\nsummary = \"{value}\"\n\
                    [[rule.override]]\ncluster = \"c1\"\noff = true\n";
        let rules = Rules::read(text).expect("right");
        let file = prometheus(&rules);
        for rule in &rules.all {
            let said =
                file.contains(&format!("- alert: {}\n", rule.name)) || file.contains(&format!("# {}: ", rule.name));
            assert!(said, "{} is not in\n{file}", rule.name);
        }
        assert!(
            file.contains("changes(mysql_up[300s]) > 3 and on (cluster, instance) millrace_instance_role{role="),
            "{file}"
        );
        assert!(
            file.contains("# Flaps: limits of single clusters") && file.contains("# LagHigh: it is switched off"),
            "{file}"
        );
    }
}
