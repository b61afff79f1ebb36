#!/usr/bin/env bash
# What `make bench` calls, once everything is built:  make bench BENCH_ARGS="--rows durable-1 --rounds 9"
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck disable=SC2086 # BENCH_ARGS is several words.
exec python3 bench/run.py ${BENCH_ARGS:-} "$@"
