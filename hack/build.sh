#!/usr/bin/env bash
# Builds bin/siskin, bin/localcluster and bin/demo. The argument has the linker flags.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# shellcheck source=hack/progress.sh
source "$root/hack/progress.sh"
mkdir -p "$root/bin"
mains=(./cmd/siskin ./e2e/cluster/localcluster ./e2e/demo)
# From the second time on go takes a moment, and nothing is said.
if [[ -x "$root/bin/demo" ]]; then
  cd "$root" && exec go build -ldflags "$1" -o bin/ "${mains[@]}"
fi
total="$(mktemp)"
trap 'rm -f "$total"' EXIT
(packages "$root" "${mains[@]}") >"$total" 2>"$root/bin/build.log" || { tail -n 20 "$root/bin/build.log" >&2; exit 1; }
(compile "Siskin and the demo" "$root/bin/build.log" "$total" "$root" -ldflags "$1" -o bin/ "${mains[@]}")
