//! The pipeline over a real Kafka, with everything that goes wrong in a fleet. `make test-kafka` runs it with 10 kills and faults of
//! ten seconds, as a part of `make test`; `make prove-kafka` with 100 kills and faults of minutes. Each prints its books.

mod real_kafka;
