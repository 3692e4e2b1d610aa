# shellcheck shell=bash disable=SC2154
# acl.sh: sourced by kafka.sh. Gives acl_brokers, which grants on $dir's brokers what ACL files say. One line, one grant:
#
#   allow PRINCIPAL OPERATION[,OPERATION...] topic|group|cluster|transactional-id NAME|PREFIX*
#
# for instance `allow agent write,describe topic millrace.journal`. A `*` at the end means every name that starts so; the name of
# the cluster is `kafka-cluster`. Empty lines and what follows a # are passed over. Kafka's tool grants some things to somebody in
# one go, and a JVM starts for each go; so lines are put together that differ only in the resource, then those that differ only in who.

# As many at once as the machine has cores: each is a JVM, busy for half a second.
grants_at_once=$(nproc 2>/dev/null || echo 2)

acl_brokers() { # FILE...
    [ $# -gt 0 ] || die 2 "acl needs a file of grants, for instance deploy/kafka/acls/agent.acls"
    local broken
    broken=$(awk "$acl_check" "$@") || die 2 "cannot read every file of $*"
    [ -z "$broken" ] || die 2 "$broken"
    grant "$@"
}

# Says what is wrong with the first line that is not a grant.
acl_check='
    { sub(/#.*/, "") }
    NF == 0 { next }
    function wrong(what) { printf "%s line %d: %s; a grant reads: allow PRINCIPAL OPERATION[,OPERATION] topic|group|cluster|transactional-id NAME\n", FILENAME, FNR, what; exit }
    NF != 5 { wrong(NF " words") }
    $1 != "allow" { wrong("\"" $1 "\" is not allow") }
    $2 !~ /^[a-zA-Z0-9._-]+$/ { wrong("\"" $2 "\" is not a principal") }
    $3 !~ /^(read|write|create|delete|alter|describe|cluster-action|describe-configs|alter-configs|idempotent-write)(,(read|write|create|delete|alter|describe|cluster-action|describe-configs|alter-configs|idempotent-write))*$/ { wrong("\"" $3 "\" is no operation of Kafka") }
    $4 !~ /^(topic|group|cluster|transactional-id)$/ { wrong("\"" $4 "\" is not topic, group, cluster or transactional-id") }
    $5 !~ /^[a-zA-Z0-9._-]*\*?$/ { wrong("\"" $5 "\" is not a name, nor the start of one followed by *") }
'

# Prints one line per call of the tool: its arguments, none of which holds a space.
acl_calls='
    { sub(/#.*/, "") }
    NF == 0 { next }
    {
        pattern = "literal"; name = $5
        if (name != "*" && sub(/\*$/, "", name)) pattern = "prefixed"
        key = "--resource-pattern-type " pattern
        n = split($3, operations, ",")
        for (i = 1; i <= n; i++) { operation = operations[i]; gsub(/-/, "", operation); key = key " --operation " operation }
        resources[$2 SUBSEP key] = resources[$2 SUBSEP key] " --" $4 ($4 == "cluster" ? "" : " " name)
    }
    END {
        for (both in resources) {
            split(both, part, SUBSEP)
            who[part[2] resources[both]] = who[part[2] resources[both]] " --allow-principal User:" part[1]
        }
        for (call in who) print call who[call]
    }
'

# Returns only if every grant was made. The address is the TLS listener, since only an administrator may grant.
grant() { # FILE...
    local server calls failed=0
    server=$(sed -n 's/^KAFKA_TLS=//p' "$dir/kafka.env")
    mapfile -t calls < <(awk "$acl_calls" "$@" | sort)
    local call running=0
    for call in "${calls[@]}"; do
        if [ $running = "$grants_at_once" ]; then
            wait -n || failed=1
            running=$((running - 1))
        fi
        one_grant "$server" "$call" &
        running=$((running + 1))
    done
    while [ $running -gt 0 ]; do
        wait -n || failed=1
        running=$((running - 1))
    done
    [ $failed = 0 ] || die 2 "not every grant of $* was made; the lines above say why"
}

one_grant() { # SERVER ARGUMENTS
    local arguments output
    read -r -a arguments <<<"$2"
    # The tool says what it wants to do, and an error may leave it with exit code 0.
    if ! output=$(java_tool org.apache.kafka.tools.AclCommand --bootstrap-server "$1" --command-config "$dir/admin.properties" \
        --add "${arguments[@]}" 2>&1) || grep -qi 'error\|exception' <<<"$output"; then
        # Its help follows an error in what it was told, and is of no use here.
        sed '/^Option  /,$d' <<<"$output" >&2
        return 1
    fi
}
