#!/bin/sh
# Runs a benchmark, or all that run in one process, and prints their results as
#   BENCH <name> stock=<value> durable=<value> ratio=<durable/stock>
# The one called "agent" measures whole processes and takes hours; it has flags of
# its own, see scripts/bench.sh agent --help. docs/performance.md says what each one
# measures.
set -eu

dir=$(cd "$(dirname "$0")/.." && pwd)
names=$(sed -n 's/^\t{"\([a-z0-9-]*\)", .*/\1/p' "$dir/test/bench/bench_test.go")

usage() {
	echo "usage: scripts/bench.sh <name>|all [--small] [--series N] [--profiles DIR] [--verbose]" >&2
	echo "       scripts/bench.sh agent [--small] [--help for more]" >&2
	echo "names:" >&2
	echo "$names" | sed 's/^/  /' >&2
	exit 2
}

[ $# -gt 0 ] || usage
name=$1
shift
cd "$dir"
export CGO_ENABLED="${CGO_ENABLED:-0}" GOWORK=off
if [ "$name" = agent ]; then
	exec scripts/bench-agent.sh "$@"
fi
case $name in
all) pattern=Benchmark ;;
*)
	if ! echo "$names" | grep -qFx -e "$name"; then
		echo "there is no benchmark \"$name\"" >&2
		usage
	fi
	pattern="Benchmark/^$name\$"
	;;
esac
verbose=
for arg; do
	shift
	case $arg in
	--small) set -- "$@" -small ;;
	--series | --profiles) set -- "$@" "${arg#-}" ;;
	--verbose) verbose=1 ;;
	-*) usage ;;
	*) set -- "$@" "$arg" ;;
	esac
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${GO:-go}" test -c -o "$work/bench.test" ./test/bench
status=0
: >"$work/out"
"$work/bench.test" -test.run '^$' -test.bench "$pattern" -test.benchtime 1x -test.timeout 3h "$@" >>"$work/out" 2>&1 &
pid=$!
trap 'kill $pid 2>/dev/null || true; rm -rf "$work"' EXIT
# Lines appear as they come; a failure shows everything.
tail -n +1 -f --pid=$pid "$work/out" | if [ "$verbose" ]; then cat; else grep --line-buffered '^BENCH ' || true; fi
wait $pid || status=$?
if [ $status -ne 0 ] || ! grep -q '^BENCH ' "$work/out"; then
	cat "$work/out" >&2
	echo "no result of $name" >&2
	exit 1
fi
