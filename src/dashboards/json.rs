//! A board enters, Grafana's classic JSON leaves: what every Grafana since 10 imports. Panels fill the 24 columns of the grid from
//! left to right, and ids are numbers in order, so that a file changes only where its board does.

use serde_json::{Value, json};

use super::board::{Bad, Board, Link, Look, Panel, Row, Unit, Variable};
use super::influxql::{self, Shape, Unsayable};
use super::query::Query;
use super::{Edition, promql};

/// The version of the format: what Grafana 11 and 12 write, and newer ones migrate.
const SCHEMA_VERSION: u32 = 41;
/// Columns of the grid.
const COLUMNS: u32 = 24;
/// 30 s: a multiple of the 10 s of samples and windows, as are all steps that Grafana takes above it.
const STEP_MIN: &str = "30s";
/// 15 s: a window is in the store some 4 s after its end, and before that the newest step would look like a drop.
const NOW_DELAY: &str = "15s";
/// 60 points are what the width of a column shows, and a table may have hundreds of such lines.
const TREND_POINTS: u32 = 60;
/// What every board carries, so that they find each other.
const TAG: &str = "millrace";

fn source(edition: Edition) -> Value {
    json!({ "type": edition.source(), "uid": "${datasource}" })
}

/// Why an edition cannot show a panel.
pub(super) fn unsayable(panel: &Panel, variables: &[&str], edition: Edition) -> Option<Unsayable> {
    if edition == Edition::Prometheus {
        return None;
    }
    panel.queries.iter().find_map(|query| influxql::statement(query, variables, shape(panel.look, query)).err())
}

fn shape(look: Look, query: &Query) -> Shape {
    if shows_rows(look) && !query.trend { Shape::Rows } else { Shape::Series }
}

fn shows_rows(look: Look) -> bool {
    matches!(look, Look::Table | Look::Bars | Look::Label)
}

/// The dashboard.
pub(super) fn dashboard(board: &Board, edition: Edition) -> Value {
    json!({
        "id": null,
        "uid": board.uid,
        "title": board.title,
        "description": board.description,
        "tags": [TAG],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": false,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "30s",
        "time": { "from": "now-1h", "to": "now" },
        "timepicker": { "nowDelay": NOW_DELAY },
        "links": [{
            "title": "Boards",
            "type": "dashboards",
            "icon": "external link",
            "tooltip": "The other boards, with the same choice and time",
            "tags": [TAG],
            "asDropdown": true,
            "targetBlank": false,
            "includeVars": true,
            "keepTime": true,
        }],
        "annotations": { "list": annotations(board, edition) },
        "templating": { "list": variables(board, edition) },
        "panels": panels(board, edition),
    })
}

/// Where an instance became the primary, and where people were told that something is wrong. InfluxQL cannot compare two moments in
/// an annotation.
fn annotations(board: &Board, edition: Edition) -> Vec<Value> {
    let by_cluster = board.variables.iter().any(|variable| variable.name == "cluster");
    if edition == Edition::Influxql || !by_cluster {
        return Vec::new();
    }
    let primary = |offset: &str| {
        format!(
            "max by (cluster, instance) (millrace_instance_role{{cluster=~\"$cluster\", role=\"primary\"}}{offset}) == 1"
        )
    };
    let alert = |field: &str| {
        format!("max by (cluster, instance, alertname) (millrace_alert_{field}{{cluster=~\"$cluster\"}}) == 1")
    };
    let annotation = |name: &str, color: &str, expr: String, title: &str, tags: &str| {
        json!({
            "name": name,
            "datasource": source(edition),
            "enable": true,
            "iconColor": color,
            "expr": expr,
            "step": "30s",
            "titleFormat": title,
            "tagKeys": tags,
        })
    };
    vec![
        annotation(
            "New primary",
            "purple",
            format!("({}) unless ({})", primary(""), primary(" offset 1m")),
            "{{instance}} became the primary of {{cluster}}",
            "cluster,instance",
        ),
        annotation(
            "Alert",
            "red",
            format!("({}) unless ({})", alert("firing"), alert("quiet")),
            "{{alertname}} of {{cluster}} {{instance}}",
            "cluster,instance,alertname",
        ),
    ]
}

