//! The rules of Grafana's linter as far as they apply, and some of our own: each gives what breaks it. A rule about the labels `job`
//! and `instance` of scraped targets is one about our `cluster` and `instance` here.

use std::collections::BTreeSet;
use std::path::Path;

use millrace::dashboards::Edition;
use millrace_schemas::metrics::{Metric, Type, all, named};
use serde_json::Value;

/// A board as it is in its file.
#[derive(Clone)]
pub(super) struct Board {
    pub(super) name: String,
    pub(super) edition: Edition,
    pub(super) json: Value,
}

impl Board {
    pub(super) fn panels(&self) -> impl Iterator<Item = &Value> {
        self.json["panels"].as_array().expect("panels").iter().filter(|panel| panel["type"] != "row")
    }

    pub(super) fn variables(&self) -> &[Value] {
        self.json["templating"]["list"].as_array().expect("variables")
    }
}

/// What a target asks.
pub(super) fn query(target: &Value) -> &str {
    target["expr"].as_str().or_else(|| target["query"].as_str()).expect("a query")
}

/// Everything that is wrong with a board among `others`.
pub(super) fn wrong(board: &Board, others: &[Board]) -> Vec<String> {
    let mut wrong = of_board(board);
    wrong.extend(of_grid(board));
    wrong.extend(of_links(board, others));
    wrong.extend(board.variables().iter().flat_map(|variable| of_variable(board, variable)));
    for panel in board.panels() {
        let of_panel = of_panel(board, panel).into_iter();
        wrong.extend(of_panel.map(|why| format!("{}: {why}", panel["title"])));
    }
    wrong.into_iter().map(|why| format!("{}: {why}", board.name)).collect()
}

/// The sentences of those that hold.
fn those<const N: usize>(faults: [(bool, &str); N]) -> Vec<String> {
    faults.into_iter().filter(|(bad, _)| *bad).map(|(_, why)| why.to_owned()).collect()
}

fn of_board(board: &Board) -> Vec<String> {
    let json = &board.json;
    let uid = json["uid"].as_str().unwrap_or_default();
    those([
        (uid != board.name || uid.len() > 40, "its uid is not the name of its file, or is too long"),
        (!json["id"].is_null(), "an id of one Grafana"),
        (json["editable"] != false, "it can be edited, and its next version would undo that"),
        (json["graphTooltip"] != 1, "crosshairs are not shared"),
        (!(39..=42).contains(&json["schemaVersion"].as_i64().unwrap_or_default()), "a format of another time"),
        (json.get("__inputs").is_some(), "it asks at import what provisioning cannot answer"),
        (json["description"].as_str().is_none_or(|text| !text.ends_with('.')), "no sentence says what it is for"),
        (json["tags"] != serde_json::json!(["millrace"]), "others do not find it"),
        (
            json["links"][0]["includeVars"] != true || json["links"][0]["keepTime"] != true,
            "a way to others forgets the choice",
        ),
    ])
}

fn of_variable(board: &Board, variable: &Value) -> Vec<String> {
    let kind = board.edition.source();
    let name = variable["name"].as_str().unwrap_or_default();
    if variable["type"] == "datasource" {
        return those([(name != "datasource" || variable["query"] != kind, "its data source cannot be chosen")]);
    }
    let query = variable["query"].as_str().unwrap_or_default();
    let known = match board.edition {
        Edition::Prometheus => query
            .strip_prefix("label_values(")
            .and_then(|rest| rest.strip_suffix(')'))
            .and_then(|rest| rest.rsplit_once(", "))
            .is_some_and(|(selector, label)| {
                let metric = named(selector.split('{').next().unwrap_or_default());
                label == name && metric.is_some_and(|metric| metric.labels.contains(&label))
            }),
        Edition::Influxql => {
            let measurement = query.split('"').nth(1).unwrap_or_default();
            let has = all().any(|metric| metric.measurement == measurement && metric.labels.contains(&name));
            has && query.contains(&format!(" WITH KEY = \"{name}\""))
        }
    };
    let many = variable["multi"] == true;
    those([
        (!known, "a variable of what the catalogue has not"),
        (variable["refresh"] != 2, "a variable that does not follow the time"),
        (variable["datasource"]["uid"] != "${datasource}", "a variable of another data source"),
        (variable["label"].as_str().is_none_or(str::is_empty), "a variable without a title"),
        (many && (variable["includeAll"] != true || variable["allValue"] != ".+"), "not all can be chosen"),
    ])
}

