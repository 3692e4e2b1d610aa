# shellcheck shell=bash disable=SC2154
# fetch.sh: sourced by servers.sh. Gives fetch_server, which leaves $root/$name complete, with .ok in it.
#
# Debian's packages are resolved by apt with lists, cache and an EMPTY package state of their own, so that the closure
# is complete down to libc; the host's apt and dpkg are not touched. The programs are then pointed at the unpacked libc,
# which makes them run on a host whose libc is older, under their own name in /proc/PID/comm (a start through ld.so
# would be called "ld-linux"), and without LD_LIBRARY_PATH, which their children would inherit.

# Raise it when what is unpacked changes: folders of an older format are fetched again.
fetch_format=1

# The packages of one flavour, and the suite and version that they must come from.
describe_flavour() {
    case $flavour in
        mysql)
            suite=${MILLRACE_MYSQL_SUITE:-sid}     # the only Debian suite with MySQL
            expected=9.7.
            packages=(mysql-server-core mysql-client-core)
            program=mysqld
            programs=(mysqld mysql mysqladmin mysqlbinlog mysqldump)
            ;;
        mariadb)
            suite=${MILLRACE_MARIADB_SUITE:-bookworm}
            expected=10.11.
            packages=(mariadb-server-core mariadb-client-core mariadb-client mariadb-backup)
            program=mariadbd
            programs=(mariadbd mariadb mariadb-admin mariadb-binlog mariadb-dump mariadb-backup mbstream)
            ;;
    esac
}

# Resolves the closure and leaves its .deb files in $1/archives.
download_packages() {
    local apt=$1
    own_apt "$apt" "$suite" "$flavour"
    if ! "${apt_get[@]}" update >"$apt/log" 2>&1 ||
        ! "${apt_get[@]}" --download-only install patchelf "${packages[@]}" >>"$apt/log" 2>&1; then
        tail -n 15 "$apt/log" >&2
        die 2 "could not fetch ${packages[*]} of Debian's $suite; the lines above are apt's"
    fi
}

# Unpacks the .deb files in $1 to $2 in the layout of a merged /usr, which is what the dynamic loader's paths expect.
unpack_packages() {
    local archives=$1 stage=$2 deb directory
    mkdir -p "$stage/usr"
    for directory in bin sbin lib lib64; do
        mkdir -p "$stage/usr/$directory"
        ln -s "usr/$directory" "$stage/$directory"
    done
    for deb in "$archives"/*.deb; do
        # Perl and what only it needs serve the servers' old scripts, none of which we run.
        case ${deb##*/} in perl* | libperl* | libdb5* | libgdbm* | libdbi* | libdbd* | debconf* | gcc-*-base* | libc-gconv*) continue ;; esac
        dpkg-deb --fsys-tarfile "$deb" |
            tar -x -C "$stage" --keep-directory-symlink --no-same-owner --exclude='./etc' --exclude='./var' \
                --exclude='./usr/share/doc*' --exclude='./usr/share/man*' --exclude='./usr/share/locale*' \
                --exclude='./usr/share/lintian*' --exclude='./usr/share/gdb*' --exclude='*/gconv' --exclude='*/myisam*'
    done
}

# Removes from $1 what was not pointed at the unpacked libraries: it would start here and fail there.
keep_only() {
    local stage=$1 file
    for file in "$stage"/usr/bin/* "$stage"/usr/sbin/*; do
        case " ${programs[*]} " in
            *" ${file##*/} "*) ;;
            *) rm -f "$file" ;;
        esac
    done
    find "$stage/usr/share" -mindepth 1 -maxdepth 1 ! -name 'mysql*' ! -name 'mariadb*' -exec rm -rf {} +
    rm -rf "$stage/usr/include" "$stage/usr/games" "${stage:?}/usr/local"
    mkdir -p "$stage/usr/lib/mysql/plugin" # MariaDB's packages leave it out; the server wants it to exist
}

# Points every program of this flavour in $1 at the libraries that will lie in $2.
patch_programs() {
    local stage=$1 final=$2 loader libraries file
    loader=$(find "$stage/usr/lib" "$stage/usr/lib64" -name 'ld-linux*.so.[0-9]' | head -n 1)
    [ -n "$loader" ] || die 2 "the packages of $suite hold no dynamic loader; its layout changed"
    loader=$(realpath "$loader")
    libraries=${loader%/*}
    for file in "${programs[@]}"; do
        file=$(realpath "$(find "$stage/usr/sbin/$file" "$stage/usr/bin/$file" 2>/dev/null | head -n 1)") ||
            die 2 "the packages of $suite hold no $file"
        # patchelf is run with the unpacked libraries too, so that the host needs to have none of them.
        "$loader" --library-path "$libraries" "$stage/usr/bin/patchelf" --force-rpath \
            --set-interpreter "$final${loader#"$stage"}" --set-rpath "$final${libraries#"$stage"}" "$file"
    done
    keep_only "$stage"
    if "$loader" --library-path "$libraries" --list "$stage/usr/sbin/$program" | grep 'not found' >&2; then
        die 2 "$program of $suite misses the libraries above"
    fi
}

fetch_server() {
    local final=$root/$name new=$root/$name.new
    describe_flavour
    if [ "$(head -n 1 "$final/.ok" 2>/dev/null)" = "format $fetch_format" ]; then return; fi
    say "fetching $name from Debian's $suite (about 100 MB, once)"
    rm -rf "$new"
    mkdir -p "$new"
    download_packages "$new/.apt"
    unpack_packages "$new/.apt/archives" "$new"
    rm -rf "$new/.apt"
    patch_programs "$new" "$final"
    # The rpath names the final place, so the first start is possible only there; .ok comes last.
    rm -rf "$final"
    mv -T "$new" "$final"
    local version
    version=$("$final/usr/sbin/$program" --no-defaults --version) || die 2 "$final/usr/sbin/$program does not start"
    version=$(sed -n 's/.* Ver \([0-9][0-9.]*\).*/\1/p' <<<"$version")
    case $version in
        "$expected"*) ;;
        *) die 2 "Debian's $suite now has $program ${version:-unknown}, this needs ${expected}x; name another suite in MILLRACE_${flavour^^}_SUITE" ;;
    esac
    printf 'format %s\n%s\n' "$fetch_format" "$version" >"$final/.ok.new"
    mv "$final/.ok.new" "$final/.ok"
    say "$name is $program $version in $final"
}
