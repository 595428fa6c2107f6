#!/usr/bin/env bash
# Usage: build.sh [minio] [radosgw] [spire] [vault] [target] [clients] [awscli] [openssh]; without a name, all of them.
# Builds the real servers that the tests run, from the pinned modules beside
# this file, and valetkey-target, into a cache folder outside the tree. What is already built from
# the same files, by the same Go, is left alone. Ceph's gateway is no
# Go: it comes from the distribution (Debian 12 has 16.2.15) and is linked there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${VALETKEY_SERVERS:-$HOME/.cache/valetkey/servers}
mkdir -p "$out"

# stamp MODULE: what a binary was built from.
stamp() {
  local file programs=()
  if [ -f "$here/$1/main.go" ]; then
    for file in "$here/$1/"*.go; do
      case "$file" in *_test.go) ;; *) programs+=("$file") ;; esac
    done
  fi
  cat "$here/$1/go.mod" "$here/$1/go.sum" "${programs[@]}" | sha256sum | cut -d' ' -f1
}

# runs BINARY: whether it starts at all.
runs() {
  case "$1" in
  vault) "$out/$1" version ;;
  *) "$out/$1" --version ;;
  esac > /dev/null 2>&1
}

# took BINARY: how long its last build took here.
took() {
  if [ -s "$out/$1.seconds" ]; then
    echo "it took $(cat "$out/$1.seconds") s last time"
  else
    echo "never built here; on 2 quiet cores vault takes 10 minutes, spire 6, minio 3, the others 2"
  fi
}

# build MODULE BINARY=PACKAGE...
build() {
  local module=$1 want missing="" began pid pair name
  shift
  want=$(stamp "$module")
  for pair in "$@"; do
    name=${pair%%=*}
    if [ "$(cat "$out/$name.stamp" 2> /dev/null)" != "$want" ] || ! [ -x "$out/$name" ] || ! runs "$name"; then
      missing="$missing $pair"
    fi
  done
  if [ -z "$missing" ]; then
    echo "servers: ${module##*/} is up to date"
    return
  fi
  # In a copy: -mod=mod completes go.mod, and the checkout must stay clean.
  local src
  src=$(mktemp -d "$out/.build-${module##*/}.XXXXXX")
  cp "$here/$module/go.mod" "$here/$module/go.sum" "$here/$module/"*.go "$src/"
  for pair in $missing; do
    name=${pair%%=*}
    began=$SECONDS
    echo "servers: building $name ($(took "$name"))"
    (cd "$src" && GOFLAGS=-buildvcs=false CGO_ENABLED=${CGO_ENABLED:-1} go build -mod=mod -trimpath -o "$out/.$name.new" "${pair#*=}") > "$src/log" 2>&1 &
    pid=$!
    while kill -0 "$pid" 2> /dev/null; do
      sleep 1
      if [ $(((SECONDS - began) % 30)) -eq 0 ]; then echo "servers: building $name, $((SECONDS - began)) s"; fi
    done
    if ! wait "$pid"; then
      echo "servers: $name does not build:" >&2
      tail -n 40 "$src/log" >&2
      rm -rf "$src"
      exit 1
    fi
    # Renamed, so that a test never starts half a binary.
    mv "$out/.$name.new" "$out/$name"
    if ! runs "$name"; then
      echo "servers: $name was built and does not run" >&2
      exit 1
    fi
    echo "$want" > "$out/$name.stamp"
    echo $((SECONDS - began)) > "$out/$name.seconds"
    echo "servers: $name built in $((SECONDS - began)) s"
  done
  rm -rf "$src"
}

# gateway: the programs of Ceph's RADOS Gateway, over one monitor and one store.
gateway() {
  local names="ceph ceph-mon ceph-osd monmaptool radosgw radosgw-admin" name sudo="" missing=""
  for name in $names; do
    command -v "$name" > /dev/null || missing="$missing $name"
  done
  if [ -n "$missing" ]; then
    if ! command -v apt-get > /dev/null; then
      echo "servers: install Ceph's$missing; there is no apt-get to do it here" >&2
      exit 1
    fi
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    echo "servers: installing radosgw (70 MB)"
    $sudo apt-get -qq update
    DEBIAN_FRONTEND=noninteractive $sudo apt-get -qq install -y --no-install-recommends \
      radosgw ceph-mon ceph-osd ceph-common > "$out/radosgw.log" 2>&1 || {
      tail -n 20 "$out/radosgw.log" >&2
      exit 1
    }
  fi
  for name in $names; do
    ln -sf "$(command -v "$name")" "$out/$name"
  done
  echo "servers: $("$out/radosgw" --version | cut -d' ' -f1-3) is linked"
}

wanted=${*:-minio radosgw spire vault target clients}
for module in $wanted; do
  case "$module" in
  minio) build minio minio=github.com/minio/minio ;;
  radosgw) gateway ;;
  spire)
    build spire \
      spire-server=github.com/spiffe/spire/cmd/spire-server \
      spire-agent=github.com/spiffe/spire/cmd/spire-agent
    ;;
  vault) build vault vault=github.com/hashicorp/vault ;;
  target) build ../../cmd/valetkey-target valetkey-target=. ;;
  clients) VALETKEY_SERVERS=$out "$here/../clients/install.sh" ;;
  awscli | openssh) VALETKEY_SERVERS=$out "$here/../clients/install.sh" "$module" ;;
  *)
    echo "usage: build.sh [minio] [radosgw] [spire] [vault] [target] [clients] [awscli] [openssh]" >&2
    exit 2
    ;;
  esac
done
echo "servers: ready in $out"
