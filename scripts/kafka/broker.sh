# shellcheck shell=bash disable=SC2154
# broker.sh: sourced by kafka.sh. Starts, awaits, signals and ends the brokers of $dir. A broker is a Java program whose process
# id lies in broker-N/pid; an id is believed only if that process runs on this very directory.

# A broker answers 1 to 3 seconds after its start; on starved cores that may be a minute.
start_seconds_max=120

# A broker that moves its partitions away before it ends needs some seconds; then it is killed.
stop_seconds_max=30

# The brokers meant by `[N]`: that one, or all that kafka.env counts.
meant() {
    local count
    count=$(sed -n 's/^KAFKA_BROKERS=//p' "$dir/kafka.env")
    if [ -z "${1:-}" ]; then
        seq "$count"
    elif [[ $1 =~ ^[1-9]$ ]] && [ "$1" -le "$count" ]; then
        echo "$1"
    else
        die 2 "$dir has the brokers 1 to $count, and no $1"
    fi
}

# Prints the process id of broker $1 if it runs.
broker_pid() {
    local pid
    pid=$(cat "$dir/broker-$1/pid" 2>/dev/null) || return 0
    [ -r "/proc/$pid/cmdline" ] || return 0
    # A zombie has no command line: whoever started it has not looked yet, but it does not run.
    if tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF "$dir/broker-$1/server.properties"; then echo "$pid"; fi
}

# Whoever awaits a start reads the log from its first line, so the log of the run before moves aside.
set_log_aside() { # N
    local log=$dir/broker-$1/broker.log
    if [ -e "$log" ]; then mv "$log" "$log.before"; fi
}

# Ends with who has a port that broker N is to listen on: Java would only say that some address is in use.
need_free_ports() { # N
    local port inode holder
    for port in $(sed -n 's/^listeners=//p' "$dir/broker-$1/server.properties" | grep -o ':[0-9]\+' | tr -d :); do
        inode=$(awk -v port="$(printf ':%04X' "$port")" \
            '$4 == "0A" && substr($2, length($2) - 4) == port { print $10; exit }' /proc/net/tcp /proc/net/tcp6 2>/dev/null) || true
        [ -n "$inode" ] || continue
        holder=$(find /proc/[0-9]*/fd -lname "socket:\[$inode\]" 2>/dev/null | cut -d/ -f3 | head -n 1) || true
        [ -z "$holder" ] || holder="process $holder ($(tr '\0' '\n' <"/proc/$holder/cmdline" | sed -n '1p;$p' | paste -sd ' '))"
        die 2 "broker $1 of $dir needs port $port, and ${holder:-a process of another user} listens on it; end that, or take other ports with --port BASE in a new folder"
    done
}

# Becomes broker N: the process id stays, so a parent of this script is the broker's parent. OPTIONs go to Java.
run_brokers() { # N [OPTION...]
    local n=${1:?kafka: run needs the number of a broker} place heap
    meant "$n" >/dev/null
    shift
    place=$dir/broker-$n
    [ -z "$(broker_pid "$n")" ] || die 2 "broker $n of $dir runs already, as process $(broker_pid "$n")"
    need_free_ports "$n"
    heap=$(sed -n 's/^KAFKA_HEAP=//p' "$dir/kafka.env")
    set_log_aside "$n"
    echo $$ >"$place/pid"
    # No heap dumps and no core files in the working directory; the JVM's own crash log beside the broker's.
    local archive=(-XX:SharedArchiveFile="$home/broker.jsa")
    case ${1:-} in -XX:ArchiveClassesAtExit=*) archive=() ;; esac
    exec java "${java_options[@]}" "${archive[@]}" "$@" -Xmx"$heap" -XX:ErrorFile="$place/crash.log" \
        -Dmillrace.log="$place/broker.log" -Dlog4j2.configurationFile="$here/kafka/log4j2.properties" \
        -cp "$(class_path)" kafka.Kafka "$place/server.properties" >>"$place/output.log" 2>&1 </dev/null
}

