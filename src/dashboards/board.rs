//! What a dashboard is, as data: rows of panels, each with what it shows, in which unit, from which value on it is bad, and a
//! sentence that says what that means. Nothing here knows a file format or a query language.

use super::query::Query;

/// A unit, as Grafana names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A count.
    Count,
    /// A plain number that is no count: an id, a code.
    Plain,
    /// Yes or no, as 1 and 0.
    Flag,
    /// Seconds.
    Seconds,
    /// Microseconds.
    Microseconds,
    /// Milliseconds.
    Milliseconds,
    /// Milliseconds in a second are this many thousandths; seconds in a second are a share of one.
    Share,
    /// Bytes.
    Bytes,
    /// Bytes a second.
    BytesPerSecond,
    /// Statements, rows, pages a second.
    PerSecond,
    /// Reads and writes a second.
    InputsPerSecond,
    /// Rows a second.
    RowsPerSecond,
    /// A text: labels.
    Text,
}

impl Unit {
    /// Its id.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Count => "short",
            Self::Plain => "none",
            Self::Flag => "bool_yes_no",
            Self::Seconds => "s",
            Self::Microseconds => "µs",
            Self::Milliseconds => "ms",
            Self::Share => "percentunit",
            Self::Bytes => "bytes",
            Self::BytesPerSecond => "Bps",
            Self::PerSecond => "ops",
            Self::InputsPerSecond => "iops",
            Self::RowsPerSecond => "rowsps",
            Self::Text => "string",
        }
    }
}

/// How numbers are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Lines over time.
    Lines,
    /// Areas on each other.
    Stacked,
    /// One large number.
    Stat,
    /// The value of a label, large.
    Label,
    /// A bar for each series, the longest first.
    Bars,
    /// One row per combination of labels.
    Table,
}

/// From which value on something is wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bad {
    /// At this and above.
    From(f64),
    /// Below this.
    Below(f64),
}

/// Where a click on a value leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The board.
    pub uid: &'static str,
    /// The label whose value its variable of the same name gets.
    pub label: &'static str,
}

/// A panel.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What it shows.
    pub title: &'static str,
    /// What it is, and what a bad value means.
    pub description: &'static str,
    /// The unit.
    pub unit: Unit,
    /// How it is drawn.
    pub look: Look,
    /// Columns of the 24.
    pub width: u32,
    /// Rows of the grid: a number is small, a table large.
    pub height: u32,
    /// What it asks.
    pub queries: Vec<Query>,
    /// From when on it is bad.
    pub bad: Option<Bad>,
    /// Where its values lead.
    pub link: Option<Link>,
    /// In a table: rows that have labels alone are left out.
    pub counted_only: bool,
}

impl Panel {
    /// Lines, three to a row of the page.
    pub fn lines(title: &'static str, unit: Unit, description: &'static str, queries: Vec<Query>) -> Self {
        let (look, bad, link) = (Look::Lines, None, None);
        Self { title, description, unit, look, width: 8, height: 8, queries, bad, link, counted_only: false }
    }

    /// One number, six to a row.
    pub fn stat(title: &'static str, unit: Unit, description: &'static str, query: Query) -> Self {
        Self { look: Look::Stat, width: 4, height: 4, ..Self::lines(title, unit, description, vec![query]) }
    }

    /// A row per combination of labels, over the whole width.
    pub fn table(title: &'static str, unit: Unit, description: &'static str, columns: Vec<Query>) -> Self {
        Self { look: Look::Table, width: 24, height: 12, ..Self::lines(title, unit, description, columns) }
    }

    /// The highest few.
    pub fn bars(title: &'static str, unit: Unit, description: &'static str, query: Query) -> Self {
        Self { look: Look::Bars, ..Self::lines(title, unit, description, vec![query]) }
    }

    /// Drawn as areas on each other.
    #[must_use]
    pub fn stacked(self) -> Self {
        Self { look: Look::Stacked, ..self }
    }

    /// Shows the label instead of the number.
    #[must_use]
    pub fn label(self) -> Self {
        Self { look: Look::Label, ..self }
    }

    /// So many of 24 columns.
    #[must_use]
    pub fn wide(self, width: u32) -> Self {
        Self { width, ..self }
    }

    /// So many rows of the grid.
    #[must_use]
    pub fn high(self, height: u32) -> Self {
        Self { height, ..self }
    }

    /// Leaves out rows that have labels alone: of what was told long ago, and did nothing in the time that is shown.
    #[must_use]
    pub fn counted_only(self) -> Self {
        Self { counted_only: true, ..self }
    }

    /// Says from which value on it is bad.
    #[must_use]
    pub fn bad(self, bad: Bad) -> Self {
        Self { bad: Some(bad), ..self }
    }

    /// Leads to a board.
    #[must_use]
    pub fn to(self, uid: &'static str, label: &'static str) -> Self {
        Self { link: Some(Link { uid, label }), ..self }
    }
}

/// A row of a board, with a title.
#[derive(Clone, Debug)]
pub struct Row {
    /// The title.
    pub title: &'static str,
    /// Its panels.
    pub panels: Vec<Panel>,
}

/// A variable that people choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    /// The name of it, and of the label.
    pub name: &'static str,
    /// What is above it.
    pub title: &'static str,
    /// The metric whose label it is.
    pub metric: &'static str,
    /// Labels by whose variables it is narrowed.
    pub within: &'static [&'static str],
    /// Several may be chosen, or all.
    pub many: bool,
    /// It follows from the others and is not shown.
    pub hidden: bool,
}

/// A dashboard.
#[derive(Clone, Debug)]
pub struct Board {
    /// Its stable id.
    pub uid: &'static str,
    /// Its title.
    pub title: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// What can be chosen.
    pub variables: Vec<Variable>,
    /// Its rows.
    pub rows: Vec<Row>,
}

/// Clusters.
pub const CLUSTERS: Variable =
    Variable { name: "cluster", title: "Cluster", metric: "mysql_up", within: &[], many: true, hidden: false };
/// Instances of them.
pub const INSTANCES: Variable = Variable {
    name: "instance",
    title: "Instance",
    metric: "mysql_up",
    within: &["cluster"],
    many: true,
    hidden: false,
};
/// One instance.
pub const INSTANCE: Variable = Variable { many: false, ..INSTANCES };
/// Hosts of clusters.
pub const HOSTS: Variable =
    Variable { name: "host", title: "Host", metric: "mysql_up", within: &["cluster"], many: true, hidden: false };
/// The host of the instance.
pub const HOST_OF_INSTANCE: Variable =
    Variable { within: &["cluster", "instance"], many: false, hidden: true, ..HOSTS };
/// One digest that was slow.
pub const SLOW_DIGEST: Variable = Variable { metric: "millrace_slow_queries", ..DIGEST };
/// One digest.
pub const DIGEST: Variable = Variable {
    name: "digest",
    title: "Digest",
    metric: "millrace_statements_queries",
    within: &["cluster", "instance"],
    many: false,
    hidden: false,
};
