# shellcheck shell=bash disable=SC2154,SC2034
# prepare.sh: sourced by kafka.sh. Gives read_options, and prepare, which leaves in $dir what its brokers need:
#
#   kafka.env                    where everything is, one NAME=VALUE a line, for scripts and tests
#   broker-N/server.properties   how broker N is set up; beside it, once it runs: data/, broker.log, pid
#   tls/, secrets/               as in the template (see template.sh)
#
# Each broker takes 7 ports, in this order: plain, TLS with client certificates, SCRAM over TLS, proxied, the port that the proxied
# listener tells clients (there a test may put a proxy), between brokers, between controllers.

ports_per_broker=7

# What one broker does in 512 MB three do in 256 MB each.
heap_of() {
    if [ "$brokers" = 1 ]; then echo 512m; else echo 256m; fi
}

read_options() {
    brokers=1 ports=() open=no certificate=broker behind=127.0.0.1 parent='' options=''
    local base=19092 i
    while [ $# -gt 0 ]; do
        case $1 in
            --open)
                open=yes options="$options $1"
                shift
                continue
                ;;
        esac
        [ $# -ge 2 ] || die 2 "$1 needs a value"
        case $1 in
            --brokers) brokers=$2 ;;
            --port) base=$2 ;;
            --ports) IFS=, read -r -a ports <<<"$2" ;;
            --certificate) certificate=$2 ;;
            --behind) behind=$2 ;;
            --parent) parent=$2 ;;
            *) die 2 "does not know the option $1; kafka.sh without arguments names all" ;;
        esac
        if [ "$1" != --parent ]; then options="$options $1 $2"; fi
        shift 2
    done
    case $brokers in 1 | 3) ;; *) die 2 "--brokers $brokers: one or three can be had" ;; esac
    case $certificate in broker | wrong-host | expired) ;; *) die 2 "--certificate $certificate is none of broker, wrong-host, expired" ;; esac
    if [ ${#ports[@]} = 0 ]; then
        for ((i = 0; i < brokers * ports_per_broker; i++)); do ports+=($((base + i))); done
    fi
    [ ${#ports[@]} = $((brokers * ports_per_broker)) ] ||
        die 2 "--ports names ${#ports[@]} ports, and $brokers brokers need $((brokers * ports_per_broker))"
    for i in "${ports[@]}"; do
        [[ $i =~ ^[0-9]+$ ]] && [ "$i" -ge 1024 ] && [ "$i" -le 65535 ] || die 2 "$i is not a port between 1024 and 65535"
    done
}

# The port of broker $1 for use $2, counted from 0 in the order above.
port_of() { echo "${ports[($1 - 1) * ports_per_broker + $2]}"; }

# All brokers' addresses for use $1, with commas.
addresses() {
    local n list=()
    for ((n = 1; n <= brokers; n++)); do list+=("${2:-127.0.0.1}:$(port_of "$n" "$1")"); done
    local IFS=,
    echo "${list[*]}"
}

prepare() {
    local n user
    [ ! -e "$dir" ] || [ -z "$(ls -A "$dir")" ] || [ -e "$dir/kafka.env" ] || die 2 "$dir is not empty and was not made by kafka.sh"
    for ((n = 1; n <= 3; n++)); do
        [ -z "$(broker_pid $n)" ] || die 2 "broker $n of $dir runs as process $(broker_pid $n); stop it before you prepare $dir again"
    done
    rm -rf "$dir"/broker-* "$dir/tls" "$dir/secrets" "$dir/kafka.env"
    (
        umask 077 # for the folders made here; what is copied keeps its own
        mkdir -p "$dir"
        cp -a "$template/tls" "$template/secrets" "$dir/"
        for ((n = 1; n <= brokers; n++)); do prepare_broker "$n"; done
        printf '%s\n' security.protocol=SSL ssl.truststore.type=PEM "ssl.truststore.location=$dir/tls/ca.pem" \
            ssl.keystore.type=PEM "ssl.keystore.location=$dir/tls/admin.pem" >"$dir/admin.properties"
        write_env >"$dir/kafka.env.new"
    )
    # Last: it says that the rest is whole.
    mv "$dir/kafka.env.new" "$dir/kafka.env"
}

# Brokers that were made with other options are not what the caller asks for.
must_be_as_asked() {
    local made
    made=$(sed -n 's/^KAFKA_OPTIONS=//p' "$dir/kafka.env")
    [ -z "$options" ] || [ "$made" = "${options# }" ] ||
        die 2 "$dir was made with the options '$made' and not '${options# }'; remove it, or start it without options"
}

write_env() {
    cat <<ENV
KAFKA_BROKERS=$brokers
KAFKA_PLAIN=$(addresses 0)
KAFKA_TLS=$(addresses 1)
KAFKA_SCRAM=$(addresses 2)
KAFKA_PROXIED=$(addresses 3)
KAFKA_PROXY=$(addresses 4 "$behind")
KAFKA_CA=$dir/tls/ca.pem
KAFKA_TLS_DIR=$dir/tls
KAFKA_SECRETS_DIR=$dir/secrets
KAFKA_HEAP=$(heap_of)
KAFKA_OPTIONS=${options# }
ENV
}

prepare_broker() { # N
    local n=$1 place=$dir/broker-$1 directory_id
    mkdir -p "$place/data"
    # As `kafka-storage format` leaves a data directory, without its half second.
    directory_id=A$(head -c 16 /dev/urandom | base64 | tr -d '=\n' | tr '+/' '_-' | cut -c 2-)
    printf '%s\n' version=1 "cluster.id=$kafka_cluster_id" "node.id=$n" "directory.id=$directory_id" >"$place/data/meta.properties"
    cp "$template/bootstrap.checkpoint" "$place/data/"
    {
        listener_properties "$n"
        security_properties
        storage_properties "$place"
    } >"$place/server.properties"
}

listener_properties() { # N
    local n=$1 voters=() i
    for ((i = 1; i <= brokers; i++)); do voters+=("$i@127.0.0.1:$(port_of "$i" 6)"); done
    local IFS=,
    cat <<PROPERTIES
process.roles=broker,controller
node.id=$n
controller.quorum.voters=${voters[*]}
controller.listener.names=CONTROLLER
inter.broker.listener.name=INTERNAL
listener.security.protocol.map=PLAIN:PLAINTEXT,TLS:SSL,SCRAM:SASL_SSL,PROXIED:PLAINTEXT,INTERNAL:SSL,CONTROLLER:SSL
listeners=PLAIN://127.0.0.1:$(port_of "$n" 0),TLS://127.0.0.1:$(port_of "$n" 1),SCRAM://127.0.0.1:$(port_of "$n" 2),PROXIED://127.0.0.1:$(port_of "$n" 3),INTERNAL://127.0.0.1:$(port_of "$n" 5),CONTROLLER://127.0.0.1:$(port_of "$n" 6)
advertised.listeners=PLAIN://127.0.0.1:$(port_of "$n" 0),TLS://127.0.0.1:$(port_of "$n" 1),SCRAM://127.0.0.1:$(port_of "$n" 2),PROXIED://$behind:$(port_of "$n" 4),INTERNAL://127.0.0.1:$(port_of "$n" 5)
PROPERTIES
}

# What a client shows on the TLS listener is the name of its certificate, so that it is the same principal as its SCRAM user.
security_properties() {
    local supers='User:admin;User:broker' listener
    if [ "$open" = yes ]; then supers="$supers;User:ANONYMOUS"; fi
    cat <<PROPERTIES
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=$supers
ssl.keystore.type=PEM
ssl.keystore.location=$dir/tls/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location=$dir/tls/ca.pem
ssl.client.auth=required
ssl.enabled.protocols=TLSv1.3,TLSv1.2
ssl.principal.mapping.rules=RULE:^CN=([^,]+)\$/\$1/,DEFAULT
listener.name.scram.ssl.client.auth=none
listener.name.scram.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.scram.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
PROPERTIES
    if [ "$certificate" != broker ]; then
        for listener in tls scram; do
            printf '%s\n' "listener.name.$listener.ssl.keystore.type=PEM" "listener.name.$listener.ssl.keystore.location=$dir/tls/$certificate.pem"
        done
    fi
}

# Small where nothing is lost by it: threads, buffers and files for a few tests; and what a fleet would have where it counts: no
# unclean leader, no topics that appear by themselves, two of three must hold a record. A broker's session lapses after 3 s instead of
# 9: before that, one that was killed is not let in again, and tests kill many.
storage_properties() { # PLACE
    local in_sync=1
    if [ "$brokers" = 3 ]; then in_sync=2; fi
    cat <<PROPERTIES
log.dirs=$1/data
auto.create.topics.enable=false
unclean.leader.election.enable=false
default.replication.factor=$brokers
min.insync.replicas=$in_sync
offsets.topic.replication.factor=$brokers
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=$brokers
transaction.state.log.min.isr=$in_sync
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=$brokers
share.coordinator.state.topic.min.isr=$in_sync
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
num.network.threads=2
num.io.threads=4
background.threads=2
log.segment.bytes=67108864
log.index.size.max.bytes=1048576
log.segment.delete.delay.ms=1000
log.retention.check.interval.ms=500
log.initial.task.delay.ms=500
log.cleaner.backoff.ms=250
log.cleaner.dedupe.buffer.size=8388608
PROPERTIES
}
