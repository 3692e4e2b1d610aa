# shellcheck shell=bash disable=SC2154
# template.sh: sourced by servers.sh after fetch.sh. Gives make_template, which leaves $root/templates/$name complete:
#
#   template.toml    what a copy needs to know: flavour, version, where the programs and their files lie, the accounts
#   data/            a stopped data directory: accounts, Millrace's own schema, an empty schema for the application
#   secrets/*.password
#
# Everything in data/ is made with the binlog off, so that all copies are equal and no copy owns a transaction. No
# account has an empty password, nobody is anonymous, and root is locked: the agent's account is the only way in.

make_template() {
    local final=$root/templates/$name new=$root/templates/$name.new stamp
    # A template made by other text, or of another server build, is made again.
    stamp=$(cat "$here/servers/template.sh" "$root/$name/.ok" | sha256sum)
    if [ "$(cat "$final/.ok" 2>/dev/null)" = "$stamp" ]; then return; fi
    rm -rf "$new"
    (umask 077 && mkdir -p "$new/data" "$new/secrets")
    local agent pulse replication app
    agent=$(new_secret "$new/secrets/millrace.password")
    pulse=$(new_secret "$new/secrets/pulse.password")
    replication=$(new_secret "$new/secrets/repl.password")
    app=$(new_secret "$new/secrets/app.password")
    write_contents "$new/contents.sql"
    case $flavour in
        mysql) initialise_mysql ;;
        mariadb) initialise_mariadb ;;
    esac
    # Left in place, the first would give every copy the same identity; the others are of no use to a copy.
    rm -f "$new/data/auto.cnf" "$new/contents.sql" "$new"/data/*.dblwr "$new"/data/*.err "$new/initialise.log"
    write_description "$final" >"$new/template.toml"
    # Copies are made by others, at once and perhaps by hard links: what they copy must be on the disk.
    sync -f "$new"
    echo "$stamp" >"$new/.ok"
    rm -rf "$final"
    mv -T "$new" "$final"
    say "template of $name in $final"
}

# 32 hexadecimal digits: 128 bits, and nothing that SQL, TOML or a shell would read as more than a letter.
new_secret() {
    (umask 077 && head -c 16 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"$1")
    cat "$1"
}

# One statement a line: MariaDB's bootstrap takes a line with two for a syntax error.
write_contents() {
    local host root_password
    root_password=$(head -c 16 /dev/urandom | od -An -v -tx1 | tr -d ' \n')
    {
        if [ "$flavour" = mariadb ]; then
            echo "FLUSH PRIVILEGES;"
            echo "DROP USER IF EXISTS root@'127.0.0.1', root@'::1';" # MariaDB makes them without a password
        fi
        echo "ALTER USER root@localhost IDENTIFIED BY '$root_password' ACCOUNT LOCK;"
        for host in localhost 127.0.0.1; do
            echo "CREATE USER millrace@'$host' IDENTIFIED BY '$agent';"
            echo "GRANT ALL ON *.* TO millrace@'$host' WITH GRANT OPTION;"
            # MariaDB's read_only does not hold an account that may do everything. Heartbeats and canaries must be held
            # by it as any client is, or a closed server would get transactions of its own.
            echo "CREATE USER millrace_pulse@'$host' IDENTIFIED BY '$pulse';"
        done
        echo "CREATE USER millrace_repl@'%' IDENTIFIED BY '$replication';"
        echo "GRANT REPLICATION SLAVE ON *.* TO millrace_repl@'%';"
        echo "CREATE USER app@'%' IDENTIFIED BY '$app';"
        echo "CREATE DATABASE shop;"
        echo "GRANT ALL ON shop.* TO app@'%';"
        echo "CREATE DATABASE millrace;"
        echo "CREATE TABLE millrace.heartbeat (instance VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY, at_us BIGINT NOT NULL, seq BIGINT NOT NULL, epoch BIGINT NOT NULL) ENGINE=InnoDB;"
        echo "CREATE TABLE millrace.canary (id INT NOT NULL PRIMARY KEY, at_us BIGINT NOT NULL) ENGINE=InnoDB;"
        # There from the start in every copy, so that a canary only ever updates: an insert that came back as an extra
        # transaction would clash with the next primary's.
        echo "INSERT INTO millrace.canary VALUES (1, 0);"
        for host in localhost 127.0.0.1; do
            echo "GRANT SELECT, INSERT, UPDATE, DELETE ON millrace.* TO millrace_pulse@'$host';"
        done
    } >"$1"
}

# As root a server refuses to run unless it is told that this is meant.
server_user=()
[ "$(id -u)" = 0 ] && server_user=(--user=root)

# Speed over safety, which a template that is synced at the end can afford; redo as small as it may be.
initialise_mysql() {
    local usr=$root/$name/usr
    "$usr/sbin/mysqld" --no-defaults --initialize-insecure "${server_user[@]}" \
        --basedir="$usr" --datadir="$new/data" --lc-messages-dir="$usr/share/mysql" \
        --init-file="$new/contents.sql" --skip-log-bin --log-error="$new/initialise.log" \
        --innodb-redo-log-capacity=16M --innodb-buffer-pool-size=64M --innodb-doublewrite=OFF --innodb-flush-method=nosync ||
        initialise_failed
    # An error in the init file does not change the exit code.
    if grep -q '\[ERROR\]' "$new/initialise.log"; then initialise_failed; fi
}

initialise_mariadb() {
    local usr=$root/$name/usr scripts=$root/$name/usr/share/mysql
    {
        echo "CREATE DATABASE mysql;"
        echo "USE mysql;"
        echo "SET @auth_root_socket=NULL, @skip_auth_anonymous=1;"
        # The rows for the host's name would be a second root.
        sed '/@current_hostname/d' "$scripts/mysql_system_tables.sql" "$scripts/mysql_performance_tables.sql" \
            "$scripts/mysql_system_tables_data.sql" "$scripts/maria_add_gis_sp_bootstrap.sql" "$scripts/mysql_sys_schema.sql"
        echo "USE mysql;"
        cat "$new/contents.sql"
    } | "$usr/sbin/mariadbd" --no-defaults --bootstrap "${server_user[@]}" \
        --basedir="$usr" --datadir="$new/data" --plugin-dir="$usr/lib/mysql/plugin" --lc-messages-dir="$usr/share/mysql" \
        --skip-log-bin --enforce-storage-engine= --max-allowed-packet=8M --performance-schema=ON \
        --innodb-log-file-size=16M --innodb-buffer-pool-size=64M --innodb-doublewrite=OFF --innodb-flush-method=nosync \
        >"$new/initialise.log" 2>&1 ||
        initialise_failed
    if grep -q '^ERROR\|\[ERROR\]' "$new/initialise.log"; then initialise_failed; fi
}

initialise_failed() {
    tail -n 20 "$new/initialise.log" >&2
    die 2 "could not initialise a data directory with $name; the lines above are the server's"
}

# The paths are those of the final place.
write_description() {
    local place=$1 usr=$root/$name/usr prefix=mariadb
    [ "$flavour" = mysql ] && prefix=mysql
    describe_flavour
    local client=$usr/bin/$prefix admin binlog dump
    case $flavour in
        mysql) admin=$usr/bin/mysqladmin binlog=$usr/bin/mysqlbinlog dump=$usr/bin/mysqldump ;;
        mariadb) admin=$usr/bin/mariadb-admin binlog=$usr/bin/mariadb-binlog dump=$usr/bin/mariadb-dump ;;
    esac
    cat <<TOML
flavour = "$flavour"
version = "$(tail -n 1 "$root/$name/.ok")"
data = "$place/data"

server = "$usr/sbin/$program"
client = "$client"
admin = "$admin"
binlog = "$binlog"
dump = "$dump"

basedir = "$usr"
plugin-dir = "$usr/lib/mysql/plugin"
lc-messages-dir = "$usr/share/mysql"
character-sets-dir = "$usr/share/mysql/charsets"

[accounts.agent]
user = "millrace"
password-file = "$place/secrets/millrace.password"

[accounts.pulse]
user = "millrace_pulse"
password-file = "$place/secrets/pulse.password"
schema = "millrace"

[accounts.replication]
user = "millrace_repl"
password-file = "$place/secrets/repl.password"

[accounts.application]
user = "app"
password-file = "$place/secrets/app.password"
schema = "shop"
TOML
}
