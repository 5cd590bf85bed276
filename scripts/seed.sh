#!/usr/bin/env bash
# Fills the configured database with plausible rows: scripts/seed.sh [USERS [PRODUCTS [OPTION...]]]
# Ten thousand users and a thousand products unless told otherwise; the same numbers give the same rows.
set -euo pipefail

users=${1:-10000}
products=${2:-1000}
if [[ ! $users =~ ^[0-9]+$ || ! $products =~ ^[0-9]+$ ]]; then
    printf 'usage: %s [USERS [PRODUCTS [OPTION...]]]\n' "${0##*/}" >&2
    exit 2
fi

exec "$(dirname "${BASH_SOURCE[0]}")/run.sh" seed --users "$users" --products "$products" "${@:3}"
