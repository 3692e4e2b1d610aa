# shellcheck shell=bash disable=SC2034
# apt.sh: sourced by who fetches Debian's packages. Gives own_apt, which leaves in apt_get the command of an apt with lists, cache
# and an EMPTY package state of its own in a folder: the host's apt and dpkg are not touched, and no root is needed. The caller
# has die.

# Prints where the host itself gets suite $1 from, whatever the form of its sources. Debian's own files are read first,
# and an entry counts only with exactly that suite and the component "main": so other vendors are passed over.
host_mirror() {
    local etc=/etc/apt
    # A file that is not there is no error.
    { cat "$etc/sources.list.d/debian.sources" "$etc/sources.list" "$etc"/sources.list.d/*.sources "$etc"/sources.list.d/*.list 2>/dev/null || true; } |
        awk -v suite="$1" '
            function has(text, word,    words, n, i) {
                n = split(text, words, /[ \t]+/)
                for (i = 1; i <= n; i++) if (words[i] == word) return 1
                return 0
            }
            function offer(uri, suites, components) {
                if (!found && uri != "" && has(suites, suite) && has(components, "main")) { print uri; found = 1 }
            }
            /^Types:/      { offer(uri, suites, components); uri = suites = components = "" }
            /^URIs:/       { uri = $2 }
            /^Suites:/     { suites = $0 }
            /^Components:/ { components = $0 }
            /^deb[ \t]/    { sub(/\[[^]]*\][ \t]*/, ""); offer($2, $3, $0) }
            END            { offer(uri, suites, components) }'
}

# Makes an apt in folder $1 for Debian's suite $2, which is wanted for $3.
own_apt() {
    local apt=$1 suite=$2 wanted=$3 mirror security release key=/usr/share/keyrings/debian-archive-keyring.gpg
    command -v apt-get >/dev/null || die 2 "needs Debian's apt-get to fetch $wanted, and there is none here"
    [ -e "$key" ] || die 2 "needs $key to check what it fetches; install debian-archive-keyring"
    release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    mirror=${MILLRACE_DEBIAN_MIRROR:-$(host_mirror "$release")}
    security=$(host_mirror "$release-security")
    [ -n "$mirror" ] || die 2 "found no Debian mirror in /etc/apt; set MILLRACE_DEBIAN_MIRROR to one"
    mkdir -p "$apt/lists/partial" "$apt/archives/partial"
    : >"$apt/status"
    echo "deb [signed-by=$key] $mirror $suite main" >"$apt/sources.list"
    if [ "$suite" != sid ] && [ -n "$security" ]; then
        echo "deb [signed-by=$key] $security $suite-security main" >>"$apt/sources.list"
    fi
    apt_get=(
        apt-get -q -y
        -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null
        -o Dir::State::Lists="$apt/lists" -o Dir::State::status="$apt/status"
        -o Dir::State::extended_states="$apt/extended_states"
        -o Dir::Cache="$apt" -o Dir::Cache::archives="$apt/archives" -o Dir::Log=/dev/null
        -o APT::Install-Recommends=0 -o APT::Get::List-Cleanup=0
        -o APT::Sandbox::User= # nobody's folder is readable for apt's own user
        -o Debug::NoLocking=1  # the host's apt may be busy; ours shares nothing with it
        -o Acquire::Languages=none -o Acquire::Retries=3
        -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
        -o Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled=false
    )
}