/// Ids, places and titles.
fn of_grid(board: &Board) -> Vec<String> {
    let mut wrong = Vec::new();
    let (mut ids, mut cells, mut titles) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut row = "";
    for panel in board.json["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().unwrap_or_default();
        if panel["type"] == "row" {
            row = title;
        }
        if !ids.insert(panel["id"].as_u64()) {
            wrong.push(format!("{title}: its id is another's"));
        }
        if panel["type"] != "row" && !titles.insert((row, title)) {
            wrong.push(format!("{title}: twice in a row"));
        }
        let at = |key: &str| panel["gridPos"][key].as_u64().expect("a number");
        if at("x") + at("w") > 24 {
            wrong.push(format!("{title}: it reaches out of the page"));
        }
        let own = (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)));
        if own.into_iter().filter(|cell| !cells.insert(*cell)).count() > 0 {
            wrong.push(format!("{title}: it lies on another"));
        }
    }
    wrong
}

/// Every way leads to a board that is there and has the variable.
fn of_links(board: &Board, others: &[Board]) -> Vec<String> {
    let text = board.json.to_string();
    let mut wrong = Vec::new();
    for link in text.match_indices("/d/").map(|(at, _)| &text[at + 3..]) {
        let (uid, rest) = link.split_once("?var-").unwrap_or((link, ""));
        let variable = rest.split('=').next().unwrap_or_default();
        let leads = |other: &&Board| other.name == uid && other.variables().iter().any(|one| one["name"] == variable);
        if others.iter().find(leads).is_none() {
            wrong.push(format!("a way to {uid} with {variable} leads nowhere"));
        }
    }
    wrong
}

fn of_panel(board: &Board, panel: &Value) -> Vec<String> {
    let (title, description) =
        (panel["title"].as_str().unwrap_or_default(), panel["description"].as_str().unwrap_or_default());
    let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap_or_default();
    let targets = panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
    let letters: BTreeSet<&str> = targets.iter().filter_map(|target| target["refId"].as_str()).collect();
    let own = |value: &Value| {
        value["datasource"]["uid"] == "${datasource}" && value["datasource"]["type"] == board.edition.source()
    };
    let mut wrong = those([
        (title.is_empty(), "no title"),
        (!description.ends_with('.') || description.len() < 40, "no description that says what a bad value means"),
        (!units().contains(unit), "no unit that Grafana knows"),
        (targets.is_empty(), "it asks nothing"),
        (letters.len() != targets.len(), "two queries have one letter"),
        (!own(panel) || !targets.iter().all(own), "it asks another data source"),
    ]);
    for target in targets {
        wrong.extend(match board.edition {
            Edition::Prometheus => of_promql(board, query(target)),
            Edition::Influxql => of_influxql(board, query(target)),
        });
    }
    wrong
}

/// The ids of all units.
fn units() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dashboards/grafana/units.jsonschema.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).expect("text")).expect("JSON");
    let units = schema["definitions"].as_object().expect("definitions").values();
    units.filter_map(|unit| unit["const"].as_str().map(str::to_owned)).collect()
}

/// The metrics of an expression: name, what is before it and what is behind.
fn metrics_of(expression: &str) -> Vec<(&str, &str, &str)> {
    let part = |at: char| at.is_ascii_alphanumeric() || at == '_';
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = expression[at..].find(part).map(|from| at + from) {
        let end = expression[start..].find(|char| !part(char)).map_or(expression.len(), |to| start + to);
        let word = &expression[start..end];
        if ["mysql_", "millrace_", "process_"].iter().any(|prefix| word.starts_with(prefix)) {
            found.push((word, &expression[..start], &expression[end..]));
        }
        at = end;
    }
    found
}

fn of_promql(board: &Board, expression: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let balanced = [('(', ')'), ('{', '}'), ('[', ']')]
        .iter()
        .all(|(open, close)| expression.matches(*open).count() == expression.matches(*close).count());
    if !balanced || metrics_of(expression).is_empty() {
        wrong.push(format!("no PromQL: {expression}"));
    }
    for (name, before, behind) in metrics_of(expression) {
        let Some(metric) = named(name) else {
            wrong.push(format!("{name} is not in the catalogue"));
            continue;
        };
        let matchers = behind.strip_prefix('{').and_then(|rest| rest.split('}').next()).unwrap_or_default();
        let range = behind.split_once('[').filter(|(between, _)| !between.contains(')')).map(|(_, rest)| rest);
        let rated = before.ends_with("rate(") && range.is_some_and(|range| range.starts_with("$__rate_interval]"));
        if (metric.kind == Type::Counter) != rated {
            wrong.push(format!("{name}: a counter is under a rate of $__rate_interval, and nothing else is"));
        }
        wrong.extend(unnarrowed(board, metric, |label| matchers.contains(&format!("{label}=~\"${label}\""))));
    }
    wrong
}

