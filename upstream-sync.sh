#!/bin/sh
# Makes a Prometheus tree out of upstream's and ours, builds and tests it; see --help.
# The work is done by scripts/sync, which is compiled first (a second, once).
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
tool=$root/build/tools/sync
GOOS= GOARCH= GOWORK=off go build -C "$root" -buildvcs=false -o "$tool" ./scripts/sync || exit 2
exec "$tool" --root "$root" "$@"
