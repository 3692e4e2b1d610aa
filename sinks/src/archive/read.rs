//! Reads the archive of one partition: files enter, records leave in order of their offsets, each once. Where files overlap
//! (an open range that was exported several times, and made whole later) the whole one counts, then the longest. What cannot
//! be read is an error that names the file and the row; it is never skipped.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use arrow::array::{Array, BinaryArray, Int64Array, RecordBatch, StringArray, UInt64Array};
use millrace_schemas::record::{Bytes, Record};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::file::{Error, folder, io, spans};

/// The partitions of a topic that the archive in `dir` holds, in order; none when the topic is not there.
pub fn partitions(dir: &Path, topic: Topic) -> Result<Vec<u32>, Error> {
    let path = dir.join(topic.name());
    let entries = match fs::read_dir(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io(&path, "listed"))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(io(&path, "listed"))?.file_name();
        found.extend(name.to_string_lossy().parse::<u32>().ok());
    }
    found.sort_unstable();
    Ok(found)
}

/// All archived records of a partition; none when it is not there. The iterator ends after an error.
pub fn read(dir: &Path, topic: Topic, partition: u32) -> Result<Records, Error> {
    let folder = folder(dir, topic, partition);
    let files = if folder.is_dir() { spans(&folder)? } else { Vec::new() };
    let files = files.into_iter().map(|(_, path)| path).collect();
    Ok(Records { topic, partition, files, current: None, batch: VecDeque::new(), next: 0 })
}

/// The records of a partition, in order.
#[derive(Debug)]
pub struct Records {
    topic: Topic,
    partition: u32,
    files: VecDeque<PathBuf>,
    current: Option<Current>,
    batch: VecDeque<Record>,
    /// Records below are had.
    next: u64,
}

struct Current {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
    row: u64,
    /// The last offset of this file.
    last: Option<u64>,
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Current").field("path", &self.path).field("row", &self.row).finish_non_exhaustive()
    }
}

impl Iterator for Records {
    type Item = Result<Record, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            while let Some(record) = self.batch.pop_front() {
                if record.offset >= self.next {
                    self.next = record.offset + 1;
                    return Some(Ok(record));
                }
            }
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.files.clear();
                    self.current = None;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Records {
    /// Reads the next batch; false at the end.
    fn advance(&mut self) -> Result<bool, Error> {
        let Some(current) = &mut self.current else {
            let Some(path) = self.files.pop_front() else { return Ok(false) };
            self.current = Some(open(path)?);
            return Ok(true);
        };
        let Some(batch) = current.reader.next() else {
            self.current = None;
            return Ok(true);
        };
        let batch = batch.map_err(|error| Error::Row {
            path: current.path.clone(),
            row: current.row,
            problem: error.to_string(),
        })?;
        self.batch = records(self.topic, self.partition, current, &batch)?;
        Ok(true)
    }
}

fn open(path: PathBuf) -> Result<Current, Error> {
    let damaged = |problem: String| Error::Damaged { path: path.clone(), problem };
    let file = File::open(&path).map_err(io(&path, "opened"))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(ParquetRecordBatchReaderBuilder::build)
        .map_err(|error| damaged(error.to_string()))?;
    Ok(Current { path, reader, row: 0, last: None })
}

fn records(
    topic: Topic,
    partition: u32,
    current: &mut Current,
    batch: &RecordBatch,
) -> Result<VecDeque<Record>, Error> {
    let path = current.path.clone();
    let offset: &UInt64Array = column(&path, batch, "offset")?;
    let appended: &Int64Array = column(&path, batch, "appended")?;
    let (key, headers): (&StringArray, &StringArray) = (column(&path, batch, "key")?, column(&path, batch, "headers")?);
    let value: &BinaryArray = column(&path, batch, "value")?;
    let mut records = VecDeque::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        let bad = |problem: String| Error::Row { path: path.clone(), row: current.row, problem };
        let at = offset.value(row);
        if let Some(last) = current.last.filter(|last| at <= *last) {
            return Err(bad(format!("offset {at} follows offset {last}")));
        }
        let headers = serde_json::from_str(headers.value(row)).map_err(|error| bad(format!("headers: {error}")))?;
        records.push_back(Record {
            topic,
            partition,
            offset: at,
            appended: Timestamp(appended.value(row)),
            key: key.value(row).to_owned(),
            headers,
            value: (!value.is_null(row)).then(|| Bytes::copy_from_slice(value.value(row))),
        });
        current.last = Some(at);
        current.row += 1;
    }
    Ok(records)
}

fn column<'a, A: Array + 'static>(path: &Path, batch: &'a RecordBatch, name: &str) -> Result<&'a A, Error> {
    let found = batch.column_by_name(name).and_then(|array| array.as_any().downcast_ref());
    found.ok_or_else(|| {
        let problem = format!("it has no column '{name}' of the type that the archive writes");
        Error::Damaged { path: path.to_owned(), problem }
    })
}