fn variables(board: &Board, edition: Edition) -> Vec<Value> {
    let choice = json!({
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": edition.source(),
        "refresh": 1,
    });
    std::iter::once(choice).chain(board.variables.iter().map(|one| variable(one, edition))).collect()
}

fn variable(variable: &Variable, edition: Edition) -> Value {
    let Variable { name, metric, within, .. } = *variable;
    let metric = millrace_schemas::metrics::named(metric).unwrap_or_else(|| panic!("{metric} is not in the catalogue"));
    let query = match edition {
        Edition::Prometheus => {
            let narrow: Vec<String> = within.iter().map(|label| format!("{label}=~\"${label}\"")).collect();
            let narrow = if narrow.is_empty() { String::new() } else { format!("{{{}}}", narrow.join(", ")) };
            format!("label_values({}{narrow}, {name})", metric.name)
        }
        Edition::Influxql => {
            let narrow: Vec<String> = within.iter().map(|label| format!("\"{label}\" =~ /^${label}$/")).collect();
            let narrow = if narrow.is_empty() { String::new() } else { format!(" WHERE {}", narrow.join(" AND ")) };
            format!("SHOW TAG VALUES FROM \"{}\" WITH KEY = \"{name}\"{narrow}", metric.measurement)
        }
    };
    let mut value = json!({
        "type": "query",
        "name": name,
        "label": variable.title,
        "datasource": source(edition),
        "definition": query,
        "query": query,
        // Whenever the time that is shown changes.
        "refresh": 2,
        "sort": 1,
        "multi": variable.many,
        "includeAll": variable.many,
        "hide": if variable.hidden { 2 } else { 0 },
    });
    if variable.many {
        value["allValue"] = json!(".+");
        value["current"] = json!({ "selected": true, "text": ["All"], "value": ["$__all"] });
    }
    value
}

/// Rows and their panels, one after another, each at its place.
fn panels(board: &Board, edition: Edition) -> Vec<Value> {
    let names: Vec<&str> = board.variables.iter().map(|variable| variable.name).collect();
    let mut all = Vec::new();
    let mut top = 0;
    for Row { title, panels } in &board.rows {
        let id = all.len() + 1;
        let place = json!({ "x": 0, "y": top, "w": COLUMNS, "h": 1 });
        all.push(
            json!({ "type": "row", "id": id, "title": title, "collapsed": false, "panels": [], "gridPos": place }),
        );
        top += 1;
        let (mut left, mut line) = (0, 0);
        for panel in panels {
            if left + panel.width > COLUMNS {
                (left, top, line) = (0, top + line, 0);
            }
            let place = json!({ "x": left, "y": top, "w": panel.width, "h": panel.height });
            all.push(one(panel, &names, edition, all.len() + 1, &place));
            left += panel.width;
            line = line.max(panel.height);
        }
        top += line;
    }
    all
}

fn one(panel: &Panel, variables: &[&str], edition: Edition, id: usize, place: &Value) -> Value {
    let kind = match panel.look {
        Look::Lines | Look::Stacked => "timeseries",
        Look::Stat | Look::Label => "stat",
        Look::Bars => "bargauge",
        Look::Table => "table",
    };
    let targets = panel.queries.iter().enumerate();
    let targets: Vec<Value> = targets.map(|(at, query)| target(panel, query, variables, edition, at)).collect();
    let mut value = json!({
        "id": id,
        "type": kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": source(edition),
        "gridPos": place,
        "interval": STEP_MIN,
        "targets": targets,
        "options": options(panel, edition),
        "fieldConfig": { "defaults": defaults(panel), "overrides": overrides(panel) },
    });
    if panel.look == Look::Table {
        value["transformations"] = transformations(panel, edition);
    } else if panel.queries.iter().any(|query| query.keep == ["digest"]) {
        value["transformations"] = json!([shortened()]);
    }
    if panel.queries.iter().any(|query| query.trend) {
        value["maxDataPoints"] = json!(TREND_POINTS);
    }
    value
}

/// A, B, ..: what targets of a panel are called.
fn letter(at: usize) -> String {
    char::from(b'A' + u8::try_from(at).expect("a panel has few queries")).to_string()
}

