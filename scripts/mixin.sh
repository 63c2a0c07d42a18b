#!/bin/sh
# Makes of mixin/ what is checked in: the alerts and the dashboards in mixin/out, and the
# table of alerts in docs/operations.md. With an argument they go to that directory
# instead. `make mixin` and its test call it.
set -eu
cd "$(dirname -- "$0")/.."
to=$(cd "${1:-.}" && pwd)
go=${GO:-go}

mkdir -p "$to/mixin/out" "$to/docs" build
(
	cd mixin
	"$go" tool jsonnetfmt --test -- *.jsonnet *.libsonnet dashboards/*.libsonnet
	"$go" tool jsonnet -S alerts.jsonnet >"$to/mixin/out/alerts.yaml"
	"$go" tool jsonnet -m "$to/mixin/out" dashboards.jsonnet >/dev/null
	"$go" tool jsonnet -S table.jsonnet
) >build/alerts.md
awk '
	/^<!-- end of alerts -->$/ { skip = 0 }
	!skip { print }
	/^<!-- alerts, made by make mixin -->$/ { skip = 1; while ((getline line < "build/alerts.md") > 0) if (line != "") print line }
' docs/operations.md >build/operations.md
cp build/operations.md "$to/docs/operations.md"
