# Daily commands; `just` alone lists them.

[private]
default:
    @just --list --unsorted

# Build and run: `just run check-config`; without a command it serves
run *arguments:
    scripts/run.sh {{ arguments }}

# What continuous integration runs: format, lints, all tests
test *arguments:
    scripts/test.sh {{ arguments }}

# Lints of the Rust code and of the scripts
lint:
    cargo clippy --workspace --all-targets --locked -- -D warnings
    shellcheck -x scripts/*.sh scripts/lib/*.sh .ci/run

# Format the workspace
fmt:
    cargo fmt --all

# Fill the database with plausible rows
seed users="10000" products="1000":
    scripts/seed.sh {{ users }} {{ products }}

# A tour with curl against a running instance
smoke url="http://127.0.0.1:8000":
    scripts/smoke.sh {{ url }}

# Several instances under load and faults: is any read stale?
freshness *arguments:
    cargo run --release -p alacena-lab -- freshness {{ arguments }}

# Break Redis in every way there is: `just drill freeze` for one of them
drill *arguments:
    scripts/drill.sh {{ arguments }}

# The service without a cache and with each kind: `just benchmark --quick`
benchmark *arguments:
    scripts/benchmark.sh {{ arguments }}

# The tables and pictures of the last benchmark
report *arguments:
    scripts/report.sh {{ arguments }}

# What a cache hit costs, over HTTP and by attribute, and what counting it does
bench:
    cargo bench --bench hit
    cargo bench --bench attributes
    cargo bench --bench counting

# Licences, duplicates, sources and advisories of the dependencies (cargo install cargo-deny)
deny:
    cargo deny --locked check

# Throw away the development data: database and all
clean-data:
    rm -rf data
