//! Asks servers whose the connections are that had begun before the capture: packets do not say it any more. A server is asked only
//! while there are such connections, and about each of them three times at most.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use millrace_collectors::wire::{Named, Unnamed};
use millrace_mysql::Error;
use millrace_mysql::sessions::{self, Client};

use super::{Agent, Place, stopped};

/// 5 s: within a window of ten seconds most of its statements have names.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// Asked three times in vain, a connection has ended, or the account may not see it.
const ASKED_MAX: u8 = 3;

pub(super) async fn run(agent: Arc<Agent>, place: Place) {
    let mut asked: HashMap<u64, u8> = HashMap::new();
    let mut stop = agent.stop.clone();
    loop {
        tokio::select! {
            () = tokio::time::sleep(ASK_EVERY) => {}
            () = stopped(&mut stop) => return,
        }
        let mut unnamed = agent.watched.unnamed();
        unnamed.retain(|one| one.instance == place.instance);
        // Who has got a name, or has ended, is not asked about again.
        asked.retain(|number, _| unnamed.iter().any(|one| one.number == *number));
        unnamed.retain(|one| asked.get(&one.number).is_none_or(|times| *times < ASKED_MAX));
        if unnamed.is_empty() {
            continue;
        }
        match clients(&place).await {
            Ok(clients) => {
                for one in &unnamed {
                    *asked.entry(one.number).or_default() += 1;
                }
                agent.watched.name(unnamed.into_iter().filter_map(|one| named(one, &clients)));
            }
            // The heartbeat says so already.
            Err(error) => tracing::debug!(instance = %place.instance, %error, "sessions cannot be listed"),
        }
    }
}

async fn clients(place: &Place) -> Result<Vec<Client>, Error> {
    let mut session = place.log_in.open().await?;
    let clients = sessions::over_tcp(&mut session).await;
    session.close().await;
    clients
}

/// The session behind a connection: that from its address and port, or where the server calls hosts by their names, the only one
/// from its port.
fn named(of: Unnamed, clients: &[Client]) -> Option<Named> {
    let port = of.client.port();
    let from_port = clients.iter().filter_map(|client| {
        let (host, from) = client.host.rsplit_once(':')?;
        (from.parse() == Ok(port)).then_some((host, client))
    });
    let from_port: Vec<(&str, &Client)> = from_port.collect();
    let address = |host: &str| host.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    let same = |(host, _): &&(&str, &Client)| address(host) == Some(of.client.ip().to_canonical());
    let found = from_port.iter().find(same).or_else(|| match &from_port[..] {
        [only] if address(only.0).is_none() => Some(only),
        _ => None,
    });
    let (_, client) = *found?;
    Some(Named { thread: client.id, user: client.user.clone(), schema: client.schema.clone(), of })
}

#[cfg(test)]
mod tests {
    use millrace_schemas::ids::InstanceId;

    use super::*;

    fn user(client: &str, hosts: &[&str]) -> Option<String> {
        let client_of = |(id, host): (usize, &&str)| Client {
            id: id as u32,
            user: format!("u{id}"),
            host: (*host).to_owned(),
            schema: None,
        };
        let clients: Vec<Client> = hosts.iter().enumerate().map(client_of).collect();
        let of = Unnamed {
            number: 1,
            instance: InstanceId::parse("db1").expect("legal"),
            client: client.parse().expect("an address"),
            server: "10.0.0.2:3306".parse().expect("an address"),
        };
        named(of, &clients).map(|named| named.user)
    }

    #[test]
    fn a_session_is_found_by_where_it_comes_from() {
        let hosts = ["10.0.0.1:40001", "10.0.0.9:40000", "10.0.0.1:40000", "::1:5000"];
        assert_eq!(user("10.0.0.1:40000", &hosts).as_deref(), Some("u2"));
        assert_eq!(user("[::1]:5000", &hosts).as_deref(), Some("u3"));
        assert_eq!(user("[::ffff:10.0.0.1]:40001", &hosts).as_deref(), Some("u0"));
        assert_eq!(user("10.0.0.7:40000", &hosts), None, "others have that port");
        // Where the server knows hosts by name, the port must do.
        assert_eq!(user("10.0.0.1:40000", &["web1:40000", "web2:40001"]).as_deref(), Some("u0"));
        assert_eq!(user("10.0.0.1:40000", &["web1:40000", "web2:40000"]), None);
        assert_eq!(user("10.0.0.1:40000", &["10.0.0.7:40000"]), None);
    }
}
