#!/usr/bin/env bash
# The test command: format, lints, and every test of the workspace, after installing what these need.
# Arguments go to `cargo test`, as in: scripts/test.sh --test http -- login
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib/packages.sh
source "$root/scripts/lib/packages.sh"

need_build_tools
need postgresql has_postgresql_server
need redis-server command -v redis-server
need memcached command -v memcached
need chromium command -v chromium
need chromium-driver command -v chromedriver
install_missing

for component in fmt clippy; do
    cargo "$component" --version >/dev/null 2>&1 ||
        die "cargo $component is missing: rustup component add rustfmt clippy"
done

cd "$root"
cargo fmt --all --check
cargo clippy --workspace --all-targets --locked -- -D warnings
exec cargo test --workspace --locked "$@"
