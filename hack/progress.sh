# Functions to build Go programs with one line of progress, sourced by the build scripts. What go says (downloads, compiler
# output) goes to a log, whose end is shown when a build fails.
# shellcheck shell=bash

# The compiler collects garbage less often: a quarter less work for a few hundred MiB more.
export GOGC="${GOGC:-400}"

# packages DIR ARGS...: downloads the modules of the packages ARGS (flags of go list first), and nothing else, and writes the
# number of packages.
packages() {
  local dir="$1"
  shift
  cd "$dir" && go list -deps "$@" | wc -l
}

# say LABEL TEXT: on a terminal the line replaces the one before.
say() {
  if [[ -t 1 ]]; then
    printf '\r\033[K%s: %s' "$1" "$2"
  else
    printf '%s: %s\n' "$1" "$2"
  fi
}

# compile LABEL LOG TOTAL DIR ARGS...: runs "go build ARGS" in DIR. TOTAL is a file that will hold the number of packages of the
# build, or stay empty until they are downloaded. go names each package that it compiles; what its cache has is not named.
compile() {
  local label="$1" log="$2" total="$3" dir="$4" pid status=0 last=-15 seconds n all began=$SECONDS
  shift 4
  : >"$log"
  (cd "$dir" && exec go build -v "$@") >>"$log" 2>&1 &
  pid=$!
  # However this script ends, its build does not go on alone.
  trap "kill $pid 2>/dev/null || true" EXIT
  while kill -0 "$pid" 2>/dev/null; do
    seconds=$((SECONDS - began))
    if [[ -t 1 ]] || ((seconds >= last + 15)); then
      last=$seconds
      n="$(grep -cE '^[a-z][^ :]*$' "$log" || true)"
      all="$(cat "$total" 2>/dev/null || true)"
      if ((n == 0)); then
        say "$label" "downloading and loading, $seconds s"
      elif [[ "$all" =~ ^[1-9][0-9]*$ ]]; then
        say "$label" "$((n * 100 / all)) % of $all packages, $seconds s"
      else
        say "$label" "$n packages, $seconds s"
      fi
    fi
    sleep 0.5
  done
  wait "$pid" || status=$?
  trap - EXIT
  [[ ! -t 1 ]] || printf '\r\033[K'
  if ((status != 0)); then
    echo "$label: FAILED after $((SECONDS - began)) s, the end of $log:" >&2
    tail -n 30 "$log" | sed 's/^/  /' >&2
    return 1
  fi
  echo "$label: built in $((SECONDS - began)) s"
}
