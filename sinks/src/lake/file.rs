//! One Parquet file: columns enter, bytes leave, which depend on the columns and nothing else. Whole numbers are signed, because not
//! every reader has others.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

/// 3, zstd's own default: numbers of windows shrink to a third, and it costs little to write.
const ZSTD_LEVEL: i32 = 3;

/// Columns of the same length, in order.
#[derive(Default)]
pub(super) struct Columns {
    fields: Vec<Field>,
    arrays: Vec<ArrayRef>,
}

impl Columns {
    fn add(mut self, name: &str, kind: DataType, nullable: bool, array: ArrayRef) -> Self {
        self.fields.push(Field::new(name, kind, nullable));
        self.arrays.push(array);
        self
    }

    /// Times, in microseconds since 1970-01-01 UTC.
    pub(super) fn time(self, name: &str, values: impl Iterator<Item = i64>) -> Self {
        let array = TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC");
        self.add(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false, Arc::new(array))
    }

    pub(super) fn text<'a>(self, name: &str, values: impl Iterator<Item = &'a str>) -> Self {
        self.add(name, DataType::Utf8, false, Arc::new(StringArray::from_iter_values(values)))
    }

    pub(super) fn small(self, name: &str, values: impl Iterator<Item = u32>) -> Self {
        let array = Int32Array::from_iter_values(values.map(|value| i32::try_from(value).unwrap_or(i32::MAX)));
        self.add(name, DataType::Int32, false, Arc::new(array))
    }

    pub(super) fn number(self, name: &str, values: impl Iterator<Item = u64>) -> Self {
        let array = Int64Array::from_iter_values(values.map(signed));
        self.add(name, DataType::Int64, false, Arc::new(array))
    }

    /// Numbers that are not known of each row.
    pub(super) fn maybe(self, name: &str, values: impl Iterator<Item = Option<u64>>) -> Self {
        let array = values.map(|value| value.map(signed)).collect::<Int64Array>();
        self.add(name, DataType::Int64, true, Arc::new(array))
    }

    pub(super) fn bytes<'a>(self, name: &str, values: impl Iterator<Item = &'a [u8]>) -> Self {
        self.add(name, DataType::Binary, false, Arc::new(BinaryArray::from_iter_values(values)))
    }

    /// As a file.
    pub(super) fn file(self) -> Result<Vec<u8>, String> {
        let batch = RecordBatch::try_new(Arc::new(Schema::new(self.fields)), self.arrays).map_err(said)?;
        let properties = WriterProperties::builder()
            .set_created_by("millrace".to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL).map_err(said)?))
            .build();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).map_err(said)?;
        writer.write(&batch).map_err(said)?;
        writer.into_inner().map_err(said)
    }
}

/// No counter comes near the highest signed number.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}
