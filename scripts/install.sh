#!/usr/bin/env bash
# Installs the Debian 12 packages the project needs, and only those that are missing.
#
#   scripts/install.sh build         what `make run` and `make build` need
#   scripts/install.sh build test    adds clang, its linters and sanitizers, a broker to test against, and MQTT.js
#   scripts/install.sh build bench   adds the servers Holdfast is measured against
#
# Safe to run before every build: with nothing missing it asks dpkg once and returns. Nothing comes from
# anywhere but the Debian archive, except MQTT.js for the end-to-end tests, by npm from its registry, pinned with hashes in
# tests/e2e/js/package-lock.json. No service is started (see block_services).
set -euo pipefail

build_packages=(
  g++-12 make cmake ninja-build ccache lld-19 pkg-config
  libssl-dev libargon2-dev libzstd-dev libtomlplusplus-dev libcli11-dev nlohmann-json3-dev libsimdjson-dev libfmt-dev
  libwslay-dev
  libgtest-dev
  libmosquitto-dev mosquitto-clients python3 # the clients of the story
)
test_packages=(clang-19 clang-tidy-19 clang-format-19 libclang-rt-19-dev mosquitto openssl zstd strace iproute2)
# Debian's npm brings hundreds of small packages. Who has it from elsewhere, with a Node.js of his own, keeps that.
command -v npm >/dev/null && command -v node >/dev/null || test_packages+=(nodejs npm)
bench_packages=(redis-server nats-server mosquitto)

# Packages that bring a daemon we run only by hand, from tests and benchmarks.
daemon_packages=(mosquitto redis-server nats-server)

say() { echo "install: $*"; }
die() { echo "install: $*" >&2; exit 1; }

[ $# -gt 0 ] || die "say which groups: build, test, bench"
wanted=()
for group in "$@"; do
  case "$group" in
    build) wanted+=("${build_packages[@]}") ;;
    test) wanted+=("${test_packages[@]}") ;;
    bench) wanted+=("${bench_packages[@]}") ;;
    *) die "unknown group '$group' (build, test, bench)" ;;
  esac
done

command -v dpkg-query >/dev/null ||
  die "this is not a Debian system; install the equivalents of: ${wanted[*]}"

# dpkg-query fails when it does not know one of the names, and that is an answer, not an error.
declare -A installed=() seen=()
while read -r status name; do
  [ "$status" = installed ] && installed[$name]=1
done < <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${wanted[@]}" 2>/dev/null || true)

missing=()
for name in "${wanted[@]}"; do
  if [ -z "${installed[$name]:-}" ] && [ -z "${seen[$name]:-}" ]; then
    missing+=("$name")
    seen[$name]=1
  fi
done

# MQTT.js, into build/js. What cannot be had is said, and the tests that need it are left out and say so too.
install_js() {
  case " $* " in *" test "*) ;; *) return 0 ;; esac
  local from to=build/js log
  cd "$(dirname "${BASH_SOURCE[0]}")/.."
  from=tests/e2e/js
  cmp -s $from/package-lock.json $to/installed.json && return 0
  say "MQTT.js"
  mkdir -p $to
  cp $from/package.json $from/package-lock.json $to/
  log=$(mktemp)
  if (cd $to && npm ci --ignore-scripts --no-audit --no-fund --fetch-retries=1) >"$log" 2>&1; then
    cp $to/package-lock.json $to/installed.json
    rm -f "$log"
  else
    tail -n 5 "$log" >&2
    say "npm could not install MQTT.js (full log: $log); its tests are left out"
  fi
}

if [ ${#missing[@]} -eq 0 ]; then
  install_js "$@"
  exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || die "missing: ${missing[*]} (neither root nor sudo here, so please install them)"
  as_root=(sudo)
fi

# Debian starts a daemon as soon as its package is configured, unless /usr/sbin/policy-rc.d answers 101. We put
# such a policy there for the length of the installation. One that is there already and answers 101 (containers
# have it) stays untouched; any other is set aside and put back, also when the installation fails.
policy=/usr/sbin/policy-rc.d
aside=$policy.before-holdfast
mark="# holdfast: while packages are installed"

# Knows our policy by its mark, so that it also tidies up after a run that was killed.
restore_services() {
  grep -qs "^$mark" "$policy" || return 0
  "${as_root[@]}" rm -f "$policy"
  [ ! -e "$aside" ] || "${as_root[@]}" mv "$aside" "$policy"
}

block_services() {
  restore_services
  if [ -x "$policy" ]; then
    local answer=0
    "${as_root[@]}" "$policy" mosquitto start >/dev/null 2>&1 || answer=$?
    [ "$answer" -ne 101 ] || return 0
  fi
  trap restore_services EXIT
  trap 'exit 130' INT TERM
  [ ! -e "$policy" ] || "${as_root[@]}" mv "$policy" "$aside"
  printf '#!/bin/sh\n%s\nexit 101\n' "$mark" | "${as_root[@]}" tee "$policy" >/dev/null
  "${as_root[@]}" chmod 755 "$policy"
}

log=$(mktemp)
apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 "$@" >>"$log" 2>&1
}

say "${missing[*]}"
# A failed update is not the end: another archive on this machine may be down while Debian's own lists are fine.
apt update || say "apt-get update failed; going on with the package lists at hand"
block_services
if ! apt install --yes --no-install-recommends "${missing[@]}"; then
  tail -n 20 "$log" >&2
  die "apt could not install: ${missing[*]} (full log: $log)"
fi
rm -f "$log"

# Nor shall a broker that came along for the tests start at the next boot.
if command -v systemctl >/dev/null; then
  for name in "${daemon_packages[@]}"; do
    [ -z "${seen[$name]:-}" ] || "${as_root[@]}" systemctl --quiet disable "$name" 2>/dev/null || true
  done
fi

install_js "$@"
