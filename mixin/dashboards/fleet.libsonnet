local g = import '../grafana.libsonnet';
local m = (import 'metrics.libsonnet').agents;

function(config, uids) g.dashboard(config, 'Fleet', uids.fleet, 'All agents: which of them need somebody.', false, [
  {
    title: 'State',
    height: 4,
    panels: [
      g.stat('Agents', 'Agents with durable delivery.', 'short', 'count(%s)' % m.log('retained_bytes')),
      g.stat('Endpoints', 'Endpoints of all agents.', 'short', 'count(%s)' % m.storage('unacked_bytes')),
      g.stat(
        'Behind',
        'Endpoints that are over five minutes behind and keep a part of the log.',
        'short',
        'count((%s) > %d) or vector(0)' % [m.behindAndHolding, config.behindSeconds],
        [[null, 'green'], [1, 'orange']],
      ),
      g.stat(
        'Refusing',
        'Endpoints that have refused everything for over a minute: a wrong password or URL, mostly.',
        'short',
        'count(%s > 60) or vector(0)' % m.storage('refusing_seconds'),
        [[null, 'green'], [1, 'red']],
      ),
      g.stat(
        'Broken logs',
        'Agents whose log cannot be written to.',
        'short',
        'sum(%s)' % m.log('broken'),
        [[null, 'green'], [1, 'red']],
      ),
      g.stat(
        'Next loss in',
        'When a limit takes samples of the first endpoint, if nothing is delivered to it.',
        's',
        'min(%s)' % m.untilLoss,
        [[null, 'red'], [config.lossNearSeconds, 'orange'], [config.lossSeconds, 'green']],
        'none in sight',
      ),
      g.stat(
        'Lost',
        'Samples, histograms and exemplars that were lost in the time shown: forfeited to a limit, refused for good, or unreadable.',
        'short',
        'sum(%s)\n+ sum(%s)\n+ sum(%s)' % [
          m.classes('%s_expired_total', '', m.lost),
          m.classes('%s_failed_total', '', m.lost),
          m.lost(m.storage('unreadable_total')),
        ],
        [[null, 'green'], [1, 'red']],
      ),
    ],
  },
  {
    title: 'Endpoints',
    height: 10,
    panels: [
      g.table(
        'Endpoints',
        'Each endpoint of each agent.',
        ['instance', 'remote_name'],
        [
          { title: 'backlog', unit: 'bytes', expr: 'sum by(instance, remote_name) (%s)' % m.storage('unacked_bytes') },
          { title: 'behind', unit: 's', expr: 'max by(instance, remote_name) (%s)' % m.behindAndHolding },
          { title: 'until loss', unit: 's', expr: 'min by(instance, remote_name) (%s)' % m.untilLoss },
          { title: 'to catch up', unit: 's', expr: 'max by(instance, remote_name) (%s)' % m.toCatchUp },
          { title: 'refusing for', unit: 's', expr: 'max by(instance, remote_name) (%s > 0)' % m.storage('refusing_seconds') },
          { title: 'series not taken', unit: 'short', expr: 'sum by(instance, remote_name) (%s > 0)' % m.storage('isolated_series') },
          { title: 'delivered', unit: 'cps', expr: m.delivered('instance, remote_name') },
        ],
        [
          { title: 'The agent', url: '/d/%s?${datasource:queryparam}&var-instance=${__data.fields.instance}&${__url_time_range}' % uids.agent },
          { title: 'The endpoint', url: '/d/%s?${datasource:queryparam}&var-instance=${__data.fields.instance}&var-remote_name=${__data.fields.remote_name}&${__url_time_range}' % uids.endpoint },
        ],
      ),
    ],
  },
  {
    title: 'Over time',
    height: 8,
    panels: [
      g.graph('Backlog', 'Bytes of the log that each endpoint has not acknowledged.', 'bytes', [
        g.line('sum by(instance, remote_name) (%s)' % m.storage('unacked_bytes'), '{{instance}} {{remote_name}}'),
      ], true),
      g.graph('Time until loss', 'When a limit takes samples, for endpoints to which nothing is delivered.', 's', [
        g.line('min by(instance, remote_name) (%s)' % m.untilLoss, '{{instance}} {{remote_name}}'),
      ]),
    ],
  },
  {
    title: 'Rates',
    height: 8,
    panels: [
      g.graph('Samples taken', 'Samples that each agent writes to its log.', 'cps', [
        g.line('sum by(instance) (%s)' % m.rate(m.m('prometheus_agent_samples_appended_total')), '{{instance}}'),
      ], true),
      g.graph('Delivered', 'Samples, histograms and exemplars that endpoints took.', 'cps', [
        g.line(m.delivered('instance, remote_name'), '{{instance}} {{remote_name}}'),
      ], true),
      g.graph('Lost', 'What a limit took, what endpoints refused for good, and what could not be read.', 'cps', [
        g.line('sum by(instance, remote_name, reason) (%s) > 0' % m.classes('%s_expired_total'), '{{instance}} {{remote_name}}: {{reason}}'),
        g.line('sum by(instance, remote_name) (%s) > 0' % m.classes('%s_failed_total'), '{{instance}} {{remote_name}}: refused'),
        g.line('sum by(instance, remote_name) (%s) > 0' % m.rate(m.storage('unreadable_total')), '{{instance}} {{remote_name}}: unreadable'),
      ]),
    ],
  },
])
