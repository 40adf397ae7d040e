#!/usr/bin/env bash
# 100,000 tokens: start, memory, first admin page. `run.sh [--tokens N] [--panel]`; prints the table of benches/README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --release --locked --bin grok2api
exec python3 benches/scale/run.py --target "${CARGO_TARGET_DIR:-target}/release" "$@"
