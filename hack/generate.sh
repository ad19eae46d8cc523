#!/usr/bin/env bash
# Generates deepcopy methods, CRDs, RBAC and docs/api.md. The first argument is where they go (default: this tree).
# "all" (default), "code" or "manifests" as second argument says what.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
out="${1:-$root}"
what="${2:-all}"
cache="${SISKIN_CACHE:-$HOME/.cache/siskin}"
cd "$root"

hack/build-tools.sh controller-gen
gen="$cache/bin/controller-gen"
mkdir -p "$out/api/v1" "$out/kustomize/crd" "$out/kustomize/rbac" "$out/kustomize/namespaced/tenant" "$out/docs"

if [[ "$what" != manifests ]]; then
  "$gen" object paths=./api/... "output:object:dir=$out/api/v1"
fi
if [[ "$what" != code ]]; then
  "$gen" crd:allowDangerousTypes=true paths=./api/... "output:crd:dir=$out/kustomize/crd"
  "$gen" rbac:roleName=siskin "paths=./pkg/canary/...;./pkg/gitsync/...;./pkg/router/..." "output:rbac:dir=$out/kustomize/rbac"
  go run ./hack/tenantrole -out "$out/kustomize/namespaced/tenant/role.yaml" "$out/kustomize/rbac/role.yaml"
  go run ./hack/apidoc -out "$out/docs/api.md" "$out"/kustomize/crd/siskin.dev_*.yaml
fi
