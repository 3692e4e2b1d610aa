//! `[[store]]`: where numbers are written for people to look at. In: a section. Out: a store, or every problem with its line.

use std::path::PathBuf;

use millrace_schemas::metrics::SERIES_PER_INSTANCE;
use millrace_sinks::store::Api;
use reqwest::Url;

use super::lake::{self, Lake};
use super::read::{Problems, Section};

/// From what an instance has at least (its own numbers and some digests) to what a window can have.
const SERIES: std::ops::RangeInclusive<u32> = 1_000..=100_000;
/// 32 characters: a name is part of the name under which positions are kept.
const NAME_MAX: usize = 32;

/// A store of time series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Its name: positions and metrics are kept under it.
    pub name: String,
    /// Its address.
    pub url: String,
    /// What it speaks.
    pub api: Api,
    /// The file with the token that it wants; absent: it wants none.
    pub token_file: Option<PathBuf>,
    /// The file with who may sign its certificate; absent: who this host believes.
    pub ca_file: Option<PathBuf>,
    /// Series that an instance may have in it at one moment.
    pub series: usize,
}

/// What a section is.
enum Read {
    Store(Store),
    Lake(Lake),
}

/// Reads all of them.
pub(super) fn read_all(root: &mut Section<'_, '_>, problems: &mut Problems<'_>) -> (Vec<Store>, Vec<Lake>) {
    let mut names: Vec<String> = Vec::new();
    let (mut stores, mut lakes) = (Vec::new(), Vec::new());
    for section in root.sections("store", problems) {
        let at = section.at_key("name");
        let Some(read) = read(section, problems) else { continue };
        let (Read::Store(Store { name, .. }) | Read::Lake(Lake { name, .. })) = &read;
        if names.contains(name) {
            let what = format!("store.name {name} is there already: positions are kept under it");
            problems.note(at, what);
        }
        names.push(name.clone());
        match read {
            Read::Store(store) => stores.push(store),
            Read::Lake(lake) => lakes.push(lake),
        }
    }
    (stores, lakes)
}

fn read(mut section: Section<'_, '_>, problems: &mut Problems<'_>) -> Option<Read> {
    let name = section.parsed("name", problems, named);
    let kind = section.required("kind", problems);
    let read = match &kind {
        Some((kind, _)) if kind == "parquet" => lake::read(name, &mut section, problems).map(Read::Lake),
        _ => store(name, kind, &mut section, problems).map(Read::Store),
    };
    section.finish(problems);
    read
}

fn store(
    name: Option<String>,
    kind: Option<(String, usize)>,
    section: &mut Section<'_, '_>,
    problems: &mut Problems<'_>,
) -> Option<Store> {
    let is_graphite = kind.as_ref().is_some_and(|(kind, _)| kind == "graphite");
    let url = section.parsed("url", problems, |text| address(text, is_graphite));
    let api = kind.and_then(|(kind, at)| api(&kind, at, section, problems));
    let (mut token_file, mut ca_file) = (None, None);
    if !is_graphite {
        token_file = section.path("token-file", problems);
        ca_file = section.path("ca-file", problems);
    }
    if ca_file.is_some() && url.as_ref().is_some_and(|url| !url.starts_with("https:")) {
        problems.note(section.at_key("ca-file"), "store.ca-file is for a store.url that begins with https:");
    }
    let series = section.number("series-per-instance", SERIES, problems);
    let series = series.map_or(SERIES_PER_INSTANCE, |series| series as usize);
    Some(Store { name: name?, url: url?, api: api?, token_file, ca_file, series })
}

fn api(kind: &str, at: usize, section: &mut Section<'_, '_>, problems: &mut Problems<'_>) -> Option<Api> {
    match kind {
        "influx-v2" => {
            let org = section.text("org", problems).map_or_else(|| "millrace".to_owned(), |(text, _)| text);
            let bucket = section.required("bucket", problems).map(|(text, _)| text)?;
            Some(Api::V2 { org, bucket })
        }
        "influx-v1" => Some(Api::V1 { database: section.required("database", problems).map(|(text, _)| text)? }),
        "remote-write" => Some(Api::Remote),
        "graphite" => Some(Api::Graphite { tagged: section.flag("tags", problems).is_some_and(|(on, _)| on) }),
        _ => {
            let what = format!(
                "store.kind = \"{kind}\" is not known: \"influx-v2\" (VictoriaMetrics speaks it too), \"influx-v1\", \"remote-write\" \
                 (Prometheus), \"graphite\" or \"parquet\""
            );
            problems.note(at, what);
            // What belongs to any kind is no further problem.
            section.pass_over(&["org", "bucket", "database", "tags"]);
            section.pass_over(&lake::KEYS);
            None
        }
    }
}

