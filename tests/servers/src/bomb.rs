//! A batch of records that is far larger than it looks: what a careless or hostile producer can give to a broker, which looks at
//! the compressed size alone.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

/// 100 records of 1 MiB of zeros.
const RECORDS: usize = 100;
const RECORD_BYTES: usize = 1 << 20;

/// Produces the batch to a partition of `topic`; how many bytes it holds.
pub fn bomb(bootstrap: &str, topic: &str, partition: u32) -> usize {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("compression.type", "zstd").set("linger.ms", "2000");
    config.set("message.max.bytes", "500000000").set("batch.size", "500000000").set("acks", "all");
    config.set("queue.buffering.max.kbytes", "1000000");
    let producer: BaseProducer = config.create().expect("a producer");
    let zeros = vec![0_u8; RECORD_BYTES];
    for _ in 0..RECORDS {
        let record = BaseRecord::<str, [u8]>::to(topic).partition(partition as i32).key("bomb").payload(&zeros);
        producer.send(record).map_err(|(error, _)| error).expect("it fits into the producer's buffer");
    }
    producer.flush(Duration::from_mins(1)).expect("the broker takes what looks small");
    assert_eq!(producer.in_flight_count(), 0, "the broker has it");
    RECORDS * RECORD_BYTES
}
