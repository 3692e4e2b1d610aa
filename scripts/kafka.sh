#!/bin/bash
# kafka.sh   a real Kafka (KRaft) on loopback, for tests, the demo, and for trying things out.
#
#   fetch                     the broker's jars, unpacked into a private folder; installs nothing
#   template                  that, and the certificates, users and formatted storage from which brokers are copied
#   prepare DIR [OPTION...]   makes DIR with what one broker or three need; starts nothing
#   start DIR [OPTION...]     prepares DIR unless it is, starts its brokers in the background, returns when they answer
#   run DIR N                 becomes broker N of DIR, until it is killed (how a parent that wants it as a child starts it)
#   wait DIR [N]              returns when broker N (all) answers
#   reap DIR PID [remove]     when that process has ended, kills the brokers and removes DIR
#   stop|kill|pause|resume DIR [N]   SIGTERM, SIGKILL, SIGSTOP, SIGCONT to broker N (all)
#   restart DIR [N]           stops broker N and starts it again (each after the other)
#   status DIR                one line per broker: what it does, and its process id
#   acl DIR FILE...           grants what the files say (deploy/kafka/acls); see kafka/acl.sh
#   python                    a private Python with confluent-kafka, for deploy/examples/subscribe.py; prints its path
#
# OPTIONs: --brokers 1|3     how many (default 1)
#          --port BASE       the first of the 7 consecutive ports that each broker takes (default 19092)
#          --ports LIST      those ports one by one instead, with commas
#          --open            who comes over the plain listener may do everything (else nothing without a grant)
#          --certificate C   what the broker shows to clients: broker (default), wrong-host or expired
#          --behind HOST     the address that the proxied listener tells clients (default 127.0.0.1)
#          --parent PID      when that process ends, kill the brokers and remove DIR
#
# DIR/kafka.env says where everything is, one NAME=VALUE a line. Jars and templates lie under $MILLRACE_SERVERS (default
# ~/.cache/millrace/servers). Repeating a command costs nothing; concurrent callers wait.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=${MILLRACE_SERVERS:-${XDG_CACHE_HOME:-${HOME:?kafka.sh: neither MILLRACE_SERVERS nor HOME is set}/.cache}/millrace/servers}
version=4.3.0
name=kafka-$version

say() { echo "kafka: $*" >&2; }
die() { # CODE MESSAGE
    local code=$1
    shift
    say "$@"
    exit "$code"
}
usage() {
    sed -n '3,31s/^# \{0,1\}//p' "$here/kafka.sh" >&2
    exit 2
}

mkdir -p "$root/templates"
root=$(realpath "$root")
home=$root/$name
template=$root/templates/$name
. "$here/kafka/fetch.sh"
. "$here/kafka/template.sh"
. "$here/kafka/prepare.sh"
. "$here/kafka/broker.sh"
. "$here/kafka/acl.sh"

# One caller works, the others wait and then find the work done. The lock is the file's, so it ends with the process; what
# is started while it is held must not inherit it.
under_lock() {
    exec 9>"$root/.$name.lock"
    flock 9
    "$@"
    exec 9>&-
}
fetched() { under_lock fetch_kafka; }
made() { under_lock make_templates; }
make_templates() {
    fetch_kafka
    make_template
    make_archives
}

command=${1:-}
[ $# = 0 ] || shift
directory() { # prints DIR as an absolute path
    [ -n "${1:-}" ] || usage
    realpath -m "$1"
}
case $command in
    fetch) fetched ;;
    template) made ;;
    python) under_lock make_python ;;
    prepare | start)
        dir=$(directory "${1:-}")
        shift
        made
        read_options "$@"
        if [ "$command" = prepare ] || [ ! -e "$dir/kafka.env" ]; then prepare; else must_be_as_asked; fi
        if [ "$command" = start ]; then start_all; fi
        ;;
    run | wait | reap | stop | kill | pause | resume | restart | status | acl)
        dir=$(directory "${1:-}")
        shift
        [ -e "$dir/kafka.env" ] || die 2 "$dir holds no brokers: there is no kafka.env; kafka.sh start DIR makes them"
        "${command}_brokers" "$@"
        ;;
    *) usage ;;
esac
