#!/bin/bash
# servers.sh fetch    mysql|mariadb    unpacks the server and its tools into a private folder; installs nothing
# servers.sh template mysql|mariadb    that, and a template directory from which instances are copied
# servers.sh path     mysql|mariadb    prints the template directory (made or not)
#
# Both servers come from Debian's packages, which cannot be installed beside each other or beside a server that the
# owner has; unpacked they collide with nothing. Everything lies under $MILLRACE_SERVERS (default
# ~/.cache/millrace/servers) and needs no root. Repeating a command costs nothing; concurrent callers wait.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${MILLRACE_SERVERS:-${XDG_CACHE_HOME:-${HOME:?servers.sh: neither MILLRACE_SERVERS nor HOME is set}/.cache}/millrace/servers}
. "$here/servers/apt.sh"
. "$here/servers/fetch.sh"
. "$here/servers/template.sh"

say() { echo "servers: $*" >&2; }
die() { # CODE MESSAGE
    local code=$1
    shift
    say "$@"
    exit "$code"
}

command=${1:-}
flavour=${2:-}
case $flavour in
    mysql) name=mysql-9.7 ;;
    mariadb) name=mariadb-10.11 ;;
    *) die 2 "usage: servers.sh fetch|template|path mysql|mariadb" ;;
esac
mkdir -p "$root/templates"
root=$(realpath "$root")

# One caller works, the others wait and then find the work done. The lock is the file's, so it ends with the process.
exec 9>"$root/.$name.lock"
case $command in
    path) printf '%s\n' "$root/templates/$name" ;;
    fetch)
        flock 9
        fetch_server
        ;;
    template)
        flock 9
        fetch_server
        make_template
        ;;
    *) die 2 "usage: servers.sh fetch|template|path mysql|mariadb" ;;
esac
