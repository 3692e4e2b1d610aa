//! What can be judged of a fact: its numbers, under the names of the catalogue. In: samples and facts of the journal. Out: numbers
//! by their series, of an instance or of the cluster. What a fact does not say has no number: it is unknown, and never zero.

use std::collections::BTreeMap;

use millrace_schemas::ids::{HostId, InstanceId};
use millrace_schemas::metrics::{
    BACKUP_AGE, BACKUP_LAST, BACKUP_WITHIN, CANARY_SECONDS, CONNECTIONS, DEADLOCKS, ERRANT, HOST_LOAD, INSTANCE_OPEN,
    INSTANCE_UP, KEY_USED, LOAD_ERRORS, LOAD_P50, LOAD_P99, LOAD_QUERIES, Metric, OLDEST_TRANSACTION, PROMOTABLE,
    REPLICA_DELAY, REPLICA_LAG, REPLICA_RUNNING, SEMI_SYNC_ACTIVE, SERIES_LEFT_OUT, SLOW_BROKEN, THREADS_RUNNING,
    UNDECIDED, WIRE_KERNEL_DROPS, WIRE_KERNEL_RECEIVED, WRONGLY_OPEN,
};
use millrace_schemas::topics::journal::{Canary, Heartbeat, Load};
use millrace_schemas::topics::samples::Sample;

use super::rule::Role;

/// What the journal says, or what follows from it.
pub(super) const JOURNAL: &[&Metric] = &[
    &INSTANCE_UP,
    &INSTANCE_OPEN,
    &WRONGLY_OPEN,
    &REPLICA_DELAY,
    &REPLICA_RUNNING,
    &ERRANT,
    &SEMI_SYNC_ACTIVE,
    &CANARY_SECONDS,
    &PROMOTABLE,
    &UNDECIDED,
    &LOAD_QUERIES,
    &LOAD_ERRORS,
    &LOAD_P50,
    &LOAD_P99,
];

/// What samples have beside the tables of servers and hosts, and what follows from them for a cluster.
pub(super) const SAMPLED: &[&Metric] = &[
    &THREADS_RUNNING,
    &CONNECTIONS,
    &HOST_LOAD,
    &SERIES_LEFT_OUT,
    &REPLICA_LAG,
    &BACKUP_LAST,
    &BACKUP_WITHIN,
    &BACKUP_AGE,
    &OLDEST_TRANSACTION,
    &DEADLOCKS,
    &KEY_USED,
    &WIRE_KERNEL_RECEIVED,
    &WIRE_KERNEL_DROPS,
    &SLOW_BROKEN,
];

/// 10 s: of the windows, the narrowest is judged.
const LOAD_SECONDS: u32 = 10;

/// Numbers of one moment.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// The instance; absent: the cluster.
    pub(super) instance: Option<InstanceId>,
    /// Its host.
    pub(super) host: Option<HostId>,
    /// What it is among the others, where that is known.
    pub(super) role: Option<Role>,
    /// A field of the sentence that is neither number nor label ([`field_of`]), and what it stands for.
    pub(super) words: Option<(&'static str, String)>,
    /// By the text of their series.
    pub(super) values: BTreeMap<String, f64>,
}

impl Numbers {
    fn of(instance: &InstanceId) -> Self {
        Self { instance: Some(instance.clone()), ..Self::default() }
    }

    pub(super) fn add(&mut self, metric: &Metric, value: f64) {
        self.values.insert(metric.name.to_owned(), value);
    }
}

/// What is known of the newest backup.
pub(super) const NEWEST: &str = "newest";
/// From where a replica replicates: over the channel that has stopped, where one has.
pub(super) const SOURCE: &str = "source";

/// The field of a sentence that a metric has beside its labels.
pub(super) fn field_of(metric: &Metric) -> Option<&'static str> {
    let fields = [(&BACKUP_AGE, NEWEST), (&REPLICA_RUNNING, SOURCE)];
    fields.into_iter().find_map(|(of, field)| (of.name == metric.name).then_some(field))
}

/// Whether a metric is of windows.
pub(super) fn is_load(metric: &Metric) -> bool {
    metric.measurement == LOAD_QUERIES.measurement
}

/// A sample's.
pub(super) fn of_sample(instance: &InstanceId, sample: &Sample) -> Numbers {
    let values = sample.values.iter().filter(|(_, value)| value.is_finite());
    Numbers {
        host: Some(sample.host.clone()),
        values: values.map(|(series, value)| (series.clone(), *value)).collect(),
        ..Numbers::of(instance)
    }
}

/// Metrics that a server is known not to have now: it was asked, and replicates from nobody. A sample without its last series, or
/// of a server that did not answer, says nothing of that.
pub(super) fn over_in(sample: &Sample) -> &'static [&'static str] {
    let has = |table: &str| {
        let mut from = sample.values.range(table.to_owned()..);
        from.next().is_some_and(|(series, _)| series.starts_with(table))
    };
    let asked = sample.left_out == 0 && has("mysql_global_status_");
    if asked && !has("mysql_slave_status_") { &[REPLICA_LAG.name] } else { &[] }
}

/// A heartbeat's own. A server that cannot be asked has no numbers but that.
pub(super) fn of_heartbeat(instance: &InstanceId, heartbeat: &Heartbeat) -> Numbers {
    let mut numbers = Numbers { host: Some(heartbeat.host.clone()), ..Numbers::of(instance) };
    let flag = |on: bool| f64::from(u8::from(on));
    numbers.add(&INSTANCE_UP, flag(heartbeat.server.is_some()));
    if let Canary::Written { took_us } = heartbeat.canary {
        numbers.add(&CANARY_SECONDS, took_us as f64 / 1e6);
    }
    let Some(server) = &heartbeat.server else { return numbers };
    numbers.add(&INSTANCE_OPEN, flag(server.open));
    if let Some(receiver) = &server.receiver {
        numbers.add(&REPLICA_RUNNING, flag(server.replicates() == Some(true)));
        let other = server.stopped_channel.as_ref().filter(|_| receiver.runs());
        let (channel, source) =
            other.map_or((&receiver.channel, &receiver.source), |other| (&other.channel, &other.source));
        let words = if channel.is_empty() { source.clone() } else { format!("{channel} ({source})") };
        numbers.words = Some((SOURCE, words));
        if let Some(delay) = receiver.delay_us {
            numbers.add(&REPLICA_DELAY, delay as f64 / 1e6);
        }
    }
    if server.semi_sync.source_enabled {
        numbers.add(&SEMI_SYNC_ACTIVE, flag(server.semi_sync.source_active));
    }
    numbers
}

/// A window's.
pub(super) fn of_load(instance: &InstanceId, load: &Load) -> Option<Numbers> {
    if load.width_seconds != LOAD_SECONDS {
        return None;
    }
    let mut numbers = Numbers::of(instance);
    numbers.add(&LOAD_QUERIES, load.statements as f64);
    numbers.add(&LOAD_ERRORS, load.errors as f64);
    numbers.add(&LOAD_P50, load.p50_us as f64 / 1e6);
    numbers.add(&LOAD_P99, load.p99_us as f64 / 1e6);
    Some(numbers)
}
