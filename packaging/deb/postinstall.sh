#!/bin/sh
# Makes the user that the agent runs as. The service is not started: it needs an
# endpoint first, see /etc/prometheus-agent/prometheus.yml.
set -e
[ "$1" = configure ] || exit 0

user=prometheus-agent
if ! getent passwd "$user" >/dev/null; then
	useradd --system --user-group --no-create-home --home-dir /var/lib/prometheus-agent --shell /usr/sbin/nologin "$user"
fi
chgrp "$user" /etc/prometheus-agent/prometheus.yml

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	# After an upgrade the new binary takes over where the old one stopped.
	systemctl try-restart prometheus-agent.service
fi
if [ -z "$2" ]; then
	echo "Name an endpoint in /etc/prometheus-agent/prometheus.yml, then: systemctl enable --now prometheus-agent"
fi
