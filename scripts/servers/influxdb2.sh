# shellcheck shell=bash
# influxdb2.sh: sourced by who builds an InfluxDB 2.7, which is to be had as a Go module alone. Gives build_influxdb2. Its parser of Flux is
# Rust, which the module's own pkg-config compiles. The caller has say, die.

influxdb2_version=v2.7.12

# Builds it into folder $1, unless it is there.
build_influxdb2() {
    local home=$1 new=$1.new tool
    if [ "$(cat "$home/.ok" 2>/dev/null)" = "$influxdb2_version" ]; then return; fi
    for tool in go cargo clang protoc pkg-config; do
        command -v "$tool" >/dev/null || die 2 "InfluxDB 2.7 is built with $tool, and there is none here"
    done
    say "building InfluxDB $influxdb2_version into $home (once, some minutes)"
    rm -rf "$new"
    mkdir -p "$new"
    cat >"$new/main.go" <<'END'
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/influxdata/influxdb/v2/cmd/influxd/launcher"
	_ "github.com/influxdata/influxdb/v2/tsdb/engine/tsm1"
	_ "github.com/influxdata/influxdb/v2/tsdb/index/tsi1"
	"github.com/spf13/viper"
)

func main() {
	command, err := launcher.NewInfluxdCommand(context.Background(), viper.New())
	if err == nil {
		err = command.Execute()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
END
    # A lint that is newer than the parser must not end its build.
    printf '#!/bin/sh\nexec "$@" --cap-lints warn\n' >"$home.rustc"
    chmod +x "$home.rustc"
    if ! (
        cd "$new" && export GOBIN=$new GOFLAGS=-mod=mod RUSTC_WRAPPER=$home.rustc
        # The module's pkg-config looks for the library where cargo puts it by itself.
        unset CARGO_TARGET_DIR
        # The version of Rust that the parser names is not fetched: the one that is there will do.
        RUSTUP_TOOLCHAIN=$(rustup show active-toolchain 2>/dev/null | cut -d ' ' -f 1)
        if [ -n "$RUSTUP_TOOLCHAIN" ]; then export RUSTUP_TOOLCHAIN; fi
        go mod init store &&
            go mod edit -require "github.com/influxdata/influxdb/v2@$influxdb2_version" &&
            replace_as_influxdb_does &&
            go install "github.com/influxdata/pkg-config@v0.2.14" &&
            go mod tidy &&
            PKG_CONFIG=$new/pkg-config go build -tags 'sqlite_foreign_keys sqlite_json' -o influxd .
    ) >"$new/log" 2>&1; then
        tail -n 15 "$new/log" >&2
        die 2 "could not build InfluxDB $influxdb2_version; the lines above are the build's"
    fi
    rm -rf "$home"
    mkdir -p "$home"
    mv "$new/influxd" "$home/influxd"
    rm -rf "$new" "$home.rustc"
    echo "$influxdb2_version" >"$home/.ok"
    say "InfluxDB $influxdb2_version is in $home"
}

# A replacement counts only in the main module, so those of the server's own are repeated.
replace_as_influxdb_does() {
    local mod from to
    mod=$(go mod download -json "github.com/influxdata/influxdb/v2@$influxdb2_version" | sed -n 's/^\t"GoMod": "\(.*\)",$/\1/p') || return
    awk '$2 == "=>" { print $1, $3 "@" $4 } $1 == "replace" && $3 == "=>" { print $2, $4 "@" $5 }' "$mod" | while read -r from to; do
        go mod edit -replace "$from=$to" || return
    done
}
