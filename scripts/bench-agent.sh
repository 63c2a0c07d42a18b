#!/bin/sh
# The benchmark of the agent as a process, which scripts/bench.sh runs as "agent": builds
# what is measured and what measures, and passes its arguments on. ACKWAL_PROMETHEUS names
# another binary of ours, ACKWAL_STOCK_PROMETHEUS one of upstream's to measure beside it,
# ACKWAL_VMAGENT one of vmagent, which is otherwise built of its module. Where that cannot
# be had it is left out, as it is from --small. ACKWAL_OTELCOL names the OpenTelemetry
# Collector that `make peers` builds; without it there is none.
set -eu
cd "$(dirname -- "$0")/.."
go=${GO:-go}
export CGO_ENABLED="${CGO_ENABLED:-0}" GOWORK=off
tools=build/tools
mkdir -p "$tools"
"$go" build -o "$tools/agent-benchmark" ./test/bench/agent
case " $* " in
*" --help "* | *" -h "* | *" -help "*) exec "$tools/agent-benchmark" --help ;;
esac

prometheus=${ACKWAL_PROMETHEUS:-}
if [ -z "$prometheus" ]; then
	./upstream-sync.sh build --tags remove_all_sd --bin build/lean
	prometheus=build/lean/prometheus
fi
vmagent=${ACKWAL_VMAGENT:-}
case " $* " in
*" --small "* | *" -small "*) ;;
*)
	if [ -z "$vmagent" ]; then
		vmagent=$tools/vmagent
		if ! "$go" build -C test/bench/agent/vmagent -o "$PWD/$vmagent" github.com/VictoriaMetrics/VictoriaMetrics/app/vmagent; then
			echo "vmagent cannot be built here: it is left out" >&2
			vmagent=
		fi
	fi
	;;
esac
exec "$tools/agent-benchmark" --prometheus "$prometheus" --upstream "${ACKWAL_STOCK_PROMETHEUS:-}" --vmagent "$vmagent" --otelcol "${ACKWAL_OTELCOL:-}" "$@"
