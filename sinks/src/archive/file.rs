//! One file of the archive: records enter, a Parquet file appears whole or not at all. Its bytes depend on the records and
//! nothing else: no time, no host, no version of this program.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use millrace_schemas::record::Record;
use millrace_schemas::topics::Topic;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

/// 3, zstd's own default: the journal shrinks about tenfold and costs little to write.
const ZSTD_LEVEL: i32 = 3;
/// Digits of an offset in a file name: `u64::MAX` has 20, and names must sort.
const DIGITS: usize = 20;
/// What follows the name while a file is being written.
const UNFINISHED: &str = ".unfinished";

/// What is wrong with the archive.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system would not.
    #[error("{} could not be {what}: {error}", path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What it said.
        error: std::io::Error,
    },
    /// A file is no file of this archive, or is damaged.
    #[error("{}: {problem}; restore the file, or move it away to go on without its records", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
    /// A row of a file is not what it should be.
    #[error("{}, row {row}: {problem}; restore the file, or move it away to go on without its records", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The row, from 0.
        row: u64,
        /// What was found.
        problem: String,
    },
    /// The records do not fit the format.
    #[error("{} could not be written: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the writer said.
        problem: String,
    },
}

pub(super) fn io(path: &Path, what: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |error| Error::Io { path, what, error }
}

/// The offsets that a file stands for, as its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// The first.
    pub(super) from: u64,
    /// The first after it.
    pub(super) to: u64,
    /// The range is not whole.
    pub(super) open: bool,
}

impl Span {
    fn name(self) -> String {
        let open = if self.open { ".open" } else { "" };
        format!("{:0DIGITS$}-{:0DIGITS$}{open}.parquet", self.from, self.to)
    }

    fn of(name: &str) -> Option<Self> {
        let stem = name.strip_suffix(".parquet")?;
        let (stem, open) = stem.strip_suffix(".open").map_or((stem, false), |stem| (stem, true));
        let (from, to) = stem.split_once('-')?;
        let number = |text: &str| (text.len() == DIGITS).then(|| text.parse().ok()).flatten();
        let span = Self { from: number(from)?, to: number(to)?, open };
        (span.from <= span.to).then_some(span)
    }
}

/// Where the files of a partition are.
pub(super) fn folder(dir: &Path, topic: Topic, partition: u32) -> PathBuf {
    dir.join(topic.name()).join(partition.to_string())
}

pub(super) fn create_dir(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(io(path, "made"))
}

/// The files of a folder by their spans, in order; what has another name is let be.
pub(super) fn spans(folder: &Path) -> Result<Vec<(Span, PathBuf)>, Error> {
    let mut found: Vec<(Span, PathBuf)> =
        names(folder)?.into_iter().filter_map(|name| Span::of(&name).map(|span| (span, folder.join(name)))).collect();
    found.sort_by_key(|(span, _)| (span.from, span.open, std::cmp::Reverse(span.to)));
    Ok(found)
}

fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(io(folder, "listed"))? {
        names.push(entry.map_err(io(folder, "listed"))?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

/// Removes what a killed writer left.
pub(super) fn remove_unfinished(folder: &Path) -> Result<(), Error> {
    for name in names(folder)?.into_iter().filter(|name| name.ends_with(UNFINISHED)) {
        let path = folder.join(name);
        fs::remove_file(&path).map_err(io(&path, "removed"))?;
    }
    Ok(())
}

/// Removes open files of the range that starts at `from`, except `keep`.
pub(super) fn remove_open(folder: &Path, from: u64, keep: Option<&Path>) -> Result<(), Error> {
    for (span, path) in spans(folder)? {
        if span.open && span.from == from && Some(path.as_path()) != keep {
            fs::remove_file(&path).map_err(io(&path, "removed"))?;
        }
    }
    Ok(())
}

/// Writes the file of a span: aside, synced, renamed, the folder synced.
pub(super) fn write(folder: &Path, span: Span, records: &[Record]) -> Result<PathBuf, Error> {
    create_dir(folder)?;
    let path = folder.join(span.name());
    let aside = folder.join(format!("{}{UNFINISHED}", span.name()));
    let file = File::create(&aside).map_err(io(&aside, "made"))?;
    let file = fill(file, records).map_err(|problem| Error::Format { path: aside.clone(), problem })?;
    file.sync_all().map_err(io(&aside, "synced"))?;
    fs::rename(&aside, &path).map_err(io(&path, "renamed"))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io(folder, "synced"))?;
    Ok(path)
}

fn fill(file: File, records: &[Record]) -> Result<File, String> {
    let level = ZstdLevel::try_new(ZSTD_LEVEL).map_err(|error| error.to_string())?;
    let properties = WriterProperties::builder()
        .set_created_by("millrace".to_owned())
        .set_compression(Compression::ZSTD(level))
        .build();
    let batch = batch(records)?;
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).map_err(|error| error.to_string())?;
    writer.write(&batch).map_err(|error| error.to_string())?;
    writer.into_inner().map_err(|error| error.to_string())
}

/// The schema of every file; the topic and the partition are in the path.
pub(super) fn schema() -> Schema {
    Schema::new(vec![
        Field::new("offset", DataType::UInt64, false),
        Field::new("appended", DataType::Int64, false),
        Field::new("key", DataType::Utf8, false),
        Field::new("headers", DataType::Utf8, false),
        Field::new("value", DataType::Binary, true),
    ])
}

fn batch(records: &[Record]) -> Result<RecordBatch, String> {
    let headers = records
        .iter()
        .map(|record| serde_json::to_string(&record.headers).map_err(|error| error.to_string()))
        .collect::<Result<Vec<String>, String>>()?;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(records.iter().map(|record| Some(record.offset)).collect::<UInt64Array>()),
        Arc::new(records.iter().map(|record| Some(record.appended.0)).collect::<Int64Array>()),
        Arc::new(StringArray::from_iter_values(records.iter().map(|record| record.key.as_str()))),
        Arc::new(StringArray::from_iter_values(headers)),
        Arc::new(records.iter().map(|record| record.value.as_deref()).collect::<BinaryArray>()),
    ];
    RecordBatch::try_new(Arc::new(schema()), columns).map_err(|error| error.to_string())
}
