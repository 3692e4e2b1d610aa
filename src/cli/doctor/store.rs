//! Whether what keeps numbers can be written to. In: stores of the configuration, and what the bus has of their positions. Out: a finding for
//! each. A store of time series is sent a write of nothing, so that its address, certificate, token and bucket are all tried;
//! a bucket is asked for a name; of a folder only rights and room are looked at. Nothing is written.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;

use millrace_schemas::topics::Topic;
use millrace_sinks::lake::Place;
use millrace_sinks::lake::place::Location;
use millrace_sinks::store::{Failed, Store as Way};

use super::{Finding, machine};
use crate::bus::SharedBus;
use crate::cli::site;
use crate::config::{self, Bus, Settings};
use crate::roles::{lake, store};

/// What is lost, and when, while a store takes nothing.
const COSTS: &str = "nothing new is in it; the bus keeps samples for 3 days, windows and slow statements for 7";

/// How far each store is, in words, by its name; none where the bus cannot be asked, which is a finding of its own.
pub(super) fn positions(settings: &Settings) -> BTreeMap<String, String> {
    let names = settings.stores.iter().map(|one| (one.name.clone(), store::processor(one)));
    let lakes = settings.lakes.iter().map(|one| (one.name.clone(), lake::processor(&one.name)));
    let all: Vec<(String, String)> = names.chain(lakes).collect();
    if all.is_empty() || !may_ask(&settings.bus) {
        return BTreeMap::new();
    }
    let Ok((bus, _)) = site::bus(&settings.bus) else { return BTreeMap::new() };
    all.into_iter().filter_map(|(name, processor)| Some((name, behind(&bus, &processor)?))).collect()
}

/// A bus file of somebody else would get files of ours beside it, and one that is not there would be made.
fn may_ask(bus: &Bus) -> bool {
    let Bus::File { file, .. } = bus else { return true };
    std::fs::metadata(file).is_ok_and(|meta| meta.uid() == rustix::process::geteuid().as_raw())
}

/// How many records of each topic lie behind the positions of a processor.
fn behind(bus: &SharedBus, processor: &str) -> Option<String> {
    let saved = bus.load(processor).ok()?;
    let mut next: BTreeMap<Topic, BTreeMap<u32, u64>> = BTreeMap::new();
    for one in saved {
        if let Ok(topic) = one.entity.parse() {
            next.entry(topic).or_default().insert(one.partition, one.next);
        }
    }
    if next.is_empty() {
        return Some("it has no position yet".to_owned());
    }
    let mut parts = Vec::new();
    for (topic, next) in next {
        let ends = bus.ends(topic).ok()?;
        let left =
            (0..).zip(ends).map(|(partition, end)| end.saturating_sub(next.get(&partition).copied().unwrap_or(0)));
        parts.push(format!("{} of {topic}", left.sum::<u64>()));
    }
    Some(format!("records behind: {}", parts.join(", ")))
}

/// Tries a store of time series.
pub(super) fn examine(settings: &config::Store, position: Option<&String>) -> Finding {
    let check = format!("store {}", settings.name);
    let token = settings.token_file.as_ref().map(|file| {
        std::fs::read_to_string(file)
            .map_err(|error| format!("its token in {} cannot be read: {error}", file.display()))
    });
    let token = match token.transpose() {
        Ok(token) => token.unwrap_or_default(),
        Err(why) => return Finding::problem(check, why, COSTS, "let who runs millrace read the file"),
    };
    let tried = Way::new(&settings.url, &settings.api, token.trim(), settings.ca_file.as_deref());
    let (url, position) = (&settings.url, position.map_or_else(String::new, |position| format!("; {position}")));
    match tried.map(|way| way.send(&[])) {
        Ok(Ok(())) => {
            let certificate = if url.starts_with("https:") { ", its certificate is believed" } else { "" };
            Finding::ok(check, format!("{url} takes writes{certificate}{position}"))
        }
        // It was read, and that is what was to be found out.
        Ok(Err(Failed::Bad(_) | Failed::Late { .. })) => Finding::ok(check, format!("{url} answers{position}")),
        Ok(Err(Failed::Away { why, .. })) => {
            let remedy = remedy(&why);
            Finding::problem(check, format!("{url}: {why}{position}"), COSTS, remedy)
        }
        Err(error) => Finding::problem(check, error.to_string(), COSTS, "correct store.url or store.ca-file"),
    }
}

