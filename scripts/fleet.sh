#!/bin/bash
# fleet.sh DIR [OPTION...]   a fleet on Kafka to try out on one machine: a broker that asks everybody who they are, the grants of each
# role, the topics, keys with a roster, and a configuration per role made from deploy/examples. It starts the broker and no role;
# at the end it prints what to start. OPTIONs are those of kafka.sh. README.md, "A fleet on Kafka", has the same steps for real hosts.
#
# MILLRACE=FILE   the program (default: the one in $PATH, else the one that was built here)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [ -z "${1:-}" ] || [ "${1#-}" != "$1" ]; then
    sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
fi
dir=$(realpath -m "$1")
shift
millrace=${MILLRACE:-$(command -v millrace || echo "${CARGO_TARGET_DIR:-$here/target}/debug/millrace")}
if [ ! -x "$millrace" ]; then
    echo "fleet: there is no millrace at $millrace: build it (cargo build), or say where it is with MILLRACE=FILE" >&2
    exit 2
fi
if [ -e "$dir/etc" ]; then
    echo "fleet: $dir is there already; remove it (scripts/kafka.sh stop $dir/kafka ends its broker), or name another folder" >&2
    exit 2
fi
mkdir -p "$dir/lib"

"$here/scripts/kafka.sh" start "$dir/kafka" "$@" >/dev/null
"$here/scripts/kafka.sh" acl "$dir/kafka" "$here"/deploy/kafka/acls/*.acls
scram=$(sed -n 's/^KAFKA_SCRAM=//p' "$dir/kafka/kafka.env")
copies=$(sed -n 's/^KAFKA_BROKERS=//p' "$dir/kafka/kafka.env")

# The examples, with this machine's places for those of a fleet; the agent makes no servers and captures nothing.
mkdir "$dir/etc"
for example in "$here"/deploy/examples/kafka-*.toml; do
    file=$(basename "$example")
    sed -e "s#kafka-1:.*kafka-3:[0-9]*#$scram#" -e "/^servers/a replication = $copies" \
        -e "s#/etc/millrace/kafka-ca.pem#$dir/kafka/tls/ca.pem#" -e "s#/etc/millrace/\(.*password\)#$dir/kafka/secrets/\1#" \
        -e "s#/etc/millrace#$dir/etc#; s#/var/lib/millrace#$dir/lib#" -e '/^instances-dir\|^templates-dir\|^capture/d' \
        "$example" >"$dir/etc/${file#kafka-}"
done
# An administrator makes the topics, and signs nothing.
sed -e '/^\[trust\]/,$d' -e 's/user = "operator".*/user = "admin"/' -e 's/operator.password/admin.password/' \
    "$dir/etc/operator.toml" >"$dir/etc/admin.toml"
"$millrace" topics --apply --config "$dir/etc/admin.toml"

enrol() { # KEY OPTION...: makes a key, and lets it speak
    local key=$1 public
    shift
    public=$("$millrace" key new -o json "$dir/etc/$key.key" | sed 's/.*"public": *"\([^"]*\)".*/\1/')
    "$millrace" key enrol "$dir/etc/roster.toml" --public "$public" "$@" >/dev/null
}
enrol agent --role agent --host db-host-1 --about 'shop/*'
enrol process --role process --name process-a
enrol execute --role execute --name execute-a
enrol operator --role operator --name "ops-1-$(id -u)" --about 'shop/*'

echo "each role in a terminal of its own:"
for role in process execute sink console agent; do echo "    $millrace $role --config $dir/etc/$role.toml"; done
echo "then look:"
echo "    $millrace events inventory --from start --config $dir/etc/operator.toml"
echo "the broker runs until: scripts/kafka.sh stop $dir/kafka"
