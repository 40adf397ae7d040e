#!/usr/bin/env bash
# The gateway beside nginx (`proxy_pass`, keep-alive) and beside the bare upstream, in one interleaved run. Needs nginx and
# wrk. `run.sh [--rounds N] [--seconds N] [--streams N]`; prints the table of benches/README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --release --locked --bin grok2api --example loader
exec python3 benches/proxy/run.py --target "${CARGO_TARGET_DIR:-target}/release" "$@"
