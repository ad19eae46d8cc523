#!/usr/bin/env bash
# Checks what the machine must have and installs what Debian packages can give (git, gcc) when that is permitted.
set -euo pipefail

if ! command -v go >/dev/null; then
  echo "setup: Go 1.26 or later is needed: https://go.dev/dl" >&2
  exit 1
fi
# Go reads go.mod: one that is too old downloads a newer one, or says so when it must not.
if ! out="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && go list -m 2>&1)"; then
  echo "setup: Go 1.26 or later is needed: https://go.dev/dl: ${out##*$'\n'}" >&2
  exit 1
fi

packages=()
command -v git >/dev/null || packages+=(git)
command -v gcc >/dev/null || packages+=(gcc libc6-dev)
if ((${#packages[@]} > 0)); then
  if [[ "$(id -u)" == 0 ]] && command -v apt-get >/dev/null; then
    echo "setup: installing ${packages[*]} (Debian packages, about 1 min)"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -q && apt-get install -q -y --no-install-recommends "${packages[@]}"; } >/tmp/siskin-setup.log 2>&1 ||
      { tail -n 20 /tmp/siskin-setup.log; echo "setup: could not install ${packages[*]}" >&2; }
  else
    echo "setup: ${packages[*]} missing; install with: sudo apt-get install ${packages[*]}" >&2
  fi
fi

if ! command -v git >/dev/null; then
  echo "setup: git is needed: GitSync's tests run a real git server" >&2
  exit 1
fi
if ! command -v gcc >/dev/null; then
  echo "setup: WARNING: no gcc: tests run WITHOUT the race detector" >&2
fi
