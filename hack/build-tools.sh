#!/usr/bin/env bash
# Builds the developer tools from their Go modules (tools/lint, tools/codegen) into ${SISKIN_CACHE:-~/.cache/siskin}/bin.
# A tool is built again only when its go.mod or go.sum has changed. Names of tools as arguments build only those. Safe to
# call several times at once.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
bin="${SISKIN_CACHE:-$HOME/.cache/siskin}/bin"
mkdir -p "$bin"

# name | folder of tools/ | package | time of a cold build on 2 cores
tools=(
  "controller-gen|codegen|sigs.k8s.io/controller-tools/cmd/controller-gen|30 s"
  "golangci-lint|lint|github.com/golangci/golangci-lint/v2/cmd/golangci-lint|4 min"
)

build() {
  local name="$1" dir="$2" package="$3" cold="$4" stamp out began
  exec 9>"$bin/.$name.lock"
  flock 9
  stamp="$(cat "$root/tools/$dir/go.mod" "$root/tools/$dir/go.sum" | sha256sum | cut -d' ' -f1)"
  if [[ -x "$bin/$name" && -f "$bin/$name.stamp" && "$(<"$bin/$name.stamp")" == "$stamp" ]]; then
    return
  fi
  echo "building $name (about $cold the first time, then cached)"
  began=$SECONDS
  out="$(mktemp "$bin/.$name.XXXXXX")"
  if ! (cd "$root/tools/$dir" && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$out" "$package"); then
    rm -f "$out"
    return 1
  fi
  chmod 755 "$out"
  mv "$out" "$bin/$name"
  echo "$stamp" >"$bin/$name.stamp"
  echo "... done in $((SECONDS - began)) s"
}

for entry in "${tools[@]}"; do
  IFS='|' read -r name dir package cold <<<"$entry"
  if (($# == 0)) || [[ " $* " == *" $name "* ]]; then
    build "$name" "$dir" "$package" "$cold"
  fi
done
