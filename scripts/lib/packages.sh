# shellcheck shell=bash
# Sourced by the scripts beside this folder. Each of them says what it needs; `install_missing` then installs, on
# Debian and its relatives, the packages of those needs that are not met, and touches nothing when all are.

missing=()

die() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 1
}

# need "PACKAGE..." TEST...  notes the packages for installation unless the command TEST succeeds.
need() {
    local packages=$1
    shift
    "$@" >/dev/null 2>&1 && return
    # Several packages may be given as one word list.
    # shellcheck disable=SC2206
    missing+=($packages)
}

# A compiler without the C library's headers is of no use, so the test includes one.
compiles_c() {
    cc -x c -fsyntax-only - <<<'#include <stdlib.h>'
}

has_postgresql_server() {
    compgen -G '/usr/lib/postgresql/*/bin/initdb'
}

# OpenSSL and libpq are compiled from source; OpenSSL's Configure wants modules that perl-base does not carry.
need_build_tools() {
    command -v cargo >/dev/null || die 'cargo is missing: install Rust 1.95 or later (https://rustup.rs)'
    need 'gcc libc6-dev' compiles_c
    need make command -v make
    need perl perl -MFindBin -MIPC::Cmd -MFile::Compare -MPod::Usage -e1
}

install_missing() {
    ((${#missing[@]})) || return 0
    local remedy="install ${missing[*]} and start again"
    command -v apt-get >/dev/null || die "no apt-get here: $remedy"

    local as_root=()
    if ((EUID != 0)); then
        command -v sudo >/dev/null || die "neither root nor sudo: $remedy (as root: apt-get install ${missing[*]})"
        as_root=(sudo)
    fi

    printf '%s: installing %s\n' "${0##*/}" "${missing[*]}" >&2
    # Whoever installs the server for these tests wants its binaries, not a database that starts with the machine.
    local drop_in=
    if [[ " ${missing[*]} " == *' postgresql '* && ! -e /etc/postgresql ]]; then
        drop_in=/etc/postgresql-common/createcluster.d/no-main-cluster.conf
        "${as_root[@]}" mkdir -p "${drop_in%/*}"
        "${as_root[@]}" tee "$drop_in" >/dev/null <<<'create_main_cluster = false'
    fi

    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
    local installed=yes
    # A failed update may still leave lists that are good enough.
    "${apt[@]}" update >&2 || true
    "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >&2 || installed=no
    if [[ $drop_in ]]; then
        "${as_root[@]}" rm -f "$drop_in"
    fi
    [[ $installed == yes ]] || die "apt-get failed: $remedy"
    missing=()
}