fn target(panel: &Panel, query: &Query, variables: &[&str], edition: Edition, at: usize) -> Value {
    let rows = shape(panel.look, query) == Shape::Rows;
    match edition {
        Edition::Prometheus => json!({
            "refId": letter(at),
            "datasource": source(edition),
            "expr": promql::expression(query, variables),
            "legendFormat": query.legend(|label| format!("{{{{{label}}}}}")),
            "instant": rows,
            "range": !rows,
            "format": if panel.look == Look::Table && rows { "table" } else { "time_series" },
            "editorMode": "code",
        }),
        Edition::Influxql => {
            let query_text = influxql::statement(query, variables, shape(panel.look, query));
            json!({
                "refId": letter(at),
                "datasource": source(edition),
                "query": query_text.expect("panels that cannot be said were left out"),
                "rawQuery": true,
                "alias": query.legend(|label| format!("$tag_{label}")),
                "resultFormat": if rows { "table" } else { "time_series" },
            })
        }
    }
}

fn defaults(panel: &Panel) -> Value {
    let steps = match panel.bad {
        None => json!([{ "value": null, "color": "blue" }]),
        Some(Bad::From(value)) => json!([{ "value": null, "color": "green" }, { "value": value, "color": "red" }]),
        Some(Bad::Below(value)) => json!([{ "value": null, "color": "red" }, { "value": value, "color": "green" }]),
    };
    let over_time = matches!(panel.look, Look::Lines | Look::Stacked);
    let mut value = json!({
        "unit": panel.unit.id(),
        "color": { "mode": if over_time { "palette-classic" } else { "thresholds" } },
        "thresholds": { "mode": "absolute", "steps": steps },
    });
    if panel.unit == Unit::Share || over_time {
        value["min"] = json!(0);
    }
    if over_time {
        let stacked = panel.look == Look::Stacked;
        value["custom"] = json!({
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": if stacked { 40 } else { 8 },
            "showPoints": "never",
            // 130 s: settings come once a minute, and a line is not drawn over time in which nothing came twice.
            "spanNulls": 130_000,
            "stacking": { "mode": if stacked { "normal" } else { "none" }, "group": "A" },
            "thresholdsStyle": { "mode": if panel.bad.is_some() { "line" } else { "off" } },
        });
    }
    if panel.look == Look::Table {
        value["custom"] = json!({ "align": "auto", "inspect": true, "filterable": true });
    } else if let Some(to) = panel.link {
        value["links"] = json!([link(to, &format!("${{__field.labels.{}}}", to.label))]);
    }
    value
}

fn link(to: Link, value: &str) -> Value {
    let choice = format!("var-{}={value}", to.label);
    json!({
        "title": format!("To this {}", to.label),
        "type": "link",
        "icon": "",
        "tooltip": "",
        "tags": [],
        "asDropdown": false,
        "includeVars": false,
        "keepTime": false,
        "targetBlank": false,
        "url": format!("/d/{}?{choice}&${{datasource:queryparam}}&${{cluster:queryparam}}&${{__url_time_range}}", to.uid),
    })
}

fn column(name: &str) -> Value {
    json!({ "id": "byNames", "options": { "mode": "include", "names": [name] } })
}

/// Units of columns, and where a label's value leads.
fn overrides(panel: &Panel) -> Vec<Value> {
    if panel.look != Look::Table {
        return Vec::new();
    }
    let with_unit = panel.queries.iter().filter_map(|query| Some((query, query.unit?)));
    let mut all: Vec<Value> = with_unit
        .map(|(query, unit)| {
            let property = json!({ "id": "unit", "value": unit.id() });
            json!({ "matcher": column(&query.name), "properties": [property] })
        })
        .collect();
    for query in panel.queries.iter().filter(|query| query.trend) {
        let cell = json!({ "type": "sparkline", "hideValue": true, "lineWidth": 1, "fillOpacity": 10 });
        let property = json!({ "id": "custom.cellOptions", "value": cell });
        all.push(json!({ "matcher": column(&query.name), "properties": [property] }));
    }
    if let Some(to) = panel.link {
        let links = json!([link(to, &format!("${{__data.fields.{}}}", to.label))]);
        all.push(json!({
            "matcher": column(to.label),
            "properties": [{ "id": "links", "value": links }],
        }));
    }
    all
}

