#!/usr/bin/env bash
# A tour of a running instance with curl: scripts/smoke.sh [URL]
# Stops with status 1 at the first answer that is not the expected one. The instance needs a cache backend other than
# `off`. The user it creates is deleted again, whatever happens. SMOKE_EMAIL and SMOKE_PASSWORD name an admin other
# than development's.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib/packages.sh
source "$root/scripts/lib/packages.sh"
need 'curl ca-certificates' command -v curl
install_missing

url=${1:-http://127.0.0.1:8000}
url=${url%/}
admin_email=${SMOKE_EMAIL:-admin@example.com}
admin_password=${SMOKE_PASSWORD:-admin123}

scratch=$(mktemp -d)
token=
user=

tidy() {
    if [[ $user ]]; then
        curl --silent --output /dev/null --max-time 10 --request DELETE --header "Authorization: Bearer $token" \
            "$url/users/$user" || true
    fi
    rm -rf "$scratch"
}
trap tidy EXIT

# call STATUS METHOD PATH [CURL-OPTION...]  sends a request and insists on the status of the answer, whose parts
# `field` and `header` then read.
call() {
    local expected=$1 method=$2 path=$3 status
    shift 3
    : >"$scratch/body"
    status=$(curl --silent --show-error --max-time 10 --request "$method" \
        ${token:+--header "Authorization: Bearer $token"} --dump-header "$scratch/head" --output "$scratch/body" \
        --write-out '%{http_code}' "$@" "$url$path") ||
        die "$method $path: no answer from $url"
    if [[ $status != "$expected" ]]; then
        printf '%s\n' "$(<"$scratch/body")" >&2
        die "$method $path answered $status instead of $expected"
    fi
    printf '%-6s %-32s %s  %s\n' "$method" "$path" "$status" "$(header cache-status)"
}

header() {
    tr -d '\r' <"$scratch/head" | sed -n "s/^$1: *//Ip" | head -n 1
}

# The first top-level string or number of that name; enough for the flat objects of this tour.
field() {
    sed -nE "s/.*\"$1\" *: *\"?([^\",}]+).*/\1/p" "$scratch/body" | head -n 1
}

# came_from PATTERN  insists on where the last answer came from.
came_from() {
    local status
    status=$(header cache-status)
    # The pattern is a glob on purpose.
    # shellcheck disable=SC2053
    [[ $status == $1 ]] || die "Cache-Status is '$status', expected '$1'"
}

json=(--header 'Content-Type: application/json')
email="smoke-$(date +%s)-$$@example.com"

call 200 GET /health/ready
call 401 GET /auth/me
call 200 POST /auth/login --data-urlencode "username=$admin_email" --data-urlencode "password=$admin_password"
token=$(field access_token)
[[ $token ]] || die 'the login answered without an access_token'
call 200 GET /auth/me

password=$(head -c 18 /dev/urandom | base64)
call 201 POST /users "${json[@]}" \
    --data "{\"email\": \"$email\", \"full_name\": \"Smoke Test\", \"password\": \"$password\"}"
user=$(field id)
[[ $user ]] || die 'the new user came without an id'

# A new user may have been cached as it was written.
call 200 DELETE '/cache/clear?pattern=*'
call 200 GET "/users/$user"
came_from 'alacena; fwd=uri-miss*'
call 200 GET "/users/$user"
came_from 'alacena; hit*'
etag=$(header etag)
call 304 GET "/users/$user" --header "If-None-Match: $etag"

call 200 PATCH "/users/$user" "${json[@]}" --data '{"full_name": "Smoke Tested"}'
call 200 GET "/users/$user"
[[ $(field full_name) == 'Smoke Tested' ]] || die 'a read after the change shows the old name'

call 200 GET /cache/stats
printf 'hits %s, misses %s, hit rate %s %%\n' "$(field keyspace_hits)" "$(field keyspace_misses)" "$(field hit_rate)"

call 204 DELETE "/users/$user"
call 404 GET "/users/$user"
user=
call 200 DELETE '/cache/clear?pattern=*'
printf 'cleared %s\n' "$(field cleared)"
echo 'all as expected'
