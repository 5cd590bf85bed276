#!/usr/bin/env bash
# Compares the service without a cache and with each kind of cache: scripts/benchmark.sh [OPTION...] [WORKLOAD...]
# Builds the laboratory, after installing what it needs, and calls `alacena-lab bench`, whose --help tells the options.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib/packages.sh
source "$root/scripts/lib/packages.sh"

need_build_tools
need redis-server command -v redis-server
# One of our own; that of a URL is there already.
case " $* " in
*[=\ ]postgres\ *) need postgresql has_postgresql_server ;;
esac
install_missing

exec cargo run --release --manifest-path "$root/Cargo.toml" -p alacena-lab -- bench "$@"