/// Digests have 32 digits: eight tell those of a legend apart, and begin the digest in the table of the same board.
fn shortened() -> Value {
    json!({ "id": "renameByRegex", "options": { "regex": "^([0-9a-f]{8})[0-9a-f]{24}$", "renamePattern": "$1" } })
}

/// Makes one table of the answers: their rows are joined by the labels that they have in common. A way through time is made a cell of
/// its row first.
fn transformations(panel: &Panel, edition: Edition) -> Value {
    // Each answer has its own time, by which rows would not be joined.
    let mut timeless = json!({ "id": "filterFieldsByName", "options": { "exclude": { "names": ["Time"] } } });
    let trend = panel.queries.iter().position(|query| query.trend).map(letter);
    let mut steps = Vec::new();
    if let Some(letter) = &trend {
        timeless["filter"] = json!({ "id": "invertMatch", "options": { "id": "byRefId", "options": letter } });
        steps.push(json!({ "id": "timeSeriesTable", "options": { letter: { "stat": "lastNotNull" } } }));
    }
    steps.insert(0, timeless);
    steps.extend(joined(panel, edition));
    if panel.counted_only {
        let counted = panel.queries.iter().find(|query| !query.labels_only).map(|query| &query.name);
        let has = json!({ "fieldName": counted, "config": { "id": "isNotNull", "options": {} } });
        steps
            .push(json!({ "id": "filterByValue", "options": { "type": "include", "match": "all", "filters": [has] } }));
    }
    Value::Array(steps)
}

/// Rows of all answers in one table, with columns as they are to be called.
fn joined(panel: &Panel, edition: Edition) -> [Value; 2] {
    let (mut names, mut hidden) = (serde_json::Map::new(), serde_json::Map::new());
    for (at, query) in panel.queries.iter().enumerate() {
        let column = match edition {
            _ if query.trend => format!("Trend #{}", letter(at)),
            Edition::Prometheus if panel.queries.len() == 1 => "Value".to_owned(),
            Edition::Prometheus => format!("Value #{}", letter(at)),
            Edition::Influxql => query.name.clone(),
        };
        if query.labels_only {
            hidden.insert(column, json!(true));
        } else if edition == Edition::Prometheus || query.trend {
            names.insert(column, json!(query.name));
        }
    }
    [
        json!({ "id": "merge", "options": {} }),
        json!({ "id": "organize", "options": { "excludeByName": hidden, "renameByName": names, "indexByName": {} } }),
    ]
}

fn options(panel: &Panel, edition: Edition) -> Value {
    let values = edition == Edition::Influxql && shows_rows(panel.look);
    let reduced = json!({
        "calcs": ["lastNotNull"],
        "values": values,
        "fields": if panel.look == Look::Label && edition == Edition::Influxql { "/^(?!Time|value$).*/" } else { "" },
    });
    match panel.look {
        Look::Lines | Look::Stacked => json!({
            "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": [] },
            "tooltip": { "mode": "multi", "sort": "desc" },
        }),
        Look::Stat | Look::Label => json!({
            "graphMode": if panel.look == Look::Label { "none" } else { "area" },
            "colorMode": "value",
            "justifyMode": "auto",
            "textMode": if panel.look == Look::Label { "name" } else { "value" },
            "wideLayout": true,
            "showPercentChange": false,
            "percentChangeColorMode": "standard",
            "orientation": "auto",
            "reduceOptions": reduced,
        }),
        Look::Bars => json!({
            "displayMode": "basic",
            "valueMode": "color",
            "namePlacement": "auto",
            "showUnfilled": true,
            "sizing": "auto",
            "minVizWidth": 8,
            "minVizHeight": 16,
            "maxVizHeight": 40,
            "orientation": "horizontal",
            "legend": { "displayMode": "list", "placement": "bottom", "showLegend": false, "calcs": [] },
            "reduceOptions": reduced,
        }),
        Look::Table => {
            let sorted = panel.queries.iter().find(|query| !query.labels_only);
            let sorted = sorted.map(|query| json!({ "displayName": query.name, "desc": true }));
            json!({ "frameIndex": 0, "showHeader": true, "cellHeight": "sm", "sortBy": Vec::from_iter(sorted) })
        }
    }
}
