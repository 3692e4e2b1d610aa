//! Prometheus' remote write, version 1 (<https://prometheus.io/docs/specs/prw/remote_write_spec/>): points enter, protobuf leaves. Each point is
//! one or more whole `timeseries` of a `WriteRequest`, so that a request is points one after the other. A series is named
//! `MEASUREMENT_FIELD`, as stores name it that take the line protocol and answer PromQL; times are whole milliseconds.

use std::fmt::Write as _;

use prost::Message;

use crate::line::{Point, Refused};

/// What a request says of its body.
pub(crate) const HEADERS: [(&str, &str); 3] = [
    ("content-type", "application/x-protobuf"),
    ("content-encoding", "snappy"),
    ("x-prometheus-remote-write-version", "0.1.0"),
];

/// The label that holds the name of a series.
const NAME: &str = "__name__";

/// The fields of the specification that are used here, under its numbers.
#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

/// Appends the series of `point`. One that is refused leaves `out` as it was.
pub(crate) fn encode(point: &Point, out: &mut Vec<u8>) -> Result<(), Refused> {
    if point.fields.is_empty() {
        return Err(Refused::NoField);
    }
    if let Some((field, _)) = point.fields.iter().find(|(_, value)| !value.is_finite()) {
        return Err(Refused::NotANumber(field));
    }
    let series = |(field, value): &(&str, f64)| {
        let given = point.labels.iter().filter(|(_, value)| !value.is_empty());
        let mut labels: Vec<Label> =
            given.map(|(name, value)| Label { name: (*name).to_owned(), value: value.clone() }).collect();
        labels.push(Label { name: NAME.to_owned(), value: format!("{}_{field}", point.measurement) });
        // The specification wants them in the order of their names.
        labels.sort_by(|one, other| one.name.cmp(&other.name));
        TimeSeries { labels, samples: vec![Sample { value: *value, timestamp: point.at.0.div_euclid(1_000) }] }
    };
    let request = WriteRequest { timeseries: point.fields.iter().map(series).collect() };
    out.extend(request.encode_to_vec());
    Ok(())
}

/// As it is sent.
pub(crate) fn packed(points: &[u8]) -> Vec<u8> {
    let packed = snap::raw::Encoder::new().compress_vec(points);
    packed.expect("a request is 1 MiB or one point, and blocks of up to 4 GiB can be packed")
}

/// As Prometheus writes series.
pub(crate) fn show(point: &[u8]) -> String {
    let Ok(request) = WriteRequest::decode(point) else { return "(not a point)".to_owned() };
    let mut text = String::new();
    for series in &request.timeseries {
        let (name, labels): (Vec<_>, Vec<_>) = series.labels.iter().partition(|label| label.name == NAME);
        let labels: Vec<String> = labels.iter().map(|label| format!("{}={:?}", label.name, label.value)).collect();
        let name = name.first().map_or("", |label| label.value.as_str());
        for sample in &series.samples {
            let between = if text.is_empty() { "" } else { "; " };
            let _ = write!(text, "{between}{name}{{{}}} {} {}", labels.join(","), sample.value, sample.timestamp);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use millrace_schemas::time::Timestamp;

    use super::*;

    #[test]
    fn points_are_whole_series_that_can_follow_each_other() {
        let labels = vec![("user", "a \"b\"\n".to_owned()), ("cluster", "shop".to_owned()), ("none", String::new())];
        let point = Point {
            measurement: "millrace_load",
            labels,
            fields: vec![("queries", 1.5), ("errors", 2.0)],
            at: Timestamp(1_999),
        };
        let mut bytes = Vec::new();
        encode(&point, &mut bytes).expect("a point");
        let one = bytes.len();
        encode(&point, &mut bytes).expect("a point");
        let request = WriteRequest::decode(&bytes[..]).expect("protobuf");
        assert_eq!(request.timeseries.len(), 4);
        let names: Vec<_> = request.timeseries[0].labels.iter().map(|label| label.name.as_str()).collect();
        assert_eq!(names, [NAME, "cluster", "user"], "in order, and none that is empty");
        assert_eq!(
            show(&bytes[..one]),
            "millrace_load_queries{cluster=\"shop\",user=\"a \\\"b\\\"\\n\"} 1.5 1; \
             millrace_load_errors{cluster=\"shop\",user=\"a \\\"b\\\"\\n\"} 2 1"
        );
        let unpacked = snap::raw::Decoder::new().decompress_vec(&packed(&bytes)).expect("packed");
        assert_eq!(unpacked, bytes);
    }

    #[test]
    fn what_is_no_number_is_refused_and_leaves_nothing() {
        let point = |fields| Point { measurement: "m", labels: Vec::new(), fields, at: Timestamp(0) };
        let mut bytes = Vec::new();
        assert_eq!(encode(&point(vec![("f", f64::NAN)]), &mut bytes), Err(Refused::NotANumber("f")));
        assert_eq!(encode(&point(Vec::new()), &mut bytes), Err(Refused::NoField));
        assert!(bytes.is_empty());
    }
}
