#!/usr/bin/env bash
# Runs every test. It says first what is not built yet and how long each part took last time, which is kept beside the
# servers, so that nobody waits without knowing for what.
set -euo pipefail
cd "$(dirname "$0")/.."
last=${VALETKEY_SERVERS:-$HOME/.cache/valetkey/servers}/test.seconds
began=$SECONDS
testdata/servers/build.sh
took="have not passed here yet"
[ ! -s "$last" ] || took="took $(cat "$last") s last time"
echo "test: the servers took $((SECONDS - began)) s; the tests $took"

# What the tests write they also sync, over and over, which on a disk is most of their time: where memory has room, their
# files are there. Whoever sets TMPDIR has the last word. The name is one letter, as the paths of sockets have to be short,
# and its mode lets the servers and clients in that run as other users.
room=$(df -B1G --output=avail /dev/shm 2> /dev/null | tail -n 1) || room=0
if [ -z "${TMPDIR:-}" ] && [ "$room" -ge 8 ]; then
  for dir in /dev/shm/{a..z}; do
    if mkdir -m 755 "$dir" 2> /dev/null; then
      export TMPDIR=$dir
      trap 'rm -rf "$TMPDIR"' EXIT
      break
    fi
  done
fi

began=$SECONDS
go test -race -count=1 -p 2 -timeout 30m ./...
(cd testdata/iam/oracle && go test -count=1 ./...)
(cd cmd/valetkey-target && go test -race -count=1 ./...)
echo $((SECONDS - began)) > "$last"
echo "test: all passed, in $((SECONDS - began)) s"
