#!/usr/bin/env bash
# Runs the tests, from the cheapest that can fail to the dearest, and stops at the first failure.
#
#   scripts/test.sh              every stage
#   scripts/test.sh unit asan    these stages
#   scripts/test.sh tsan         the thread sanitizer, which takes too long for every day
#
# Each stage prints one line; what it said in full is in build/logs/<stage>.log. A stage builds what it needs, so
# that it can run alone. Environment: SEEDS (simulated histories, 300), FUZZ_SECONDS (for each program, 10),
# FUZZ_SEED (1; 0 draws one).
set -euo pipefail
cd "$(dirname "$0")/.."

SEEDS=${SEEDS:-300}
export FUZZ_SECONDS=${FUZZ_SECONDS:-10} FUZZ_SEED=${FUZZ_SEED:-1}
jobs=$(nproc)
logs=build/logs
stages=(format floors build unit sim asan fuzz lint e2e)

sources() {
  # Outside a checkout (an unpacked archive) every file counts.
  git ls-files '*.h' '*.cc' 2>/dev/null || find src story bench tests -name '*.h' -o -name '*.cc'
}

# configure and build: build_tree <preset> [target...]
build_tree() {
  local preset=$1
  shift
  cmake --preset "$preset"
  cmake --build --preset "$preset" -j "$jobs" ${1:+--target "$@"}
}

stage_format() { # Layout is not discussed: `make format` settles it.
  # Files deleted but not yet committed are still listed: leave them out.
  sources | while read -r file; do [ ! -f "$file" ] || echo "$file"; done |
    xargs --no-run-if-empty -P "$jobs" -n 20 clang-format-19 --dry-run -Werror
}

stage_floors() { # Who may include whom; that every event of the log is explained; that what the tables of docs/ say is there.
  tests/floors_test.py
  tests/events_test.py
  tests/mqtt_table_test.py
  tests/hostile_table_test.py
}

stage_build() { # The product, as `make run` builds it.
  build_tree release
}

stage_unit() { # The floors' own tests, with g++.
  build_tree release
  ctest --test-dir build/release --no-tests=error --output-on-failure -j "$jobs" --timeout 120
}

stage_sim() { # The whole node in a simulated world that loses power, packets and messages.
  build_tree sim
  ctest --test-dir build/sim --output-on-failure -j "$jobs" --timeout 300
  build/sim/src/sim/holdfast_sim --bugs
  build/sim/src/sim/holdfast_sim --seeds "$SEEDS"
}

stage_asan() { # The same tests with clang's address and undefined behaviour sanitizers; both compilers' histories.
  build_tree sim holdfast_sim
  build_tree asan
  ctest --test-dir build/asan --no-tests=error --output-on-failure -j "$jobs" --timeout 300
  histories sim >$logs/histories-sim
  histories asan >$logs/histories-asan
  diff $logs/histories-sim $logs/histories-asan
  echo "$(wc -l <$logs/histories-sim) scenarios, the same histories from both compilers"
}

# The digests of what a few seeds made happen: every scenario that is short.
histories() {
  local scenario
  for scenario in swarm three-in-a-row pressure rot-tail restored-child restored-hub cloned-child; do
    "build/$1/src/sim/holdfast_sim" --scenario "$scenario" --seeds 4 |
      sed -n 's/^\([a-z-]* \).*\(trace [0-9a-f]*\).*/\1\2/p'
  done
}

stage_fuzz() { # Every decoder, a few seconds from where its corpus ends.
  build_tree asan
  find build/asan/src -maxdepth 2 -type f -name '*_fuzz' -perm -u+x | sort |
    xargs --no-run-if-empty -P "$jobs" -I{} bash -c 'fuzz_one {}'
}

# New inputs go to build/fuzz/corpus; one worth keeping is moved by hand to src/<folder>/corpus/<program>, which is
# only read here. The input of a crash is kept in build/fuzz/crashes.
fuzz_one() {
  local program=$1 name folder kept log
  name=$(basename "$program")
  folder=$(basename "$(dirname "$program")")
  kept=src/$folder/corpus/$name
  log=build/logs/fuzz-$name.log
  mkdir -p "build/fuzz/corpus/$name" build/fuzz/crashes
  [ -d "$kept" ] || kept=
  if "$program" -max_total_time="$FUZZ_SECONDS" -seed="$FUZZ_SEED" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="build/fuzz/crashes/$name-" "build/fuzz/corpus/$name" ${kept:+"$kept"} >"$log" 2>&1; then
    echo "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs"
  else
    echo "$name FAILED, see $log"
    grep -v '^#' "$log" | tail -n 40
    return 1
  fi
}
export -f fuzz_one

stage_lint() { # clang-tidy, on what changed since it last passed.
  scripts/lint.py --budget-s 180
}

stage_e2e() { # The binary as a user meets it: real sockets, real files, real kills.
  build_tree release
  python3 tests/e2e/run.py
}

stage_tsan() { # Not part of "every stage": threads under clang's thread sanitizer, alone and in the binary with real traffic.
  build_tree release story
  build_tree tsan io_test holdfast
  build/tsan/src/io/io_test --gtest_brief=1
  HOLDFAST_BUILD=$PWD/build/tsan python3 tests/e2e/run.py crash doors http users link
}

[ $# -gt 0 ] || set -- "${stages[@]}"
for stage in "$@"; do
  declare -F "stage_$stage" >/dev/null || {
    echo "test: no stage '$stage' (${stages[*]})" >&2
    exit 2
  }
done

mkdir -p "$logs"
started=$EPOCHREALTIME
seconds_since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f s", b - a }'; }

# Says what was done: how many tests, files, seeds.
last_line() { { grep -v -e '^ *$' -e '^Total Test time' "$1" || true; } | tail -n 1 | cut -c 1-80; }

for stage in "$@"; do
  printf '%-7s ' "$stage"
  begin=$EPOCHREALTIME
  # In a subshell of its own and not in an `if`, so that set -e still stops it at the first error.
  set +e
  (
    set -e
    "stage_$stage"
  ) >"$logs/$stage.log" 2>&1 </dev/null
  code=$?
  set -e
  if [ "$code" -ne 0 ]; then
    printf 'FAILED  %s\n\n' "$(seconds_since "$begin")"
    tail -n 60 "$logs/$stage.log"
    printf '\ntest: stage %s failed; all of it: %s; again: scripts/test.sh %s\n' "$stage" "$logs/$stage.log" "$stage"
    exit 1
  fi
  printf 'ok  %9s  %s\n' "$(seconds_since "$begin")" "$(last_line "$logs/$stage.log")"
done
printf 'all passed in %s\n' "$(seconds_since "$started")"
