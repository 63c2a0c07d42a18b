#!/bin/sh
# Builds upstream's web pages and lays them, compressed, into build/fork, where
# a binary built with the tag builtinassets takes them from. Needs Node.js, npm
# and bash; packages come from npm's registry. `make ui` calls it.
#
# The work is done by upstream's own build_ui.sh and compress_assets.sh, in a
# copy: what npm installs contains Go files, which must not get into the tree.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
fork=$root/build/fork
work=$root/build/ui
pnpm=$root/build/tools/pnpm
# A version that runs on Node.js 20 and reads the lock file of upstream's.
version=10.34.9

for tool in node npm bash; do
	command -v "$tool" >/dev/null || { echo "build-ui.sh: $tool is not installed; the pages are built with Node.js 20.19 or newer, npm and bash" >&2; exit 2; }
done
[ -f "$fork/web/ui/build_ui.sh" ] || { echo "build-ui.sh: there is no tree in $fork; make it with: make assemble" >&2; exit 2; }

# What the pages are made from: if it is as it was, so are they.
sources=$(cd "$fork/web/ui" && find . -type f ! -path './static/*' ! -name embed.go -exec cksum {} + | LC_ALL=C sort | cksum)
if [ "$(cat "$work/built" 2>/dev/null)" != "$sources" ]; then
	rm -rf "$work"
	mkdir -p "$work" "$pnpm"
	cp -R "$fork/web/ui/." "$work"
	# Keeps the Go files here out of our own module.
	echo "module ui" >"$work/go.mod"
	if [ "$("$pnpm/node_modules/.bin/pnpm" --version 2>/dev/null)" != "$version" ]; then
		npm install --prefix "$pnpm" --no-save --no-audit --no-fund "pnpm@$version"
	fi
	PATH=$pnpm/node_modules/.bin:$PATH
	cd "$work"
	CI=true pnpm install --frozen-lockfile
	# The pages of --enable-feature=old-ui need files in a directory with the
	# name vendor, which Go leaves out of modules.
	CI='' pnpm run build:mantine-ui
	printf '%s\n' "$sources" >built
fi
cd "$fork"
PREBUILT_ASSETS_STATIC_DIR=$work/static bash scripts/compress_assets.sh
echo "$fork/web/ui/static: $(find web/ui/static -type f | wc -l) files"
