//! A sample's numbers: what a server prints and its channels say enter; series of the catalogue leave, under the names that
//! dashboards know, whatever the dialect calls them. What the catalogue does not have is left out.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_mysql::keys::Key;
use millrace_mysql::numbers::Numbers;
use millrace_mysql::status::{Channel, replica::Receiver};
use millrace_schemas::metrics::{
    DEADLOCKS, KEY_USED, Metric, OLDEST_TRANSACTION, REPLICA_LAG, REPLICATION, THREAD_STATES, VARIABLES, named, series,
    status_place,
};

/// Numbers by the text of their series.
pub type Values = BTreeMap<String, f64>;

/// The names of the settings that are kept, as servers print them.
pub fn settings() -> Vec<&'static str> {
    VARIABLES.iter().map(|metric| metric.field).collect()
}

/// Adds a server's status.
pub fn add_status(values: &mut Values, status: &Numbers) {
    for (name, value) in status {
        if let Some(place) = status_place(name) {
            let label: Vec<&str> = place.label.as_deref().into_iter().collect();
            values.insert(series::text(place.metric, &label), *value);
        }
    }
}

/// Adds a server's settings.
pub fn add_settings(values: &mut Values, settings: &Numbers) {
    for (name, value) in settings {
        if let Some(metric) = named(&format!("mysql_global_variables_{}", name.to_ascii_lowercase())) {
            values.insert(series::text(metric, &[]), *value);
        }
    }
}

/// Adds what InnoDB says beside the status.
pub fn add_innodb(values: &mut Values, innodb: &Numbers) {
    for (name, value) in innodb {
        let metric = match name.as_str() {
            "oldest_transaction_seconds" => &OLDEST_TRANSACTION,
            "deadlocks" => &DEADLOCKS,
            _ => continue,
        };
        values.insert(series::text(metric, &[]), *value);
    }
}

/// Adds what threads do.
pub fn add_states(values: &mut Values, states: &BTreeMap<String, u64>) {
    for (state, threads) in states {
        values.insert(series::text(THREAD_STATES, &[state]), *threads as f64);
    }
}

/// Adds how much of their numbers keys have used.
pub fn add_keys(values: &mut Values, keys: &[Key]) {
    for key in keys {
        values.insert(series::text(&KEY_USED, &[&key.schema, &key.table, &key.column]), key.used);
    }
}

/// Adds what a replica says of its channels.
pub fn add_channels(values: &mut Values, channels: &[Channel]) {
    for channel in channels {
        for metric in REPLICATION {
            if let Some(value) = of_channel(channel, metric) {
                values.insert(series::text(metric, &[&channel.name, &channel.name]), value);
            }
        }
    }
}

/// Adds how far a replica is behind: `by_row`, where that is known, else what it says itself, of its slowest channel.
pub fn add_lag(values: &mut Values, channels: &[Channel], by_row: Option<Duration>) {
    let own = || channels.iter().filter_map(|channel| channel.seconds_behind).max();
    let lag = by_row.map(|lag| lag.as_secs_f64()).or_else(|| own().map(|seconds| seconds as f64));
    if let Some(lag) = lag.filter(|_| !channels.is_empty()) {
        values.insert(series::text(&REPLICA_LAG, &[]), lag);
    }
}

fn of_channel(channel: &Channel, metric: &Metric) -> Option<f64> {
    let flag = |on: bool| Some(f64::from(u8::from(on)));
    let position = |position: &Option<(String, u64)>| position.as_ref().map(|(_, at)| *at as f64);
    let error = |error: &Option<millrace_mysql::status::replica::ThreadError>| {
        Some(error.as_ref().map_or(0.0, |error| error.code as f64))
    };
    match metric.field {
        "auto_position" => flag(channel.auto_position),
        "exec_master_log_pos" => position(&channel.applied_position),
        "last_io_errno" => error(&channel.receiver_error),
        "last_sql_errno" => error(&channel.applier_error),
        "master_server_id" => channel.source_server_id.map(f64::from),
        "read_master_log_pos" => position(&channel.received_position),
        "relay_log_pos" => position(&channel.relay_position),
        "relay_log_space" => channel.relay_bytes.map(|bytes| bytes as f64),
        "seconds_behind_master" => channel.seconds_behind.map(|seconds| seconds as f64),
        "slave_io_running" => flag(channel.receiver == Receiver::Running),
        "slave_sql_running" => flag(channel.applier_running),
        "sql_delay" => Some(channel.delay_seconds as f64),
        _ => None,
    }
}

