#!/bin/sh
# Makes a Prometheus tree out of upstream's and ours, builds and tests it; see --help.
# The work is done by scripts/sync, which is compiled first (a second, once).
set -eu
self=$0
while [ -L "$self" ]; do # Where this is called by a link, the project is at its end.
	to=$(readlink -- "$self")
	case $to in
	/*) self=$to ;;
	*) self=$(dirname -- "$self")/$to ;;
	esac
done
root=$(CDPATH='' cd -- "$(dirname -- "$self")" && pwd)
tool=$root/build/tools/sync
GOOS= GOARCH= GOWORK=off go build -C "$root" -buildvcs=false -o "$tool" ./scripts/sync || exit 2
exec "$tool" --root "$root" "$@"
