#!/bin/sh
# The data directory stays, also when the package is purged: it may hold what no
# endpoint has.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
if [ "$1" = purge ] && [ -d /var/lib/prometheus-agent ]; then
	echo "/var/lib/prometheus-agent is kept. If its samples are delivered or not needed, remove it, and the user prometheus-agent."
fi
