#!/usr/bin/env bash
# Fails when generated files are not what `make generate manifests` would write. It compares files, not commits, and writes
# nothing into the tree, so that it works in any checkout, also one without a .git.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
tmp="$(mktemp -d)"
trap 'rm -rf "$tmp"' EXIT
"$root/hack/generate.sh" "$tmp"

stale=0
while IFS= read -r -d '' file; do
  name="${file#"$tmp"/}"
  if ! diff -u --label "$name" --label "$name (generated)" "$root/$name" "$file"; then
    stale=1
  fi
done < <(find "$tmp" -type f -print0 | sort -z)
for file in "$root"/kustomize/crd/siskin.dev_*.yaml; do
  if [[ ! -f "$tmp/kustomize/crd/$(basename "$file")" ]]; then
    echo "kustomize/crd/$(basename "$file") belongs to no type any more"
    stale=1
  fi
done
if ((stale)); then
  echo "generated files are stale: run 'make generate manifests' and commit the result" >&2
  exit 1
fi
echo "generated files are up to date"
