# The one image of every role: `docker build --tag ledgerflux:dev .` (BuildKit). The command is the role, for example `ingestor`.

# The web page, which the gateway embeds.
FROM node:22-bookworm-slim AS page
WORKDIR /src/gateway/web
COPY gateway/web/package.json gateway/web/package-lock.json gateway/web/.npmrc ./
RUN --mount=type=cache,target=/root/.npm npm ci
COPY proto/ledgerflux.v1.binpb /src/proto/
COPY gateway/web ./
RUN npm run build

# The toolchain of rust-toolchain.toml; that file is not copied, so that rustup has nothing to fetch.
FROM rust:1.95.0-bookworm AS build
WORKDIR /src
COPY . .
COPY --from=page /src/gateway/web/embed/page gateway/web/embed/page
# The caches stay between builds on one machine, so a changed line costs one link and not the world.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --locked --profile dist -p ledgerflux \
    && install -D --mode=0755 target/dist/ledgerflux /image/usr/local/bin/ledgerflux

# What the program needs to run and nothing else: its shared libraries and their loader, the certificate authorities that the
# exchange's certificate is checked with, name resolution, a user without rights, and a writable folder where the root file system is not read-only.
RUN set -eu; \
    cd /image; \
    ldd usr/local/bin/ledgerflux | awk '/=> \// { print $3 } $1 ~ /^\// { print $1 }' \
        | while read -r library; do install -D --mode=0755 "$library" "/image$library"; done; \
    install -D --mode=0644 /etc/ssl/certs/ca-certificates.crt etc/ssl/certs/ca-certificates.crt; \
    echo 'hosts: files dns' > etc/nsswitch.conf; \
    echo 'ledgerflux:x:10001:10001::/var/lib/ledgerflux:/usr/sbin/nologin' > etc/passwd; \
    echo 'ledgerflux:x:10001:' > etc/group; \
    install --directory --owner=10001 --group=10001 --mode=0750 var/lib/ledgerflux; \
    install --directory --mode=1777 tmp

FROM scratch
COPY --from=build /image /
USER 10001:10001
WORKDIR /var/lib/ledgerflux
# Gateway, query, and /metrics, /health and /ready.
EXPOSE 8000 50051 9100
ENTRYPOINT ["/usr/local/bin/ledgerflux"]
CMD ["--help"]
