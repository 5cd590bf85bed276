# Two stages: the first compiles (C compiler, make and perl come with the image), the second holds the binary alone.

FROM rust:1.95-bookworm AS build
WORKDIR /build

# The dependencies, in a layer that stays until a manifest or the lock file changes: the workspace is built with empty
# sources. Targets that a manifest declares by name ([[bench]] and the like) have no file here and are left out.
COPY Cargo.toml Cargo.lock ./
COPY lab/Cargo.toml lab/
COPY macros/Cargo.toml macros/
COPY macros/tests/alone/Cargo.toml macros/tests/alone/
COPY examples/memcached/Cargo.toml examples/memcached/
RUN for manifest in Cargo.toml */Cargo.toml macros/tests/alone/Cargo.toml examples/memcached/Cargo.toml; do \
        awk '/^\[/ { skip = /^\[\[/ } !skip' "$manifest" > trimmed && mv trimmed "$manifest" || exit 1; \
    done \
    && mkdir -p src lab/src macros/src examples/memcached/src \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs lab/src/lib.rs macros/src/lib.rs macros/tests/alone/lib.rs examples/memcached/src/lib.rs \
    && cargo build --release --locked --package alacena --bin alacena

# The sources keep the times they have on the host, which may lie before those of the empty ones: cargo goes by time.
COPY . .
RUN touch src/main.rs src/lib.rs macros/src/lib.rs \
    && cargo build --release --locked --package alacena --bin alacena


FROM debian:bookworm-slim

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Alacena" \
      org.opencontainers.image.description="Users and products over REST, read out of a cache that never serves what a write has replaced" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# Any version of the certificates that the release carries is the right one.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 alacena \
    && useradd --uid 10001 --gid alacena --home-dir /var/lib/alacena --no-create-home --shell /usr/sbin/nologin alacena \
    && install --directory --owner=alacena --group=alacena --mode=0750 /var/lib/alacena /var/lib/alacena/data

COPY --from=build /build/target/release/alacena /usr/local/bin/alacena

# Production wants ALACENA__AUTH__JWT_SECRET, ALACENA__AUTH__ADMIN_EMAIL and ALACENA__AUTH__ADMIN_PASSWORD besides; the
# secrets may come as files (ALACENA__AUTH__JWT_SECRET_FILE). OpenSSL is compiled in and would look for the
# certificates under /usr/local.
ENV ALACENA_PROFILE=production \
    ALACENA__SERVER__HOST=0.0.0.0 \
    ALACENA__DATABASE__URL=sqlite:///var/lib/alacena/data/alacena.db \
    ALACENA__SERVER__METRICS_ADDRESS=0.0.0.0:9464 \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt

USER 10001:10001
WORKDIR /var/lib/alacena
VOLUME ["/var/lib/alacena/data"]
# The service; and its metrics, which nobody outside is to reach: publish 8000 alone.
EXPOSE 8000 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["alacena", "healthcheck", "--live"]
ENTRYPOINT ["alacena"]
CMD ["serve"]
