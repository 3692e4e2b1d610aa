//! Clients of the servers: writes, reads, sorts, errors and something slow, in the clear over TCP.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millrace_executors::hands::files::{Instance, TemplateAccount};
use millrace_test_servers::Server;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};

/// 30 ms between statements: some hundred in a window, and the machine has other work.
const EVERY: Duration = Duration::from_millis(30);

/// What is sent in turn; the last one fails.
const STATEMENTS: [&str; 7] = [
    "SELECT SLEEP(0.6) FROM (SELECT COUNT(*) FROM panels) one", // over the limit of the slow logs
    "INSERT INTO panels(text) VALUES('a text')",
    "SELECT * FROM panels ORDER BY text DESC, id LIMIT 5",
    "UPDATE panels SET text = 'another' ORDER BY id DESC LIMIT 1",
    "SELECT text, COUNT(*) FROM panels GROUP BY text",
    "DELETE FROM panels ORDER BY id LIMIT 1",
    "SELECT nothing FROM panels",
];

/// Clients, until they are told to end.
pub(super) struct Loads {
    stop: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Loads {
    pub(super) async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("no panic");
        }
    }
}

/// A client of each server.
pub(super) async fn start(primary: &Instance, maria: &Server) -> Loads {
    let stop: Arc<AtomicBool> = Arc::default();
    let template = maria.template();
    let first = connect(primary.port, &primary.accounts.application, &primary.dir).await;
    let second = connect(maria.port(), &template.accounts.application, &template.folder).await;
    let clients = [first, second].map(|client| tokio::spawn(work(client, Arc::clone(&stop)))).into();
    Loads { stop, clients }
}

async fn connect(port: u16, account: &TemplateAccount, folder: &Path) -> Conn {
    let password = account.password(folder).expect("readable");
    let options = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port).prefer_socket(false);
    let options = options
        .user(Some(account.user.clone()))
        .pass(Some(password))
        .db_name(account.schema.clone().or_else(|| Some("shop".to_owned())));
    let mut client = Conn::new(options).await.expect("it lets applications in");
    client
        .query_drop("CREATE TABLE IF NOT EXISTS panels(id INT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(40))")
        .await
        .expect("a table");
    client
}

async fn work(mut client: Conn, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        for statement in STATEMENTS {
            let done = client.query_drop(statement).await;
            assert_eq!(done.is_err(), statement.contains("nothing"), "{statement}: {done:?}");
            tokio::time::sleep(EVERY).await;
        }
    }
    let _ = client.disconnect().await;
}
