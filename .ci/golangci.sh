#!/usr/bin/env bash
# Runs the pinned golangci-lint, on the module and on that of valetkey-target. Its cache sometimes holds a package whose
# imports it then cannot load; it says so in these words, and only then is the
# cache dropped and the run repeated.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=.ci/tools.sh
. .ci/tools.sh
lint=$(golangci_bin)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
config=$PWD/.golangci.yml

# in_module DIR
in_module() {
  local run=("$lint" run --config "$config" --allow-serial-runners --max-issues-per-linter 0 --max-same-issues 0 ./...)
  (cd "$1" && "${run[@]}") 2>&1 | tee "$log" && return
  grep -q 'Config.Importer.Import(.*) returned nil but no error' "$log" || exit 1
  echo "golangci-lint could not use its cache; running once more without" >&2
  "$lint" cache clean
  (cd "$1" && "${run[@]}")
}

in_module .
in_module cmd/valetkey-target
