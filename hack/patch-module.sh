#!/usr/bin/env bash
# Brings the source of a server that is built in part into bin/src/NAME: the module that tools/servers/NAME/upstream names
# (module, version, checksum), without tests and the paths of tools/servers/NAME/drop, edited by the sed scripts of
# tools/servers/NAME/edit, with the Go files of tools/servers/NAME over it. tools/servers/go.mod replaces the module by
# that directory.
set -euo pipefail

name="$1"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
patch="$root/tools/servers/$name"
out="$root/bin/src/$name"
stamp="$(cd "$patch" && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)"
if [[ -f "$out/.stamp" && "$(<"$out/.stamp")" == "$stamp" ]]; then
  exit 0
fi

read -r module version sum <"$patch/upstream"
mkdir -p "$root/bin/src"
# The checksum is compared here: no need to ask the checksum database.
info="$(cd / && GOFLAGS='' GOWORK=off GONOSUMDB="$module" go mod download -json "$module@$version")"
field() { sed -n "s/^\t\"$1\": \"\(.*\)\",\{0,1\}\$/\1/p" <<<"$info"; }
if [[ "$(field Sum)" != "$sum" ]]; then
  echo "patch-module: $module@$version has checksum $(field Sum), not $sum" >&2
  exit 1
fi

tmp="$(mktemp -d "$root/bin/src/.$name.XXXXXX")"
trap 'rm -rf "$tmp"' EXIT
cp -R "$(field Dir)/." "$tmp"
chmod -R u+w "$tmp"
find "$tmp" -name '*_test.go' -delete
while read -r path; do
  [[ -z "$path" ]] || rm -r "${tmp:?}/$path"
done <"$patch/drop"
if [[ -f "$patch/edit" ]]; then
  while read -r path script; do
    sed -i "$script" "$tmp/$path"
  done <"$patch/edit"
fi
(cd "$patch" && find . -name '*.go' -print0 | xargs -0 cp --parents -t "$tmp")
echo "$stamp" >"$tmp/.stamp"
rm -rf "$out"
mv "$tmp" "$out"
