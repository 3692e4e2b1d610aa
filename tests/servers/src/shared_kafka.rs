//! The Kafka that the tests of one binary share, each with topics of its own. In: `MILLRACE_KAFKA`, if set. Out: where it listens.
//! Who needs a fault or grants starts a [`Kafka`] of its own instead.

use std::net::TcpStream;
use std::sync::OnceLock;
use std::sync::mpsc::channel;

use crate::kafka::{Kafka, KafkaOptions};

/// `bootstrap.servers` of a broker on which everything is allowed: the one that `MILLRACE_KAFKA=host:port` names, else one that the
/// first caller starts and that ends with the process. Blocks for the seconds that the start takes.
pub fn shared_kafka() -> &'static str {
    static SHARED: OnceLock<String> = OnceLock::new();
    SHARED.get_or_init(|| match std::env::var("MILLRACE_KAFKA").as_deref() {
        Err(_) | Ok("") => start_one(),
        Ok("none") => panic!(
            "MILLRACE_KAFKA=none, and a test that needs Kafka was run: it must lie in a module called real_kafka, which \
             scripts/test.sh then leaves out and counts"
        ),
        Ok(other) => {
            if let Err(error) = TcpStream::connect(other) {
                panic!("MILLRACE_KAFKA={other}: {error}; start it, or unset the variable to have one started here");
            }
            other.to_owned()
        }
    })
}

/// A thread keeps it, since a runtime of a test ends with the test.
fn start_one() -> String {
    let (ready, started) = channel();
    let keeper = move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
        let kafka = runtime.block_on(Kafka::start(&KafkaOptions::default()));
        ready.send(kafka.bootstrap().to_owned()).expect("the caller waits for the answer");
        loop {
            std::thread::park();
        }
    };
    std::thread::Builder::new().name("shared kafka".into()).spawn(keeper).expect("a thread can be started");
    // A panic of the thread has said what is wrong.
    started.recv().expect("the shared Kafka starts")
}
