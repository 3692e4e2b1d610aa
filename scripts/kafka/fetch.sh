# shellcheck shell=bash disable=SC2154
# fetch.sh: sourced by kafka.sh. Gives fetch_kafka, which leaves $home complete, with .ok in it; make_python; and the
# command lines of the Java programs.
#
#   libs/*.jar     the broker, its tools, a logger
#   broker.jsa     the classes that a broker loads, ready to be mapped: a start takes half the time with it
#   tool.jsa       the same for the command-line tools

# Raise it when what is fetched changes: folders of an older format are fetched again.
kafka_format=1

# The client whose librdkafka is new enough to authenticate against Kafka 4.
python_client=2.16.1

# What every Java program here is started with: the cheap compiler and the single-threaded collector start fastest, and
# nothing here runs long enough to gain from the others.
java_options=(-Xshare:auto -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:-UsePerfData -Djava.awt.headless=true)

tool_archive=(-XX:SharedArchiveFile="$home/tool.jsa")

# The jars one by one and in a fixed order, since the class archives hold only for exactly this list.
class_path() {
    local jars=("$home"/libs/*.jar)
    local IFS=:
    echo "${jars[*]}"
}

# An archive that is not there or does not fit is passed over by -Xshare:auto; -Xlog:disable keeps it from saying so.
java_tool() { # CLASS ARGUMENT...
    java "${java_options[@]}" -Xlog:disable "${tool_archive[@]}" -Xmx256m \
        -Dlog4j2.configurationFile="$here/kafka/tool-log4j2.properties" -cp "$(class_path)" "$@"
}

need_java() {
    local major
    command -v java >/dev/null ||
        die 2 "needs Java 17 or newer (on Debian: apt-get install default-jre-headless), and there is no java here"
    major=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
    [ "${major:-0}" -ge 17 ] || die 2 "needs Java 17 or newer, and $(command -v java) is ${major:-of an unknown version}"
}

fetch_kafka() {
    need_java
    if [ "$(cat "$home/libs/.ok" 2>/dev/null)" != "format $kafka_format" ]; then fetch_jars; fi
}

fetch_jars() {
    local new=$root/$name.new
    command -v mvn >/dev/null ||
        die 2 "needs Maven to fetch Kafka's jars (on Debian: apt-get install maven), and there is no mvn here"
    say "fetching Kafka $version with Maven (about 60 MB, once)"
    rm -rf "$new"
    mkdir -p "$new"
    cp "$here/kafka/pom.xml" "$new/pom.xml"
    # A repository of its own: the owner's is neither read nor filled. Wrong checksums are errors.
    if ! mvn -q -B -ntp --strict-checksums -f "$new/pom.xml" -Dmaven.repo.local="$new/repository" \
        dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$new/libs" >"$new/log" 2>&1; then
        tail -n 15 "$new/log" >&2
        die 2 "could not fetch Kafka $version; the lines above are Maven's"
    fi
    rm -rf "$new/repository" "$new/pom.xml" "$new/log"
    [ -n "$(find "$new/libs" -name "kafka_*-$version.jar")" ] || die 2 "Maven brought no kafka-$version.jar to $new/libs"
    # Synced before it is declared complete, so that a power cut leaves no half jar behind a whole mark.
    sync -f "$new"
    echo "format $kafka_format" >"$new/libs/.ok"
    rm -rf "$home"
    mv -T "$new" "$home"
}

# A tool and a broker run once with the recording on; the JVM writes down what they loaded when it ends. The archives hold only
# for one build of Java; with another they are ignored. A failure costs only the speed, so it is told and passed over.
make_archives() {
    local scratch=$home/archives.new stamp
    stamp=$(java -version 2>&1 | cat - "$here/kafka/fetch.sh" | sha256sum)
    if [ "$(cat "$home/archives.ok" 2>/dev/null)" = "$stamp" ]; then return; fi
    say "preparing quick starts of Kafka $version (once for each Java)"
    rm -rf "$scratch" "$home"/*.jsa
    mkdir -p "$scratch"
    # A shell of its own, so that what it sets and a failure in it end with it.
    if ! (umask 077 && record_archives "$scratch") >"$scratch/log" 2>&1; then
        say "went on without quick starts: $(tail -n 1 "$scratch/log")"
    fi
    dir=$scratch/brokers kill_brokers 1 2>/dev/null || true
    rm -rf "$scratch"
    echo "$stamp" >"$home/archives.ok"
}

record_archives() { # SCRATCH
    local scratch=$1 pid
    dir=$scratch/brokers
    read_options --port "$(quiet_port)"
    prepare
    start_broker 1 -XX:ArchiveClassesAtExit="$scratch/broker.jsa"
    await_broker 1
    pid=$(broker_pid 1)
    echo "allow nobody read topic nothing" >"$scratch/one.acls"
    tool_archive=(-XX:ArchiveClassesAtExit="$scratch/tool.jsa")
    grant "$scratch/one.acls"
    kill "$pid"
    # Recording ends with the process, and writing 50 MB takes it a second.
    tail --pid="$pid" -s 0.1 -f /dev/null
    mv "$scratch/broker.jsa" "$scratch/tool.jsa" "$home/"
}

# The first of 7 ports on which nobody listens now, below the range that the kernel takes for outgoing connections.
quiet_port() {
    local port
    for port in $(shuf -i 30000-32700 -n 50); do
        if [ -z "$(ss -Hltn "sport >= :$port and sport < :$((port + 7))" 2>/dev/null)" ]; then
            echo "$port"
            return
        fi
    done
    return 1
}

# A Python with the client that most people use, for the example of a subscriber: in a folder of its own, from the package index
# that pip is configured for.
make_python() {
    local final=$root/python-kafka
    if [ ! -e "$final/.ok" ]; then
        local python
        # The system's own first: one that was built by hand may lack the modules that a venv needs.
        for python in /usr/bin/python3 python3; do
            if "$python" -c 'import ensurepip, venv' 2>/dev/null; then break; fi
            python=
        done
        [ -n "$python" ] || die 2 "needs Python with venv (on Debian: apt-get install python3-venv), and there is none here"
        say "installing confluent-kafka into $final (once)"
        rm -rf "$final"
        if ! { "$python" -m venv "$final" && "$final/bin/pip" install -q "confluent-kafka==$python_client"; } >"$final.log" 2>&1; then
            tail -n 5 "$final.log" >&2
            die 2 "could not install confluent-kafka $python_client; the lines above are pip's"
        fi
        rm -f "$final.log"
        touch "$final/.ok"
    fi
    echo "$final/bin/python"
}
