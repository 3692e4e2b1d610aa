//! What tests rely on when they use these brokers: that faults are faults, that healing heals, and that who may not is refused.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use super::*;
use crate::{WAIT_MAX, shared_kafka};

/// How long an answer is awaited that must not come.
const NO_ANSWER: Duration = Duration::from_millis(500);

fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("reconnect.backoff.max.ms", "100")
        // A client that asked who leads while nobody did yet would ask again after five minutes.
        .set("topic.metadata.refresh.interval.ms", "500");
    config
}

fn of(settings: &Settings) -> ClientConfig {
    let mut config = config(&settings["bootstrap.servers"]);
    for (name, value) in settings {
        config.set(*name, value);
    }
    config
}

async fn create(config: &ClientConfig, topic: &str, replicas: i32) {
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(WAIT_MAX)).request_timeout(Some(WAIT_MAX));
    let made =
        admin.create_topics(&[NewTopic::new(topic, 1, TopicReplication::Fixed(replicas))], &options).await.unwrap();
    assert_eq!(made, [Ok(topic.to_owned())]);
}

/// Produces one record, and returns what became of it.
async fn produce(config: &ClientConfig, topic: &str, payload: &str) -> Result<(), KafkaError> {
    let producer: BaseProducer = config.clone().set("acks", "all").create()?;
    producer.send(BaseRecord::<(), str>::to(topic).payload(payload)).map_err(|(error, _)| error)?;
    producer.flush(WAIT_MAX)?;
    // A record that was refused has left the queue as one that was taken; whether it is there tells them apart.
    let there = consume(config, topic).await?;
    if there.iter().any(|one| one == payload) {
        Ok(())
    } else {
        Err(KafkaError::MessageProduction(RDKafkaErrorCode::Fail))
    }
}

/// All that the only partition of `topic` holds.
async fn consume(config: &ClientConfig, topic: &str) -> Result<Vec<String>, KafkaError> {
    let consumer: BaseConsumer = config.clone().set("group.id", "nobody").create()?;
    let until = std::time::Instant::now() + WAIT_MAX;
    let (_, end) = loop {
        match consumer.fetch_watermarks(topic, 0, WAIT_MAX) {
            // The client's first connection is given up for those to the brokers by name: who asks right then asks again.
            Err(error)
                if matches!(
                    error.rdkafka_error_code(),
                    Some(RDKafkaErrorCode::DestroyBroker | RDKafkaErrorCode::BrokerTransportFailure)
                ) && std::time::Instant::now() < until =>
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            answer => break answer?,
        }
    };
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, 0, Offset::Beginning)?;
    consumer.assign(&assignment)?;
    let mut read = Vec::new();
    while (read.len() as i64) < end {
        let message = match consumer.poll(WAIT_MAX).expect("a record that is there is delivered") {
            // One broker of several is away, and the others have the record.
            Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::BrokerTransportFailure) => continue,
            message => message?,
        };
        read.push(String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned());
    }
    Ok(read)
}

/// How many topics are seen, if anybody answers.
fn topics(config: &ClientConfig, within: Duration) -> Result<usize, KafkaError> {
    let consumer: BaseConsumer = config.create()?;
    Ok(consumer.fetch_metadata(None, within)?.topics().len())
}

#[tokio::test]
async fn one_that_was_killed_or_paused_comes_back_with_its_records() {
    let mut kafka = Kafka::start(&KafkaOptions::default()).await;
    let open = config(kafka.bootstrap());
    create(&open, "kept", 1).await;
    produce(&open, "kept", "before").await.unwrap();
    kafka.kill9(1);
    assert!(topics(&open, NO_ANSWER).is_err(), "killed, and it answers");
    kafka.start_again(1).await;
    assert_eq!(consume(&open, "kept").await.unwrap(), ["before"]);
    kafka.pause(1).await;
    assert!(topics(&open, NO_ANSWER).is_err(), "paused, and it answers");
    kafka.resume(1);
    assert_eq!(consume(&open, "kept").await.unwrap(), ["before"]);
    kafka.stop(1).await;
    kafka.start_again(1).await;
    assert_eq!(consume(&open, "kept").await.unwrap(), ["before"]);
}

#[tokio::test]
async fn through_the_proxies_nothing_goes_round_them() {
    let kafka = Kafka::start(&KafkaOptions::default()).await;
    let proxies = kafka.proxies();
    let slow = config(kafka.bootstrap_proxied());
    create(&slow, "proxied", 1).await;
    produce(&slow, "proxied", "one").await.unwrap();
    assert!(proxies[0].bytes().0 > 0, "what was produced did not pass the proxy");
    proxies[0].cut();
    assert!(topics(&slow, NO_ANSWER).is_err(), "cut off, and it answers");
    proxies[0].heal();
    assert_eq!(consume(&slow, "proxied").await.unwrap(), ["one"]);
}

#[tokio::test]
async fn who_was_granted_nothing_sees_nothing_until_it_is() {
    let kafka = Kafka::start(&KafkaOptions { open: false, ..KafkaOptions::default() }).await;
    create(&of(&kafka.with_certificate("admin")), "guarded", 1).await;
    assert_eq!(topics(&of(&kafka.with_password("admin")), WAIT_MAX).unwrap(), 1);
    // By certificate, by password, or by neither.
    let agent = of(&kafka.with_password("agent"));
    for config in [&of(&kafka.with_certificate("agent")), &agent, &of(&kafka.plain())] {
        assert_eq!(topics(config, WAIT_MAX).unwrap(), 0);
    }
    let lists = tempfile::tempdir().unwrap();
    let list = lists.path().join("agent.acls");
    std::fs::write(&list, "allow agent read,write topic guard* # both\n\nallow agent read group nobody\n").unwrap();
    kafka.grant(&[list]);
    produce(&agent, "guarded", "by password").await.unwrap();
    produce(&of(&kafka.with_certificate("agent")), "guarded", "by certificate").await.unwrap();
    assert_eq!(topics(&of(&kafka.with_password("stranger")), WAIT_MAX).unwrap(), 0);
    // Who is not who it says.
    let mut guessed = kafka.with_password("agent");
    guessed.insert("sasl.password", "guessed".into());
    for refused in [guessed, kafka.with_certificate("foreign-agent"), kafka.with_certificate("expired-agent")] {
        assert!(topics(&of(&refused), NO_ANSWER * 4).is_err(), "{refused:?} is let in");
    }
}

#[tokio::test]
async fn a_broker_that_is_not_the_one_named_gets_no_client() {
    for certificate in ["wrong-host", "expired"] {
        let kafka = Kafka::start(&KafkaOptions { certificate, ..KafkaOptions::default() }).await;
        let client = of(&kafka.with_certificate("admin"));
        assert!(topics(&client, NO_ANSWER * 4).is_err(), "a broker with the certificate {certificate} is believed");
        assert!(topics(&config(kafka.bootstrap()), WAIT_MAX).is_ok(), "the broker does not run at all");
    }
}

#[tokio::test]
async fn the_shared_one_lets_everybody_do_everything() {
    let topic = format!("shared-{}", std::process::id());
    let open = config(shared_kafka());
    create(&open, &topic, 1).await;
    produce(&open, &topic, "one").await.unwrap();
}