# Starts broker N in the background, out of this terminal's reach: Ctrl-C must not end it, `stop` does.
start_broker() { # N [OPTION...]
    local n=$1
    shift
    if [ -n "$(broker_pid "$n")" ]; then return; fi
    need_free_ports "$n"
    # The old id must not be taken for the new one's.
    rm -f "$dir/broker-$n/pid"
    set_log_aside "$n"
    setsid "$here/kafka.sh" run "$dir" "$n" "$@" >/dev/null 2>>"$dir/broker-$n/output.log" </dev/null &
    # Otherwise the shell would report the death of a broker that somebody kills.
    disown
}

# Returns when broker N says that it answers: it says so after all its listeners are open and the controller has let it in.
await_broker() { # N
    local place=$dir/broker-$1 deadline=$((SECONDS + start_seconds_max)) seen=no
    until grep -qs 'Kafka Server started' "$place/broker.log"; do
        if [ -n "$(broker_pid "$1")" ]; then
            seen=yes
        elif [ $seen = yes ]; then
            tail -n 15 "$place/broker.log" "$place/output.log" >&2
            die 2 "broker $1 ended while it started; the lines above are its own"
        fi
        if [ $SECONDS -ge $deadline ]; then
            tail -n 15 "$place/broker.log" "$place/output.log" >&2
            die 2 "broker $1 does not answer after $start_seconds_max s; the lines above are its own"
        fi
        sleep 0.05
    done
}

wait_brokers() {
    local n
    for n in $(meant "${1:-}"); do await_broker "$n"; done
}

start_all() {
    local n
    for n in $(meant); do start_broker "$n"; done
    if [ -n "$parent" ]; then
        setsid "$here/kafka.sh" reap "$dir" "$parent" remove >/dev/null 2>&1 </dev/null &
        disown
    fi
    wait_brokers
    cat "$dir/kafka.env"
}

# Ends the brokers when the process PID ends, however it ends; with `remove`, their folder goes too.
reap_brokers() { # PID [remove]
    tail --pid="${1:?kafka: reap needs a process id}" -s 0.2 -f /dev/null
    # Whoever started them may have removed the folder by then.
    [ -e "$dir/kafka.env" ] || return 0
    kill_brokers
    if [ "${2:-}" = remove ]; then rm -rf "$dir"; fi
}

signal_broker() { # SIGNAL N
    local pid
    pid=$(broker_pid "$2")
    [ -n "$pid" ] || die 1 "broker $2 of $dir does not run"
    kill -s "$1" "$pid"
}

# Returns when the process is gone. It is not our child, so it is looked at.
await_end() { # N
    local pid
    pid=$(broker_pid "$1")
    if [ -z "$pid" ]; then return; fi
    timeout "$stop_seconds_max" tail --pid="$pid" -s 0.05 -f /dev/null || true
    if [ -n "$(broker_pid "$1")" ]; then
        say "broker $1 did not end within $stop_seconds_max s and is killed"
        kill -s KILL "$pid" 2>/dev/null || true
        tail --pid="$pid" -s 0.05 -f /dev/null
    fi
}

stop_brokers() {
    local n pid
    for n in $(meant "${1:-}"); do
        pid=$(broker_pid "$n")
        # One that is paused could not hear it.
        if [ -n "$pid" ]; then kill -s TERM "$pid" && kill -s CONT "$pid"; fi 2>/dev/null || true
    done
    for n in $(meant "${1:-}"); do await_end "$n"; done
}

kill_brokers() {
    local n pid
    for n in $(meant "${1:-}"); do
        pid=$(broker_pid "$n")
        if [ -n "$pid" ]; then kill -s KILL "$pid" 2>/dev/null || true; fi
        await_end "$n"
    done
}

pause_brokers() {
    local n
    for n in $(meant "${1:-}"); do signal_broker STOP "$n"; done
}

resume_brokers() {
    local n
    for n in $(meant "${1:-}"); do signal_broker CONT "$n"; done
}

restart_brokers() {
    local n
    for n in $(meant "${1:-}"); do
        stop_brokers "$n"
        start_broker "$n"
        await_broker "$n"
    done
}

status_brokers() {
    local n pid
    for n in $(meant); do
        pid=$(broker_pid "$n")
        if [ -z "$pid" ]; then
            echo "broker $n does not run"
        elif grep -q '^State:.*T' "/proc/$pid/status" 2>/dev/null; then
            echo "broker $n is paused, process $pid"
        else
            echo "broker $n runs, process $pid"
        fi
    done
}
