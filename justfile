# What there is to run: `./just` lists it. CI runs `./just test`.

set positional-arguments

export RUST_BACKTRACE := "1"
dev := justfile_directory() / "deploy/dev"

[private]
default:
    @{{ just_executable() }} --list --unsorted

# everything: format, lints, unit, property and integration tests, those on the real API server included
test: lint setup unit fuzz e2e
    cargo test --locked --workspace --doc

# walk every procedure on a real API server and a real registry; --keep leaves it running
demo *ARGS: setup build
    KUBEBUILDER_ASSETS="$({{ dev }}/kubernetes)" target/debug/demo "$@"

# unit and property tests only, over SQLite and again over PostgreSQL
unit:
    @{{ dev }}/install
    cargo test --locked --workspace --lib --bins
    PULLPASS_TEST_DATABASE=postgres cargo test --locked --workspace --lib --test it

# what strangers can send, sent at random: [TARGET…] [--seconds N]; 5 seconds each without
fuzz *ARGS: setup
    {{ dev }}/fuzz "$@"

# the end-to-end scenarios whose names contain NAME (all of them without)
e2e *NAME: setup build
    KUBEBUILDER_ASSETS="$({{ dev }}/kubernetes)" cargo test --locked --workspace --test '*' -- "$@"

# time the applier against a raw write loop: [NAMESPACES] [--rounds R] [--foreign-secrets F]; figures in docs/benchmarks.md
bench-fanout *ARGS: setup
    cargo build --locked --workspace --bins --release
    KUBEBUILDER_ASSETS="$({{ dev }}/kubernetes)" target/release/bench-fanout "$@"

# time credential-store against empty calls, fdatasync and a small database: [--rounds R] [--versions N] [--streams S]
bench-store *ARGS:
    cargo build --locked --release -p pullpass-credential-store -p e2e --bin credential-store --bin bench-store
    target/release/bench-store "$@"

# format check, clippy, buf lint, cargo-deny
lint: setup
    cargo fmt --all --check
    cargo fmt --manifest-path fuzz/Cargo.toml --check
    cargo clippy --locked --workspace --all-targets --quiet -- --deny warnings
    "$({{ dev }}/tool buf)" lint
    "$({{ dev }}/tool cargo-deny)" --log-level error check bans licenses sources

# known vulnerabilities in what we depend on (fetches the RustSec database)
advisories: setup
    "$({{ dev }}/tool cargo-deny)" check advisories

# format the code
fmt:
    cargo fmt --all
    cargo fmt --manifest-path fuzz/Cargo.toml

# the rustdoc of all crates
doc:
    cargo doc --locked --workspace --no-deps

# build the services, the pullpass command and the demo
build:
    cargo build --locked --workspace --bins

# install what tests and demo need from Debian's packages; build the Kubernetes binaries if there are none
setup:
    {{ dev }}/install
    @{{ dev }}/kubernetes >/dev/null
