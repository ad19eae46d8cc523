#!/usr/bin/env bash
# Checks, before anything is built, that this machine can build and run the local cluster.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
SISKIN_CACHE="${SISKIN_CACHE:-$HOME/.cache/siskin}"
GOCACHE="$(go env GOCACHE)"
GOMODCACHE="$(go env GOMODCACHE)"
export SISKIN_CACHE GOCACHE GOMODCACHE CGO_ENABLED=0
mkdir -p bin
# The standard library is compiled for it, which every other part needs too.
[[ -x bin/check ]] || echo "checking this machine"
if ! go build -o bin/check ./e2e/cluster/check >bin/check.log 2>&1; then
  tail -n 20 bin/check.log >&2
  echo "check: nothing can be built: are the Go module proxy ($(go env GOPROXY)) and the caches $GOCACHE and $GOMODCACHE within reach?" >&2
  exit 1
fi
exec bin/check
