#!/usr/bin/env bash
# Builds the servers of the local cluster from their Go modules (tools/*) into ${SISKIN_CACHE:-~/.cache/siskin}/bin.
# A server is built again only when its go.mod, go.sum or flags have changed. Names of servers as arguments build
# only those. Safe to call several times at once.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
bin="${SISKIN_CACHE:-$HOME/.cache/siskin}/bin"
mkdir -p "$bin"
exec 9>"$bin/.lock"
flock 9

kube="-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36"
# name | folder of tools/ | package | time of a cold build on 2 cores | build tags | linker flags
servers=(
  "etcd|kubernetes|go.etcd.io/etcd/server/v3|1 min||-s -w"
  "kube-apiserver|kubernetes|k8s.io/kubernetes/cmd/kube-apiserver|3 min||$kube"
  "kube-controller-manager|kubernetes|k8s.io/kubernetes/cmd/kube-controller-manager|1 min||$kube"
  "kubectl|kubernetes|k8s.io/kubernetes/cmd/kubectl|30 s||$kube"
  "podinfo|podinfo|github.com/stefanprodan/podinfo/cmd/podinfo|30 s||-s -w"
  "podcli|podinfo|github.com/stefanprodan/podinfo/cmd/podcli|5 s||-s -w"
  "traefik|traefik|github.com/traefik/traefik/v3/cmd/traefik|5 min||-s -w"
  "prometheus|prometheus|github.com/prometheus/prometheus/cmd/prometheus|2 min|remove_all_sd,enable_kubernetes_sd|-s -w"
)

wanted() {
  local name="$1" arg
  shift
  (($# == 0)) && return 0
  for arg; do
    [[ "$arg" == "$name" || ("$arg" == podinfo && "$name" == podcli) ]] && return 0
  done
  return 1
}

n=0
for entry in "${servers[@]}"; do
  n=$((n + 1))
  IFS='|' read -r name dir package cold tags ldflags <<<"$entry"
  wanted "$name" "$@" || continue
  stamp="$({ cat "$root/tools/$dir/go.mod" "$root/tools/$dir/go.sum"; echo "$package $tags $ldflags"; } | sha256sum | cut -d' ' -f1)"
  if [[ -x "$bin/$name" && -f "$bin/$name.stamp" && "$(<"$bin/$name.stamp")" == "$stamp" ]]; then
    continue
  fi
  echo "building $name (about $cold the first time, then cached) [$n/${#servers[@]}]"
  began=$SECONDS
  out="$(mktemp "$bin/.$name.XXXXXX")"
  trap 'rm -f "$out"' EXIT
  (cd "$root/tools/$dir" && CGO_ENABLED=0 go build -trimpath -tags "$tags" -ldflags "$ldflags" -o "$out" "$package")
  chmod 755 "$out"
  mv "$out" "$bin/$name"
  echo "$stamp" >"$bin/$name.stamp"
  echo "... done in $((SECONDS - began)) s"
done