fn of_influxql(board: &Board, statement: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let balanced = statement.matches('(').count() == statement.matches(')').count()
        && statement.matches('"').count().is_multiple_of(2);
    let timed = statement.matches("$timeFilter").count() == statement.matches("SELECT ").count();
    if !balanced || !statement.starts_with("SELECT ") || !timed {
        wrong.push(format!("no InfluxQL that is bound in time: {statement}"));
    }
    let measurement = statement.rsplit_once("FROM \"").and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default();
    let fields: Vec<&str> =
        statement.match_indices("\"::field").filter_map(|(at, _)| statement[..at].rsplit('"').next()).collect();
    if fields.is_empty() {
        wrong.push(format!("it reads no field: {statement}"));
    }
    for field in fields {
        let Some(metric) = all().find(|metric| metric.measurement == measurement && metric.field == field) else {
            wrong.push(format!("{measurement} with {field} is not in the catalogue"));
            continue;
        };
        let rated = statement.contains(&format!("non_negative_derivative(last(\"{field}\"::field), 1s)"));
        if (metric.kind == Type::Counter) != rated {
            wrong.push(format!("{}: a counter is under a derivative, and nothing else is", metric.name));
        }
        wrong.extend(unnarrowed(board, metric, |label| statement.contains(&format!("\"{label}\" =~ /^${label}$/"))));
    }
    wrong
}

/// Variables of the board that do not narrow a metric which has their label. One digest is chosen for one row of its board.
fn unnarrowed(board: &Board, metric: &Metric, narrows: impl Fn(&str) -> bool) -> Vec<String> {
    let names = board.variables().iter().filter_map(|variable| variable["name"].as_str());
    let missing = names.filter(|name| metric.labels.contains(name) && *name != "digest" && !narrows(name));
    missing.map(|name| format!("{} is of any {name}", metric.name)).collect()
}

#[test]
fn each_rule_finds_what_breaks_it() {
    let boards = super::boards(Edition::Prometheus);
    let check = |change: &dyn Fn(&mut Value), part: &str| {
        let mut broken = boards.iter().find(|board| board.name == "millrace-instance").expect("it is there").clone();
        change(&mut broken.json);
        let wrong = wrong(&broken, &boards);
        assert!(wrong.iter().any(|why| why.contains(part)), "{part}: {wrong:?}");
    };
    let expr = |board: &mut Value, text: &str| board["panels"][1]["targets"][0]["expr"] = text.into();
    check(&|board| board["uid"] = "another".into(), "uid");
    check(&|board| board["editable"] = true.into(), "can be edited");
    check(
        &|board| board["templating"]["list"][1]["query"] = "label_values(mysql_upp, cluster)".into(),
        "a variable of what",
    );
    check(&|board| board["templating"]["list"][1]["refresh"] = 1.into(), "does not follow the time");
    check(&|board| board["panels"][2]["gridPos"]["x"] = 1.into(), "lies on another");
    check(&|board| board["panels"][2]["id"] = 2.into(), "its id is another's");
    check(&|board| board["panels"][1]["description"] = "Short.".into(), "no description");
    check(&|board| board["panels"][1]["fieldConfig"]["defaults"]["unit"] = "furlongs".into(), "no unit");
    check(&|board| board["panels"][1]["targets"] = serde_json::json!([]), "asks nothing");
    check(&|board| board["panels"][1]["datasource"]["uid"] = "mine".into(), "another data source");
    check(&|board| expr(board, "mysql_uptime"), "not in the catalogue");
    check(&|board| expr(board, "sum(mysql_up"), "no PromQL");
    check(&|board| expr(board, "mysql_global_status_questions"), "a counter is under a rate");
    check(&|board| expr(board, "rate(mysql_global_status_questions[5m])"), "a counter is under a rate");
    check(&|board| expr(board, "mysql_up{instance=~\"$instance\"}"), "of any cluster");
    let link = "/d/millrace-hosts?var-host=x".to_owned();
    check(&|board| board["panels"][1]["fieldConfig"]["defaults"]["links"] = link.clone().into(), "leads nowhere");
}
