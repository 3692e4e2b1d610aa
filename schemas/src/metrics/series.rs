//! Series as text, `name{label="value",...}`: how a sample names its numbers. A text enters and a metric with label values leaves,
//! or back. A name that the catalogue does not have is no error of the text: a newer agent may know more.

use super::Metric;

/// A series: a metric, and a value for each of its labels beside those of the place, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// The metric.
    pub metric: &'static Metric,
    /// Values of [`Metric::own_labels`].
    pub values: Vec<String>,
}

/// Why a text is no series that is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// The catalogue does not have the name.
    #[error("no metric of this version")]
    Name,
    /// Other labels than the catalogue has for it, or not written as labels are.
    #[error("other labels than this version knows")]
    Labels,
}

/// The text of a series. `values` are those of the metric's own labels.
pub fn text(metric: &Metric, values: &[&str]) -> String {
    let names: Vec<&str> = metric.own_labels().collect();
    debug_assert_eq!(names.len(), values.len(), "{} takes {names:?}", metric.name);
    format!("{}{}", metric.name, labels(&names, values))
}

/// Labels as Prometheus writes them; nothing for none.
pub(super) fn labels(names: &[&str], values: &[impl AsRef<str>]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pair = |(name, value): (&&str, _)| format!("{name}=\"{}\"", escape(AsRef::as_ref(value)));
    let pairs: Vec<_> = names.iter().zip(values).map(pair).collect();
    format!("{{{}}}", pairs.join(","))
}

/// Reads a series.
pub fn parse(text: &str) -> Result<Series, Unknown> {
    let (name, rest) = text.find('{').map_or((text, ""), |at| text.split_at(at));
    let metric = super::named(name).ok_or(Unknown::Name)?;
    let mut values = Vec::new();
    let mut rest = rest.strip_prefix('{').unwrap_or(rest);
    for (at, label) in metric.own_labels().enumerate() {
        rest = if at == 0 { rest } else { rest.strip_prefix(',').ok_or(Unknown::Labels)? };
        rest = rest.strip_prefix(label).and_then(|rest| rest.strip_prefix("=\"")).ok_or(Unknown::Labels)?;
        let (value, after) = quoted(rest).ok_or(Unknown::Labels)?;
        values.push(value);
        rest = after;
    }
    let end = if values.is_empty() { "" } else { "}" };
    if rest == end { Ok(Series { metric, values }) } else { Err(Unknown::Labels) }
}

/// The text up to its closing quote, and what follows that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{named, own};
    use super::*;

    #[test]
    fn a_name_or_labels_that_are_not_known_are_told_apart() {
        let check = |text: &str, expected| assert_eq!(parse(text).map(|_| ()), expected, "{text}");
        check("mysql_global_status_threads_running", Ok(()));
        check("mysql_global_status_commands_total{command=\"select\"}", Ok(()));
        check("mysql_global_status_of_the_future", Err(Unknown::Name));
        check("", Err(Unknown::Name));
        for text in
            ["", "{}", "{other=\"a\"}", "{command=\"a}", "{command=\"a\"", "{command=\"a\"}x", "{command=\"a\",b=\"\"}"]
        {
            check(&format!("mysql_global_status_commands_total{text}"), Err(Unknown::Labels));
        }
        check("mysql_up{instance=\"a\"}", Err(Unknown::Labels));
    }

    proptest! {
        #[test]
        fn a_series_survives_its_text(value in "\\PC*|[\"\\\\\n{},=a]*") {
            let metric = named("mysql_global_status_commands_total").expect("it is there");
            let series = Series { metric, values: vec![value] };
            prop_assert_eq!(parse(&text(metric, &[&series.values[0]])), Ok(series));
            prop_assert!(parse(&text(&own::INSTANCE_UP, &[])).is_ok());
        }

        #[test]
        fn no_text_ends_the_process(text in "(mysql_global_status_commands_total)?\\PC*") {
            let _ = parse(&text);
        }
    }
}
