//! What a replica says of its channels, under the names that dashboards know from `SHOW SLAVE STATUS`, whatever the server calls its
//! columns now. The source is no label: a failover would begin every series anew; it is in `millrace_replica_source`.

use super::Metric;

/// The table. The channel's name is empty for the default one, under both labels that the dialects use for it.
pub const REPLICATION: &[Metric] = table! {
    "mysql_slave_status", ["cluster", "instance", "host", "channel_name", "connection_name"], "SHOW REPLICA STATUS, SHOW ALL SLAVES STATUS",
    Gauge "auto_position" "boolean" Both "1 where the replica finds its place by GTID.";
    Gauge "exec_master_log_pos" "bytes" Both "Where in the source's binlog the applier is.";
    Gauge "last_io_errno" "number" Both "The error that stopped the receiver; 0 for none.";
    Gauge "last_sql_errno" "number" Both "The error that stopped the applier; 0 for none.";
    Gauge "master_server_id" "number" Both "The number of the source.";
    Gauge "read_master_log_pos" "bytes" Both "Up to where the source's binlog was received.";
    Gauge "relay_log_pos" "bytes" Both "Where in the relay log the applier is.";
    Gauge "relay_log_space" "bytes" Both "Relay logs on disk: they grow while the applier is slower than the receiver.";
    Gauge "seconds_behind_master" "seconds" Both "The server's own idea of its delay; absent while it has none. Heartbeat rows are the better measure.";
    Gauge "slave_io_running" "boolean" Both "1 while the receiver has a connection.";
    Gauge "slave_sql_running" "boolean" Both "1 while the applier runs.";
    Gauge "sql_delay" "seconds" Both "The delay that was asked for.";
};
