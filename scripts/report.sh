#!/usr/bin/env bash
# Prints the tables of the last scripts/benchmark.sh and draws its page and pictures anew: scripts/report.sh [OPTION...] [FOLDER]
# Calls `alacena-lab report`, whose --help tells the options.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib/packages.sh
source "$root/scripts/lib/packages.sh"

need_build_tools
install_missing

exec cargo run --release --manifest-path "$root/Cargo.toml" -p alacena-lab -- report "$@"