/// What to do about a store that takes nothing, by its own words or those of who tried to reach it.
fn remedy(why: &str) -> &'static str {
    if why.contains("certificate") {
        "let this host believe who signed its certificate (update-ca-certificates, or SSL_CERT_FILE for who runs millrace), or \
         name the file with who did in store.ca-file, and call the store as the certificate does"
    } else if why.contains("answers 401") || why.contains("answers 403") {
        "write a token that may write there into store.token-file"
    } else if why.contains("answers 404") {
        "make the bucket or database, or correct store.url and the keys beside it"
    } else {
        "start it, or correct store.url"
    }
}

/// Looks at the place of a lake.
pub(super) fn lake(settings: &config::Lake, position: Option<&String>) -> Finding {
    let check = format!("store {}", settings.name);
    let position = position.map_or_else(String::new, |position| format!("; {position}"));
    let bucket = match &settings.location {
        Location::Folder(folder) => {
            let mut finding = machine::folder(&check, folder);
            finding.found.push_str(&position);
            return finding;
        }
        Location::S3(bucket) => bucket,
    };
    let whole = format!("s3://{}/{}", bucket.name, bucket.prefix);
    match Place::open(&settings.location).and_then(|place| place.ask()) {
        Ok(()) => {
            Finding::ok(check, format!("{whole} answers (whether files may be written shows the first one){position}"))
        }
        Err(error) => Finding::problem(
            check,
            format!("{whole}: {error}{position}"),
            COSTS,
            "see that store.endpoint, the bucket and the credentials in store.credentials-file or the environment are right",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use millrace_sinks::store::Api;

    use super::super::Level;
    use super::*;

    #[test]
    fn what_is_to_be_done_goes_by_what_was_said() {
        for (why, part) in [
            ("client error: invalid peer certificate: UnknownIssuer", "believe who signed"),
            ("it answers 401: unauthorized", "token"),
            ("it answers 404: bucket not found", "make the bucket"),
            ("connection refused", "start it"),
        ] {
            assert!(remedy(why).contains(part), "{why}");
        }
    }

    #[test]
    fn a_store_that_is_away_or_whose_token_is_away_is_a_problem() {
        let (name, url) = ("vm".to_owned(), "http://127.0.0.1:9".to_owned());
        let store = config::Store { name, url, api: Api::Remote, token_file: None, ca_file: None, series: 2_000 };
        let found = examine(&store, Some(&"records behind: 3 of windows".to_owned()));
        assert!(found.level == Level::Problem && found.found.contains("refused"), "{found:?}");
        assert!(found.found.ends_with("; records behind: 3 of windows"), "{found:?}");
        let found = examine(&config::Store { token_file: Some("/nowhere/token".into()), ..store.clone() }, None);
        assert!(found.level == Level::Problem && found.found.contains("/nowhere/token"), "{found:?}");
        let found = examine(&config::Store { ca_file: Some("/nowhere/ca.pem".into()), ..store }, None);
        assert!(found.level == Level::Problem && found.found.contains("/nowhere/ca.pem"), "{found:?}");
    }

    #[test]
    fn the_folder_of_a_lake_is_looked_at_and_not_made() {
        let home = tempfile::tempdir().expect("a folder");
        let location = Location::Folder(home.path().join("lake"));
        let lake = config::Lake { name: "lake".to_owned(), location, roll_after: Duration::from_hours(1) };
        let found = super::lake(&lake, None);
        assert!(found.level != Level::Problem && found.found.contains("will be made"), "{found:?}");
        assert!(!home.path().join("lake").exists());
    }
}