pub(super) fn named(text: &str) -> Result<String, String> {
    let legal = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
    if text.is_empty() || text.len() > NAME_MAX || !text.chars().all(legal) {
        return Err(format!("\"{text}\" is no name: up to {NAME_MAX} small letters, digits and hyphens"));
    }
    Ok(text.to_owned())
}

fn address(text: &str, is_graphite: bool) -> Result<String, String> {
    let example = if is_graphite { "\"tcp://127.0.0.1:2003\"" } else { "\"http://127.0.0.1:8428\"" };
    let url = Url::parse(text).map_err(|error| format!("\"{text}\": {error}; {example} is an example"))?;
    match url.scheme() {
        "tcp" if is_graphite && url.host().is_some() => Ok(text.to_owned()),
        "http" | "https" if !is_graphite && url.host().is_some() => Ok(text.to_owned()),
        scheme => Err(format!("\"{text}\": {scheme} is not known; {example} is an example")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    const BUS: &str = "[bus]\nfile = \"b.db\"\n";

    #[test]
    fn a_store_is_read() {
        let text = format!(
            "{BUS}[[store]]\nname = \"a\"\nurl = \"http://127.0.0.1:8428\"\nkind = \"influx-v2\"\nbucket = \"b\"\ntoken-file = \"t\"\n\
             [[store]]\nname = \"b\"\nurl = \"https://h:8086/x\"\nkind = \"influx-v1\"\ndatabase = \"d\"\nca-file = \"ca\"\nseries-per-instance = 5000\n\
             [[store]]\nname = \"c\"\nurl = \"http://h:9090\"\nkind = \"remote-write\"\n\
             [[store]]\nname = \"d\"\nurl = \"tcp://h:2003\"\nkind = \"graphite\"\ntags = true\n"
        );
        let stores = parse(&text).expect("right").stores;
        let v2 = Api::V2 { org: "millrace".to_owned(), bucket: "b".to_owned() };
        assert_eq!(stores[0].api, v2);
        assert_eq!((stores[0].token_file.clone(), stores[0].series), (Some(PathBuf::from("t")), SERIES_PER_INSTANCE));
        assert_eq!((&stores[2].api, &stores[3].api), (&Api::Remote, &Api::Graphite { tagged: true }));
        assert_eq!((&stores[1].api, stores[1].series), (&Api::V1 { database: "d".to_owned() }, 5_000));
        let ca_files: Vec<_> = stores.iter().map(|store| store.ca_file.clone()).collect();
        assert_eq!(ca_files, [None, Some(PathBuf::from("ca")), None, None]);
    }

    #[test]
    fn every_problem_of_a_store_is_told_at_once() {
        let check = |lines: &str, expected: &[(usize, &str)]| {
            let problems = parse(&format!("{BUS}[[store]]\n{lines}")).err().unwrap_or_default();
            assert_eq!(problems.len(), expected.len(), "{lines}\n{problems:#?}");
            for (problem, (line, what)) in problems.iter().zip(expected) {
                assert!(problem.line == *line && problem.what.contains(what), "{what} in line {line}: {problem:?}");
            }
        };
        check(
            "name = \"A b\"\nurl = \"nowhere\"\nkind = \"influx-v3\"\nbucket = \"b\"\ncolour = 1\nseries-per-instance = 1\n",
            &[(4, "is no name"), (5, "is an example"), (6, "is not known"), (8, "colour"), (9, "a whole number")],
        );
        check(
            "name = \"a\"\nurl = \"ftp://h\"\nkind = \"influx-v2\"\n",
            &[(3, "needs bucket"), (5, "ftp is not known")],
        );
        check("name = \"a\"\nurl = \"http://h\"\nkind = \"graphite\"\n", &[(5, "tcp://127.0.0.1:2003")]);
        check(
            "name = \"a\"\nurl = \"tcp://h\"\nkind = \"graphite\"\nca-file = \"ca\"\n",
            &[(7, "store.ca-file is not known")],
        );
        check(
            "name = \"a\"\nurl = \"http://h\"\nkind = \"remote-write\"\nca-file = \"ca\"\n",
            &[(7, "begins with https:")],
        );
        let good = "name = \"a\"\nurl = \"http://h\"\nkind = \"influx-v1\"\ndatabase = \"d\"\n";
        check(good, &[]);
        check(&format!("{good}[[store]]\n{good}"), &[(9, "a is there already")]);
    }
}
