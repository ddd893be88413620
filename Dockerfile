# The static binary and nothing else. For both architectures:
#
#   docker buildx build --platform linux/amd64,linux/arm64 --tag etcd-bootstrap .
#
# Each is built on its own architecture (buildx emulates the other one), because the C code of ring needs a musl
# compiler for its target, which Debian has for the native one only.
#
# In a container a member needs the host's network (a consumer may do with the metadata service's hop limit at 2), and
# what is not in the image: CA certificates for AWS, the directories that it writes (that of the certificates where it has
# them issued), etcd's data, etcd's version, and the options.
#
#   docker run --rm --network=host --user="$(id -u etcd):$(id -g etcd)" --env=ETCD_BOOTSTRAP_ETCD_VERSION=3.6.16 \
#     --env-file=/etc/etcd-bootstrap/etcd-bootstrap.env \
#     -v /etc/ssl/certs:/etc/ssl/certs:ro -v /etc/ssl/certs/etcd:/etc/ssl/certs/etcd \
#     -v /run/etcd-bootstrap:/run/etcd-bootstrap -v /var/lib/etcd-bootstrap:/var/lib/etcd-bootstrap \
#     -v /var/lib/etcd:/var/lib/etcd etcd-bootstrap

FROM rust:1.95 AS build
ARG TARGETARCH
RUN apt-get update \
 && apt-get install -y --no-install-recommends musl-tools protobuf-compiler libprotobuf-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# First, so that rustup adds the target to the very compiler that rust-toolchain.toml asks for.
COPY rust-toolchain.toml .
RUN case "$TARGETARCH" in \
      amd64) echo x86_64-unknown-linux-musl ;; \
      arm64) echo aarch64-unknown-linux-musl ;; \
      *) echo "no build for '$TARGETARCH'" >&2; exit 1 ;; \
    esac >/target \
 && rustup target add "$(cat /target)"
# The name of the wrapper on both architectures; the cc crate would look for one with the architecture in it.
ENV CC_x86_64_unknown_linux_musl=musl-gcc CC_aarch64_unknown_linux_musl=musl-gcc
COPY . .
RUN cargo build --locked --release --bin etcd-bootstrap --target "$(cat /target)" \
 && install -m 0755 "target/$(cat /target)/release/etcd-bootstrap" /etcd-bootstrap

FROM scratch
COPY --from=build /etcd-bootstrap /etcd-bootstrap
# Nobody: the data directory belongs to etcd's user, whose number differs between hosts, so say it with --user.
USER 65534:65534
ENTRYPOINT ["/etcd-bootstrap"]
