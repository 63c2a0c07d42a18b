#!/bin/sh
# Runs upstream's linter, of the version that test/lint pins, with upstream's own
# configuration as it is in the pinned release: on the sources here, whose module
# counts as upstream's, and, unless "sources" is its argument, on our directories in
# the assembled fork, without service discovery, of which nothing is ours. `make lint`
# calls it. It fails if there is no linter.
set -eu
cd "$(dirname -- "$0")/.."
go=${GO:-go}
out=$PWD/build/lint
mkdir -p "$out"

upstream=$("$go" list -m -f '{{.Dir}}' github.com/prometheus/prometheus)
want=$(sed -n 's/^GOLANGCI_LINT_VERSION ?= //p' "$upstream/Makefile.common")
have=$("$go" list -C test/lint -m -f '{{.Version}}' github.com/golangci/golangci-lint/v2)
if [ "$want" != "$have" ]; then
	echo "upstream lints with golangci-lint $want, test/lint pins $have: move it with" >&2
	echo "  go get -C test/lint -tool github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$want" >&2
	exit 1
fi
"$go" build -C test/lint -o "$out/golangci-lint" github.com/golangci/golangci-lint/v2/cmd/golangci-lint

ours=$("$go" list -m)
sed -e "s#^\( *- \)prefix(github.com/prometheus/prometheus)\$#&\n\1prefix($ours)#" \
	-e "s#^\( *- \)github.com/prometheus/prometheus\$#\1github.com/prometheus/prometheus\n\1$ours#" \
	"$upstream/.golangci.yml" >"$out/sources.yml"
cp "$upstream/.golangci.yml" "$out/fork.yml"
chmod u+w "$out"/*.yml

status=0
echo "golangci-lint $have: the sources"
"$out/golangci-lint" run --allow-parallel-runners --config "$out/sources.yml" ./... || status=1
[ "${1:-}" != sources ] || exit $status
for dir in tsdb/wlog tsdb/agent tsdb/internal storage/remote cmd/prometheus; do
	packages="${packages:-} ./$dir/..."
done
echo "golangci-lint $have: the fork"
(cd build/fork && "$out/golangci-lint" run --allow-parallel-runners --build-tags remove_all_sd --config "$out/fork.yml" $packages) || status=1
exit $status
