#!/usr/bin/env bash
# Breaks Redis in every way there is and tells what the service makes of it: scripts/drill.sh [OPTION...] [SCENARIO...]
# Builds the laboratory, after installing what it needs, and calls `alacena-lab drill`, whose --help tells the options.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib/packages.sh
source "$root/scripts/lib/packages.sh"

need_build_tools
need postgresql has_postgresql_server
need redis-server command -v redis-server
install_missing

exec cargo run --release --manifest-path "$root/Cargo.toml" -p alacena-lab -- drill "$@"
