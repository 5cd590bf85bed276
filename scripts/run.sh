#!/usr/bin/env bash
# Builds Alacena, after installing what the build needs, and runs it: scripts/run.sh [COMMAND [OPTION...]]
# Without a command it serves. The working directory stays the caller's: `data/` and `config/` are looked for there.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib/packages.sh
source "$root/scripts/lib/packages.sh"

need_build_tools
install_missing

exec cargo run --release --manifest-path "$root/Cargo.toml" -- "$@"
