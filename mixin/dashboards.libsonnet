{
  local config = $._config,
  local uids = { fleet: 'prometheus-agent-fleet', agent: 'prometheus-agent-one', endpoint: 'prometheus-agent-endpoint' },
  grafanaDashboards+:: {
    'agent-fleet.json': (import 'dashboards/fleet.libsonnet')(config, uids),
    'agent-one.json': (import 'dashboards/agent.libsonnet')(config, uids),
    'agent-endpoint.json': (import 'dashboards/endpoint.libsonnet')(config, uids),
  },
}
