//! The dashboards: what lies in `deploy/` is what the program writes, and every board keeps the rules that Grafana's own checks have.

mod filled;
mod rules;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use millrace::dashboards::{Edition, files};
use serde_json::Value;

use rules::{Board, wrong};

/// Both editions.
const EDITIONS: [Edition; 2] = [Edition::Prometheus, Edition::Influxql];

fn folder(edition: Edition) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/grafana").join(edition.name())
}

/// The boards of an edition, by their files.
fn boards(edition: Edition) -> Vec<Board> {
    let boards = files(edition).into_iter().filter(|(path, _)| path.starts_with("dashboards"));
    let parsed = boards.map(|(path, text)| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        Board { name, edition, json: serde_json::from_str(&text).expect("JSON") }
    });
    parsed.collect()
}

fn found(under: &Path, files: &mut BTreeMap<PathBuf, String>, root: &Path) {
    for entry in std::fs::read_dir(under).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found(&path, files, root);
        } else {
            let text = std::fs::read_to_string(&path).expect("text");
            files.insert(path.strip_prefix(root).expect("inside").to_owned(), text);
        }
    }
}

#[test]
fn the_dashboards_in_deploy_are_current() {
    for edition in EDITIONS {
        let name = edition.name();
        let mut lies = BTreeMap::new();
        found(&folder(edition), &mut lies, &folder(edition));
        let written: BTreeMap<PathBuf, String> = files(edition).into_iter().collect();
        let renew = format!("millrace dashboards --out deploy/grafana/{name} --datasource {name}");
        let names = |files: &BTreeMap<PathBuf, String>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&lies), names(&written), "other files lie there; what writes them is `{renew}`");
        for (path, text) in written {
            assert!(lies[&path] == text, "deploy/grafana/{name}/{} is old; `{renew}` renews it", path.display());
        }
    }
}

#[test]
fn the_command_writes_what_it_says() {
    let out = tempfile::tempdir().expect("a folder");
    let run = |edition: &str| {
        let mut command = crate::real::site::millrace();
        command
            .args(["dashboards", "--datasource", edition, "-o", "json", "--out"])
            .arg(out.path())
            .output()
            .expect("it runs")
    };
    let told = run("influxql");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let told: Value = serde_json::from_slice(&told.stdout).expect("JSON");
    let mut lies = BTreeMap::new();
    found(out.path(), &mut lies, out.path());
    assert_eq!(told["files"].as_array().expect("a list").len(), lies.len());
    assert_eq!(lies, files(Edition::Influxql).into_iter().collect());
    let page = &lies[Path::new("README.md")];
    for panel in told["left_out"].as_array().expect("a list") {
        let line =
            format!("* {}: {}\n", panel["board"].as_str().expect("a title"), panel["panel"].as_str().expect("a title"));
        assert!(page.contains(&line), "the page does not say {line}");
    }
    assert_eq!(run("graphite").status.code(), Some(2), "there is no such edition");
}

#[test]
fn every_board_keeps_the_rules() {
    for edition in EDITIONS {
        let boards = boards(edition);
        assert_eq!(boards.len(), 9);
        let wrong: Vec<String> = boards.iter().flat_map(|board| wrong(board, &boards)).collect();
        assert!(wrong.is_empty(), "{}:\n  {}", edition.name(), wrong.join("\n  "));
        let panels: usize = boards.iter().map(|board| board.panels().count()).sum();
        println!("{}: {} boards, {panels} panels", edition.name(), boards.len());
    }
}

/// A file under `tests/dashboards/grafana/`, as a check.
fn schema(name: &str, part: Option<&str>) -> jsonschema::Validator {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/dashboards/grafana/{name}.jsonschema.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut schema: Value = serde_json::from_str(&text).expect("JSON");
    if name == "dashboard" {
        // The value of an override is anything, a unit's name for instance. The generator of the schema writes "anything" as object.
        let value = &mut schema["definitions"]["DynamicConfigValue"]["properties"]["value"];
        assert_eq!(value["type"].take(), "object", "the schema has become right: take it as it is");
        value.as_object_mut().expect("a schema").remove("type");
    }
    if let Some(part) = part {
        schema["$ref"] = format!("#/definitions/{part}").into();
    }
    jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn errors(schema: &jsonschema::Validator, what: &str, value: &Value) -> Vec<String> {
    schema.iter_errors(value).map(|error| format!("{what}{}: {error}", error.instance_path())).collect()
}

/// The schema of a dashboard, those of each kind of panel's options and fields, and that of a query.
fn against_schemas(board: &Board) -> Vec<String> {
    let mut all = errors(&schema("dashboard", None), &board.name, &board.json);
    for panel in board.panels() {
        let what = format!("{} {}", board.name, panel["title"]);
        let kind = panel["type"].as_str().expect("a kind");
        all.extend(errors(&schema(kind, Some("Options")), &what, &panel["options"]));
        for property in panel["fieldConfig"]["overrides"].as_array().expect("overrides").iter().flat_map(|one| {
            one["properties"].as_array().expect("properties").iter().filter(|one| one["id"] == "custom.cellOptions")
        }) {
            all.extend(errors(&schema("table", Some("TableSparklineCellOptions")), &what, &property["value"]));
        }
        let custom = &panel["fieldConfig"]["defaults"]["custom"];
        if ["timeseries", "table"].contains(&kind) {
            all.extend(errors(&schema(kind, Some("FieldConfig")), &what, custom));
        }
        if board.edition == Edition::Prometheus {
            let targets = panel["targets"].as_array().expect("targets");
            all.extend(targets.iter().flat_map(|target| errors(&schema("prometheus", None), &what, target)));
        }
    }
    all
}

#[test]
fn every_board_is_valid_by_grafanas_strict_schema() {
    for board in EDITIONS.into_iter().flat_map(boards) {
        let errors = against_schemas(&board);
        assert!(errors.is_empty(), "{} errors:\n  {}", errors.len(), errors.join("\n  "));
    }
    let mut broken = boards(Edition::Prometheus).remove(0);
    broken.json["panels"][1]["descripton"] = "misspelt".into();
    broken.json["panels"][2]["options"]["graphmode"] = "area".into();
    assert!(against_schemas(&broken).len() >= 2, "what is not in the schema is found");
}