/// Keeps `budget` series, the first by their names, and says how many had to go.
pub fn within(values: &mut Values, budget: usize) -> u64 {
    let mut left_out = 0;
    while values.len() > budget {
        values.pop_last();
        left_out += 1;
    }
    left_out
}

#[cfg(test)]
pub(crate) mod tests {
    use millrace_schemas::gtid::GtidSet;

    use super::*;
    use millrace_schemas::flavour::Flavour;

    pub(crate) fn channel() -> Channel {
        let set = || GtidSet::parse(Flavour::MariaDb, "0-1-7").expect("a set");
        Channel {
            name: "a".to_owned(),
            source_host: "h1".to_owned(),
            source_port: 3306,
            source_user: None,
            source_server_id: Some(1),
            source_server_uuid: None,
            receiver: Receiver::Connecting,
            applier_running: true,
            received: set(),
            executed: set(),
            receiver_error: None,
            applier_error: None,
            seconds_behind: None,
            delay_seconds: 3,
            received_position: Some(("b.1".to_owned(), 9)),
            applied_position: Some(("b.1".to_owned(), 8)),
            relay_position: None,
            relay_bytes: Some(70),
            auto_position: true,
        }
    }

    #[test]
    fn both_dialects_give_the_series_that_dashboards_know() {
        let mut values = Values::new();
        let status = [
            ("Com_select", 4.0),
            ("Threads_running", 2.0),
            ("Innodb_ha_ha", 1.0),
            ("Rpl_semi_sync_source_clients", 2.0),
        ];
        add_status(&mut values, &status.map(|(name, value)| (name.to_owned(), value)).into());
        add_settings(&mut values, &vec![("max_connections".to_owned(), 151.0), ("nobody_looks".to_owned(), 1.0)]);
        add_states(&mut values, &BTreeMap::from([("user_sleep".to_owned(), 3)]));
        add_channels(&mut values, &[channel()]);
        let check = |series: &str, expected| assert_eq!(values.get(series).copied(), expected, "{series}");
        check("mysql_global_status_commands_total{command=\"select\"}", Some(4.0));
        check("mysql_global_status_threads_running", Some(2.0));
        check("mysql_info_schema_threads{state=\"user_sleep\"}", Some(3.0));
        check("mysql_global_status_rpl_semi_sync_master_clients", Some(2.0));
        check("mysql_global_variables_max_connections", Some(151.0));
        let of_channel = |field| format!("mysql_slave_status_{field}{{channel_name=\"a\",connection_name=\"a\"}}");
        check(&of_channel("slave_io_running"), Some(0.0));
        check(&of_channel("slave_sql_running"), Some(1.0));
        check(&of_channel("seconds_behind_master"), None);
        check(&of_channel("relay_log_space"), Some(70.0));
        assert_eq!(values.len(), 5 + 10, "{values:?}");
        assert!(values.keys().all(|text| series::parse(text).is_ok()));
    }

    #[test]
    fn every_number_of_a_channel_that_the_catalogue_has_is_taken() {
        let full = Channel { seconds_behind: Some(1), relay_position: Some(("r".to_owned(), 1)), ..channel() };
        assert!(REPLICATION.iter().all(|metric| of_channel(&full, metric).is_some()));
    }

    #[test]
    fn a_replica_s_lag_is_that_of_its_row_or_of_its_slowest_channel() {
        let channels = |behind: &[Option<u64>]| -> Vec<Channel> {
            behind.iter().map(|seconds| Channel { seconds_behind: *seconds, ..channel() }).collect()
        };
        let check = |behind: &[Option<u64>], row: Option<u64>, expected: Option<f64>| {
            let mut values = Values::new();
            add_lag(&mut values, &channels(behind), row.map(Duration::from_millis));
            assert_eq!(values.get("millrace_replica_lag_seconds").copied(), expected, "{behind:?}, {row:?}");
        };
        check(&[Some(3)], Some(1_500), Some(1.5));
        check(&[Some(3), None, Some(40)], None, Some(40.0));
        check(&[None], Some(90_000), Some(90.0));
        check(&[None], None, None);
        check(&[], Some(1_500), None);
    }

    #[test]
    fn what_is_over_the_budget_is_counted() {
        let mut values: Values = (0..5).map(|at| (format!("s{at}"), 0.0)).collect();
        assert_eq!(within(&mut values, 5), 0);
        assert_eq!((within(&mut values, 2), values.len()), (3, 2));
        assert!(values.contains_key("s0") && values.contains_key("s1"));
    }
}
