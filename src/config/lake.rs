//! `[[store]]` of kind "parquet": where windows and slow statements are written as files for other programs. In: a section. Out: a lake,
//! or every problem with its line. Credentials are never in it.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use millrace_sinks::lake::place::{Bucket, Location};
use reqwest::Url;

use super::read::{Problems, Section};

/// 1 h: a cluster then has 24 files and some for late rows a day, and who looks at files can wait that long.
const ROLL_AFTER: Duration = Duration::from_hours(1);
/// From 1 s (for who tries it out) to a day: the bus keeps what is not in files yet for 7.
const ROLLS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);

/// Files of a day and cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lake {
    /// Its name: positions and metrics are kept under it.
    pub name: String,
    /// Where its files are.
    pub location: Location,
    /// How long rows are gathered for a file.
    pub roll_after: Duration,
}

/// The keys of this kind, beside those of all.
pub(super) const KEYS: [&str; 5] = ["endpoint", "region", "credentials-file", "ca-file", "roll-after"];

/// Reads what is special of this kind.
pub(super) fn read(name: Option<String>, section: &mut Section<'_, '_>, problems: &mut Problems<'_>) -> Option<Lake> {
    let at = section.at_key("url");
    let location = section.parsed("url", problems, located);
    let endpoint = section.optional("endpoint", problems, endpoint);
    let region = section.text("region", problems).map(|(text, _)| text);
    let credentials_file = section.path("credentials-file", problems);
    let ca_file = section.path("ca-file", problems);
    let roll_after = section.duration_in("roll-after", ROLLS, problems).unwrap_or(ROLL_AFTER);
    let location = match location? {
        Place::Bucket { name, prefix } => {
            Location::S3(Bucket { name, prefix, endpoint, region, credentials_file, ca_file })
        }
        Place::Folder(_)
            if endpoint.is_some() || region.is_some() || credentials_file.is_some() || ca_file.is_some() =>
        {
            problems
                .note(at, "store.url is a folder: endpoint, region, credentials-file and ca-file are of s3:// alone");
            return None;
        }
        Place::Folder(folder) => Location::Folder(folder),
    };
    Some(Lake { name: name?, location, roll_after })
}

/// What an address says.
enum Place {
    Folder(PathBuf),
    Bucket { name: String, prefix: String },
}

fn located(text: &str) -> Result<Place, String> {
    let example = "\"file:///var/lib/millrace/lake\" and \"s3://bucket/prefix\" are examples";
    let url = Url::parse(text).map_err(|error| format!("\"{text}\": {error}; {example}"))?;
    match (url.scheme(), url.host_str()) {
        ("file", None) if url.path().len() > 1 => {
            let folder = url.to_file_path().map_err(|()| format!("\"{text}\" is no folder; {example}"))?;
            Ok(Place::Folder(folder))
        }
        ("s3", Some(bucket)) if url.username().is_empty() && url.password().is_none() => {
            Ok(Place::Bucket { name: bucket.to_owned(), prefix: url.path().trim_matches('/').to_owned() })
        }
        ("s3", Some(_)) => Err("credentials are in a file or the environment, never here".to_owned()),
        _ => Err(format!("\"{text}\" is no place for files; {example}")),
    }
}

fn endpoint(text: &str) -> Result<String, String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.host().is_some() => Ok(text.to_owned()),
        _ => Err(format!("\"{text}\" is no address; \"https://minio.example.org:9000\" is an example")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    const BUS: &str = "[bus]\nfile = \"b.db\"\n[[store]]\nname = \"a\"\nkind = \"parquet\"\n";

    #[test]
    fn a_folder_and_a_bucket_are_read() {
        let lake = |lines: &str| parse(&format!("{BUS}{lines}")).expect("right").lakes.remove(0);
        let folder = lake("url = \"file:///var/lib/millrace/lake\"\n");
        assert_eq!(folder.location, Location::Folder(PathBuf::from("/var/lib/millrace/lake")));
        assert_eq!((folder.name.as_str(), folder.roll_after), ("a", ROLL_AFTER));
        let s3 = lake(
            "url = \"s3://b/x/y/\"\nendpoint = \"http://h:9000\"\nregion = \"r\"\ncredentials-file = \"c\"\nca-file = \"ca\"\nroll-after = \"5m\"\n",
        );
        let bucket = Bucket {
            name: "b".to_owned(),
            prefix: "x/y".to_owned(),
            endpoint: Some("http://h:9000".to_owned()),
            region: Some("r".to_owned()),
            credentials_file: Some(PathBuf::from("c")),
            ca_file: Some(PathBuf::from("ca")),
        };
        assert_eq!((s3.location, s3.roll_after), (Location::S3(bucket), Duration::from_mins(5)));
    }

    #[test]
    fn what_is_wrong_with_a_lake_is_told_with_its_line() {
        let check = |lines: &str, expected: &[(usize, &str)]| {
            let problems = parse(&format!("{BUS}{lines}")).err().unwrap_or_default();
            assert_eq!(problems.len(), expected.len(), "{lines}\n{problems:#?}");
            for (problem, (line, what)) in problems.iter().zip(expected) {
                assert!(problem.line == *line && problem.what.contains(what), "{what} in line {line}: {problem:?}");
            }
        };
        check("url = \"http://h\"\nroll-after = \"8d\"\n", &[(6, "no place for files"), (7, "is no time from")]);
        check("url = \"s3://key:secret@b\"\n", &[(6, "never here")]);
        check("url = \"file:///\"\n", &[(6, "no place")]);
        check("url = \"file:///l\"\nregion = \"r\"\nbucket = \"b\"\n", &[(6, "s3:// alone"), (8, "bucket")]);
        check("", &[(3, "needs url")]);
    }
}
