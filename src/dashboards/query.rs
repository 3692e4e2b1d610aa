//! What a panel asks: numbers of the metric catalogue, how each is read, by which labels, as data. `promql` and `influxql` render it.
//! A name that the catalogue has not, a counter that is not under a rate, or a label that a metric has not is an error of the
//! definition and panics here: no file can be made of it.

use millrace_schemas::metrics::{Metric, Type, named};

/// How a number is read from its series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The newest value of a gauge.
    Now,
    /// What a counter rises by in a second.
    Rate,
    /// What windows of 10 s counted, per second.
    PerSecond,
    /// The highest value of a step.
    Highest,
    /// What windows counted in the time that is shown.
    Whole,
    /// The same, per second.
    WholePerSecond,
    /// The highest value in the time that is shown.
    Peak,
    /// The newest value in the time that is shown.
    Last,
}

/// How series are made one where labels are not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Across {
    /// Added up.
    Sum,
    /// The highest.
    Max,
    /// The lowest.
    Min,
    /// How many there are.
    Count,
}

impl Across {
    /// As both languages name it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Max => "max",
            Self::Min => "min",
            Self::Count => "count",
        }
    }
}

/// Which values of a label are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Only {
    /// This one.
    Is(&'static str),
    /// Those that match wholly.
    Like(&'static str),
    /// Those that do not match wholly.
    Unlike(&'static str),
}

/// Numbers of one metric.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The metric.
    pub metric: &'static Metric,
    /// How it is read.
    pub how: How,
    /// How series become one.
    pub across: Across,
    /// Labels with the values that are meant, beside the board's variables.
    pub only: Vec<(&'static str, Only)>,
    /// Only series whose value is this.
    pub equals: Option<u32>,
    /// A variable of the board that does not narrow it.
    pub without: Option<&'static str>,
    /// Every process of a fleet that does this work says all of it: what they say of one thing is one number.
    pub repeated: bool,
}

/// A number.
#[derive(Clone, Debug)]
pub enum Value {
    /// A selection.
    Of(Selection),
    /// The first for each of the second.
    Ratio(Box<Value>, Box<Value>),
    /// The first without the second.
    Less(Box<Value>, Box<Value>),
    /// What is missing to the whole: one without it.
    Rest(Box<Value>),
}

/// A query: a number for each combination of the labels that are kept.
#[derive(Clone, Debug)]
pub struct Query {
    /// The number.
    pub value: Value,
    /// Labels that are kept.
    pub keep: Vec<&'static str>,
    /// Only the so many highest.
    pub top: Option<u32>,
    /// What it is called: `{label}` stands for a label's value. In a table: the column.
    pub name: String,
    /// The unit of a column that has another than its panel.
    pub unit: Option<super::Unit>,
    /// The value itself is not shown, only the labels that it keeps.
    pub labels_only: bool,
    /// In a table: not one value, but its way through the time that is shown, as a small line.
    pub trend: bool,
}

fn of(name: &str, how: How, across: Across) -> Query {
    let metric = named(name).unwrap_or_else(|| panic!("{name} is not in the catalogue of metrics"));
    let counter = metric.kind == Type::Counter;
    assert_eq!(counter, how == How::Rate, "{name}: a counter is shown by its rate, and nothing else has one");
    let selection = Selection { metric, how, across, only: Vec::new(), equals: None, without: None, repeated: false };
    let place: &[&str] = &["instance", "host"];
    let keep = place.iter().copied().find(|label| metric.labels.contains(label)).into_iter().collect();
    Query {
        value: Value::Of(selection),
        keep,
        top: None,
        name: String::new(),
        unit: None,
        labels_only: false,
        trend: false,
    }
}

/// The newest value of a gauge.
pub fn now(name: &str) -> Query {
    of(name, How::Now, Across::Max)
}

/// The rate of a counter.
pub fn rate(name: &str) -> Query {
    of(name, How::Rate, Across::Sum)
}

/// What windows counted, per second.
pub fn per_second(name: &str) -> Query {
    of(name, How::PerSecond, Across::Sum)
}

/// The highest value of a step.
pub fn highest(name: &str) -> Query {
    of(name, How::Highest, Across::Max)
}

/// What windows counted in the time that is shown.
pub fn whole(name: &str) -> Query {
    of(name, How::Whole, Across::Sum)
}

/// The same, per second.
pub fn whole_per_second(name: &str) -> Query {
    of(name, How::WholePerSecond, Across::Sum)
}

/// The highest value in the time that is shown.
pub fn peak(name: &str) -> Query {
    of(name, How::Peak, Across::Max)
}

/// The newest value in the time that is shown.
pub fn last(name: &str) -> Query {
    of(name, How::Last, Across::Max)
}

/// The name of a number of `SHOW GLOBAL STATUS`.
pub fn status(name: &str) -> String {
    format!("mysql_global_status_{name}")
}

/// The name of a number of `SHOW GLOBAL VARIABLES`.
pub fn variable(name: &str) -> String {
    format!("mysql_global_variables_{name}")
}

impl Query {
    /// Calls it `name`.
    #[must_use]
    pub fn called(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Keeps these labels and no others.
    #[must_use]
    pub fn by(mut self, keep: &[&'static str]) -> Self {
        keep.clone_into(&mut self.keep);
        self
    }

    /// Only some values of a label.
    #[must_use]
    pub fn only(mut self, label: &'static str, only: Only) -> Self {
        self.selection().only.push((label, only));
        self
    }

    /// Whatever is chosen as `variable` on the board.
    #[must_use]
    pub fn without(mut self, variable: &'static str) -> Self {
        self.selection().without = Some(variable);
        self
    }

    /// Several processes say the same, each the whole of it: it counts once.
    #[must_use]
    pub fn repeated(mut self) -> Self {
        self.selection().repeated = true;
        self
    }

    /// Makes series one by another way than usual.
    #[must_use]
    pub fn across(mut self, across: Across) -> Self {
        self.selection().across = across;
        self
    }

    /// Only series whose value is `value`.
    #[must_use]
    pub fn equal_to(mut self, value: u32) -> Self {
        self.selection().equals = Some(value);
        self
    }

    /// Only the `top` highest.
    #[must_use]
    pub fn top(mut self, top: u32) -> Self {
        self.top = Some(top);
        self
    }

    /// A column with a unit of its own.
    #[must_use]
    pub fn unit(mut self, unit: super::Unit) -> Self {
        self.unit = Some(unit);
        self
    }

    /// Shows the labels alone.
    #[must_use]
    pub fn labels_only(mut self) -> Self {
        self.labels_only = true;
        self
    }

    /// Shows the way of the value through the time that is shown.
    #[must_use]
    pub fn trend(mut self) -> Self {
        self.trend = true;
        self
    }

    /// For each of `other`.
    #[must_use]
    pub fn per(self, other: Self) -> Self {
        let value = Value::Ratio(Box::new(self.value), Box::new(other.value));
        Self { value, ..self }
    }

    /// Without `other`.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        let value = Value::Less(Box::new(self.value), Box::new(other.value));
        Self { value, ..self }
    }

    /// What is missing to the whole.
    #[must_use]
    pub fn rest(self) -> Self {
        Self { value: Value::Rest(Box::new(self.value)), ..self }
    }

    fn selection(&mut self) -> &mut Selection {
        match &mut self.value {
            Value::Of(selection) => selection,
            _ => panic!("what is computed from several numbers is narrowed before that"),
        }
    }

    /// All selections in it.
    pub fn selections(&self) -> Vec<&Selection> {
        self.value.selections()
    }

    /// The name with each `{label}` written as `write` says.
    pub(super) fn legend(&self, write: impl Fn(&str) -> String) -> String {
        let name = if self.name.is_empty() {
            self.keep.iter().map(|label| format!("{{{label}}}")).collect::<Vec<_>>().join(" ")
        } else {
            self.name.clone()
        };
        let mut parts = name.split('{');
        let mut legend = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (label, rest) = part.split_once('}').unwrap_or((part, ""));
            legend.push_str(&write(label));
            legend.push_str(rest);
        }
        legend
    }
}

impl Selection {
    /// Those of the board's variables that narrow it.
    pub(super) fn narrowing<'a>(&self, variables: &[&'a str]) -> Vec<&'a str> {
        let narrows = |name: &&&str| self.metric.labels.contains(*name) && self.without != Some(**name);
        variables.iter().filter(narrows).copied().collect()
    }
}

impl Value {
    pub(super) fn selections(&self) -> Vec<&Selection> {
        match self {
            Self::Of(selection) => vec![selection],
            Self::Ratio(a, b) | Self::Less(a, b) => [a.selections(), b.selections()].concat(),
            Self::Rest(a) => a.selections(),
        }
    }
}
