#!/usr/bin/env bash
# Runs the stages of `make test`, all of them even if one fails, and ends with the number of tests that ran.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
results=bin/tests
rm -rf "$results"
mkdir -p "$results"

# stage | what it does and how long it takes on 2 cores, cold / warm
stages=(
  "fmt-check|formatting (cold 5 min: builds golangci-lint; warm 5 s)"
  "vet|go vet (cold 3 min; warm 5 s)"
  "lint|golangci-lint (cold 4 min; warm 20 s)"
  "verify|generated code and manifests are clean (cold 1 min; warm 15 s)"
  "servers|etcd, Kubernetes, podinfo, Traefik, Prometheus from their Go modules (cold 6 min; warm 1 s)"
  "unit|unit tests, with the race detector (cold 8 min; warm 2 min)"
  "worlds|random worlds: the planner against a simulated cluster (3 min)"
  "e2e|API tests on the real API server; stories, 20 rollouts under faults and an upgrade on a local cluster (20 min)"
)

"${MAKE:-make}" --no-print-directory setup || exit 1

failed=()
began=$SECONDS
n=0
for entry in "${stages[@]}"; do
  n=$((n + 1))
  stage="${entry%%|*}"
  echo
  echo "==> [$n/${#stages[@]}] $stage: ${entry#*|}"
  at=$SECONDS
  if "${MAKE:-make}" --no-print-directory "$stage"; then
    echo "<== $stage ok after $((SECONDS - at)) s"
  else
    echo "<== $stage FAILED after $((SECONDS - at)) s"
    failed+=("$stage")
  fi
done

echo
echo "==> summary after $(((SECONDS - began) / 60)) min $(((SECONDS - began) % 60)) s"
if ((${#failed[@]} > 0)); then
  echo "FAILED stages: ${failed[*]}"
else
  echo "all stages passed: ${stages[*]%%|*}"
fi
go run ./hack/testsum total -dir "$results" || exit 1
((${#failed[@]} == 0))
