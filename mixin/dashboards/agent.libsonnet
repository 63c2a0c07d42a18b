local g = import '../grafana.libsonnet';
local m = (import 'metrics.libsonnet').agents;

function(config, uids) g.dashboard(config, 'One agent', uids.agent, 'An agent: its log, what keeps it, and what it costs.', false, [
  {
    title: 'State',
    height: 4,
    panels: [
      g.stat('Up for', 'Since the start of the process.', 's', 'min(time() - %s)' % m.m('process_start_time_seconds')),
      g.stat('Series', 'Series that are appended to.', 'short', 'sum(%s)' % m.m('prometheus_agent_active_series')),
      g.stat(
        'Log',
        'Size of the log as a part of its limit. What is delivered counts too, until it is removed.',
        'percentunit',
        'max(%s / (%s > 0))' % [m.log('retained_bytes'), m.log('max_bytes')],
        [[null, 'green']],
        'no limit',
      ),
      g.stat(
        'Kept',
        'The largest part of the limit that one endpoint keeps.',
        'percentunit',
        'max(%s / on(job, instance) group_left() (%s > 0))' % [m.log('held_bytes'), m.log('max_bytes')],
        [[null, 'green'], [0.5, 'orange'], [0.8, 'red']],
        'no limit',
      ),
      g.stat(
        'Next loss in',
        'When a limit takes samples of the first endpoint, if nothing is delivered to it.',
        's',
        'min(%s)' % m.untilLoss,
        [[null, 'red'], [config.lossNearSeconds, 'orange'], [config.lossSeconds, 'green']],
        'none in sight',
      ),
      g.stat('Broken', 'Whether the log cannot be written to: 1 if so.', 'short', 'max(%s)' % m.log('broken'), [[null, 'green'], [1, 'red']]),
      g.stat(
        'Positions on disk',
        'Age of the positions of endpoints on the disk. A second or so is normal.',
        's',
        'max(%s)' % m.storage('savepoint_age_seconds'),
        [[null, 'green'], [10, 'orange'], [60, 'red']],
      ),
    ],
  },
  {
    title: 'Log',
    height: 8,
    panels: [
      g.graph('Size', 'Size of the log, and at which size the oldest samples are forfeited.', 'bytes', [
        g.line(m.log('retained_bytes'), '{{instance}}'),
        g.line(m.log('max_bytes') + ' > 0', '{{instance}} limit'),
      ]),
      g.graph('Kept by endpoints', 'What each endpoint keeps of the log, whatever the others keep.', 'bytes', [
        g.line(m.log('held_bytes'), '{{instance}} {{remote_name}}'),
      ]),
      g.graph('Finished segments kept', 'Finished segments that each endpoint keeps, whatever the others keep.', 'short', [
        g.line(m.log('held_segments'), '{{instance}} {{remote_name}}'),
      ]),
    ],
  },
  {
    title: 'In and out of the log',
    height: 8,
    panels: [
      g.graph('Samples taken', 'What is written to the log, by type.', 'cps', [
        g.line('sum by(instance, type) (%s)' % m.rate(m.m('prometheus_agent_samples_appended_total')), '{{instance}} {{type}}'),
        g.line('sum by(instance) (%s)' % m.rate(m.m('prometheus_agent_exemplars_appended_total')), '{{instance}} exemplar'),
      ], true),
      g.graph('Not taken', 'Commits that failed because the log cannot be written to, and samples that are out of order.', 'cps', [
        g.line(m.rate(m.log('refused_commits_total')), '{{instance}} refused commits'),
        g.line(m.rate(m.m('prometheus_agent_out_of_order_samples_total')), '{{instance}} out of order'),
      ]),
      g.graph('Segments removed', 'Within an hour, by reason: sent by every endpoint, or forfeited to a limit.', 'short', [
        g.line('sum by(instance, reason) (increase(%s[1h]))' % m.log('segments_removed_total'), '{{instance}} {{reason}}'),
      ]),
    ],
  },
  {
    title: 'Series',
    height: 8,
    panels: [
      g.graph('In memory', 'Series that are appended to, and those that are not any more.', 'short', [
        g.line(m.m('prometheus_agent_active_series'), '{{instance}} active'),
        g.line(m.m('prometheus_agent_deleted_series'), '{{instance}} retired'),
      ], true),
      g.graph('Snapshot', 'Size of the snapshot of series.', 'bytes', [
        g.line(m.m('prometheus_agent_series_snapshot_bytes'), '{{instance}}'),
      ]),
      g.graph('Snapshot and checkpoints', 'How often they were written within an hour, and how often that failed.', 'short', [
        g.line('increase(%s[1h])' % m.m('prometheus_agent_series_snapshot_updates_total'), '{{instance}} snapshots'),
        g.line('increase(%s[1h])' % m.m('prometheus_agent_checkpoint_creations_total'), '{{instance}} checkpoints'),
        g.line('increase(%s[1h])' % m.m('prometheus_agent_series_snapshot_failures_total'), '{{instance}} snapshots failed'),
        g.line('increase(%s[1h])' % m.m('prometheus_agent_checkpoint_creations_failed_total'), '{{instance}} checkpoints failed'),
      ]),
    ],
  },
  {
    title: 'Disk',
    height: 8,
    panels: [
      g.graph('Positions', 'Age of the positions of endpoints on the disk.', 's', [
        g.line(m.storage('savepoint_age_seconds'), '{{instance}}'),
      ]),
      g.graph('Writes that failed', 'Of the log, of positions, and syncs of the log, within an hour.', 'short', [
        g.line('increase(%s[1h])' % m.log('write_failures_total'), '{{instance}} log'),
        g.line('increase(%s[1h])' % m.storage('savepoint_write_failures_total'), '{{instance}} positions'),
        g.line('increase(%s[1h])' % m.log('sync_failures_total'), '{{instance}} syncs'),
      ]),
      g.graph('Truncation', 'How long a truncation of the log takes on average.', 's', [
        g.line(
          '%s / %s' % [m.rate(m.m('prometheus_agent_truncate_duration_seconds_sum')), m.rate(m.m('prometheus_agent_truncate_duration_seconds_count'))],
          '{{instance}}',
        ),
      ]),
    ],
  },
  {
    title: 'Process',
    height: 8,
    panels: [
      g.graph('Memory', 'Resident memory.', 'bytes', [g.line(m.m('process_resident_memory_bytes'), '{{instance}}')]),
      g.graph('CPU', 'CPU seconds in a second.', 'short', [g.line(m.rate(m.m('process_cpu_seconds_total')), '{{instance}}')]),
    ],
  },
])
