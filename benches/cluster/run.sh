#!/usr/bin/env bash
# What a cluster costs: messages on the bus per request, CPU per request beside a node alone. `run.sh messages|cpu [OPTIONS]`;
# prints the tables of benches/README.md. Needs nats-server on PATH, or NATS_SERVER. PROFILE=fast builds sooner.
set -euo pipefail
cd "$(dirname "$0")/../.."
profile=${PROFILE:-release}
[ -n "${NO_BUILD:-}" ] || cargo build --profile "$profile" --locked --bin grok2api --example loader
exec python3 benches/cluster/run.py --target "${CARGO_TARGET_DIR:-target}/$profile" "$@"
