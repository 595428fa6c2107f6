#!/usr/bin/env bash
# Usage: run.sh [-full]
# Builds what the demo runs, runs it, and says how long each took. With -full that is MinIO and Vault too.
set -euo pipefail
cd "$(dirname "$0")/../.."
began=$SECONDS
servers="awscli openssh"
[ "${1:-}" != -full ] || servers="minio vault $servers"
# shellcheck disable=SC2086 # a list of words
testdata/servers/build.sh $servers
installed=$((SECONDS - began))
echo "demo: building valetkey and what \"valetkeyd dev\" brings"
mkdir -p bin
# What it runs and no more, without what debuggers read: a newcomer waits for it.
go build -trimpath -ldflags='-s -w' -o bin/ ./cmd/valetkeyd ./cmd/valetkey ./testdata/demo
go build -C cmd/valetkey-target -trimpath -ldflags='-s -w' -o "$PWD/bin/" .
built=$((SECONDS - began - installed))
PATH="$PWD/bin:$PATH" bin/demo "$@"
echo "demo: $((SECONDS - began)) s in all, $installed of them for the tools and servers, $built to build ours"
