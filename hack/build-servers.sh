#!/usr/bin/env bash
# Builds the servers of the local cluster from their Go modules (tools/*) into ${SISKIN_CACHE:-~/.cache/siskin}/bin.
# A server is built again only when its modules, its patches or its flags have changed. Names of servers as arguments build
# only those. Safe to call several times at once.
#
# Servers of one module are built by one go command, so that the linker of one works beside the compiler of another; the modules
# of the next are downloaded meanwhile. No -trimpath, and the same versions wherever possible (hack/versions checks that): so
# that the standard library, client-go and the rest are compiled once for the servers and for Siskin.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# shellcheck source=hack/progress.sh
source "$root/hack/progress.sh"
export CGO_ENABLED=0
cache="${SISKIN_CACHE:-$HOME/.cache/siskin}"
bin="$cache/bin"
logs="$cache/logs"
mkdir -p "$bin" "$logs"

version="v1.36.3"
kube="-s -w -X k8s.io/component-base/version.gitVersion=$version -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36"
# name | group | folder of tools/ | package. What a group needs besides its folder's go.mod and go.sum: see parts.
servers=(
  "podinfo|podinfo|podinfo|github.com/stefanprodan/podinfo/cmd/podinfo"
  "podcli|podinfo|podinfo|github.com/stefanprodan/podinfo/cmd/podcli"
  "etcd|Kubernetes|kubernetes|go.etcd.io/etcd/server/v3"
  "kube-apiserver|Kubernetes|kubernetes|k8s.io/kubernetes/cmd/kube-apiserver"
  "kube-controller-manager|Kubernetes|kubernetes|k8s.io/kubernetes/cmd/kube-controller-manager"
  "kubectl|Kubernetes|kubernetes|k8s.io/kubernetes/cmd/kubectl"
  "prometheus|Prometheus|servers|github.com/prometheus/prometheus/cmd/prometheus"
  "traefik|Traefik|servers|github.com/traefik/traefik/v3/cmd/traefik"
)
groups=(podinfo Kubernetes Prometheus Traefik)
# Linker flags, build tags, and folders of tools/ whose files are part of a group.
declare -A ldflags=([podinfo]="-s -w" [Kubernetes]="$kube" [Prometheus]="-s -w" [Traefik]="-s -w")
declare -A tags=([podinfo]="" [Kubernetes]="" [Prometheus]="remove_all_sd,enable_kubernetes_sd" [Traefik]="")
declare -A parts=([podinfo]="podinfo/swagger" [Kubernetes]="" [Prometheus]="servers/prometheus servers/sigv4" [Traefik]="servers/traefik servers/traefik-ext")

wanted() {
  local name="$1" arg
  shift
  (($# == 0)) && return 0
  for arg; do
    [[ "$arg" == "$name" || ("$arg" == podinfo && "$name" == podcli) ]] && return 0
  done
  return 1
}

# stamp GROUP FOLDER PACKAGE
stamp() {
  local part
  {
    cat "$root/tools/$2/go.mod" "$root/tools/$2/go.sum"
    for part in ${parts[$1]}; do
      (cd "$root/tools" && find "$part" -type f -print0 | sort -z | xargs -0 sha256sum)
    done
    echo "$3 ${tags[$1]} ${ldflags[$1]}"
  } | sha256sum | cut -d' ' -f1
}

declare -A stale=() folder=() stamps=()
# look finds what is to be built.
look() {
  local entry name group dir package
  stale=()
  for entry in "${servers[@]}"; do
    IFS='|' read -r name group dir package <<<"$entry"
    wanted "$name" "$@" || continue
    stamps[$name]="$(stamp "$group" "$dir" "$package")"
    if [[ ! -x "$bin/$name" || ! -f "$bin/$name.built" || "$(<"$bin/$name.built")" != "${stamps[$name]}" ]]; then
      stale[$group]+=" $name"
      folder[$group]="$dir"
    fi
  done
}
look "$@"
((${#stale[@]} > 0)) || exit 0
# Who finds all that it wants does not wait for one who builds something else.
exec 9>"$bin/.lock"
flock 9
look "$@"
((${#stale[@]} > 0)) || exit 0

tmp="$(mktemp -d "$bin/.build.XXXXXX")"
fetcher=""
trap 'rm -rf "$tmp"; [[ -z "$fetcher" ]] || kill -- "-$fetcher" 2>/dev/null || true' EXIT

# package NAME
package() {
  local entry
  for entry in "${servers[@]}"; do
    [[ "$entry" != "$1|"* ]] || echo "${entry##*|}"
  done
}

# prepare GROUP: its source is there, and all modules that it needs; the number of its packages is in $tmp/GROUP.
prepare() {
  local group="$1" name list=()
  for name in ${stale[$group]}; do
    list+=("$(package "$name")")
  done
  if [[ "${folder[$group]}" == servers ]]; then
    # One module graph: go wants both.
    "$root/hack/patch-module.sh" prometheus
    "$root/hack/patch-module.sh" traefik
  fi
  (packages "$root/tools/${folder[$group]}" -tags "${tags[$group]}" "${list[@]}") >"$tmp/$group.count"
  mv "$tmp/$group.count" "$tmp/$group"
}

# All modules are downloaded one group after the other in the background, in a process group of its own; Siskin's come last.
set -m
(
  for group in "${groups[@]}"; do
    [[ -z "${stale[$group]:-}" ]] || prepare "$group" || : >"$tmp/$group"
  done
  packages "$root" ./cmd/siskin ./e2e/cluster/localcluster ./e2e/demo >/dev/null
) >"$logs/download.log" 2>&1 9>&- &
fetcher=$!
set +m

for group in "${groups[@]}"; do
  [[ -n "${stale[$group]:-}" ]] || continue
  names="${stale[$group]# }"
  label="$group"
  [[ "${names,,}" == "${group,,}" ]] || label="$group (${names// /, })"
  began=$SECONDS
  until [[ -f "$tmp/$group" ]]; do
    [[ ! -t 1 ]] || say "$label" "downloading, $((SECONDS - began)) s"
    kill -0 "$fetcher" 2>/dev/null || [[ -f "$tmp/$group" ]] || : >"$tmp/$group"
    sleep 0.2
  done
  list=()
  for name in $names; do
    list+=("$(package "$name")")
  done
  mkdir -p "$tmp/out"
  (compile "$label" "$logs/$group.log" "$tmp/$group" "$root/tools/${folder[$group]}" \
    -tags "${tags[$group]}" -ldflags "${ldflags[$group]}" -o "$tmp/out/" "${list[@]}") ||
    { tail -n 5 "$logs/download.log" >&2; exit 1; }
  # go calls it by its package.
  [[ ! -f "$tmp/out/server" ]] || mv "$tmp/out/server" "$tmp/out/etcd"
  for name in $names; do
    mv "$tmp/out/$name" "$bin/$name"
    echo "${stamps[$name]}" >"$bin/$name.built"
  done
done
