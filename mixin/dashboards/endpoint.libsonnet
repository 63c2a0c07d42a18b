local g = import '../grafana.libsonnet';
local m = (import 'metrics.libsonnet').endpoints;

function(config, uids) g.dashboard(config, 'One endpoint', uids.endpoint, 'An endpoint: what it has yet to be sent, what hinders that, and what it lost.', true, [
  {
    title: 'State',
    height: 4,
    panels: [
      g.stat('Backlog', 'Bytes of the log that the endpoint has not acknowledged.', 'bytes', 'sum(%s)' % m.storage('unacked_bytes')),
      g.stat(
        'Behind',
        'How far the newest sample that the endpoint has is behind the newest of the log, while it keeps a finished segment.',
        's',
        'max(%s)' % m.behindAndHolding,
        [[null, 'green'], [60, 'orange'], [config.behindSeconds, 'red']],
        'not behind',
      ),
      g.stat('Caught up in', 'At the rate of the last ten minutes.', 's', 'max(%s)' % m.toCatchUp, [[null, 'blue']], '–'),
      g.stat(
        'Loss in',
        'When a limit takes samples if nothing is delivered.',
        's',
        'min(%s)' % m.untilLoss,
        [[null, 'red'], [config.lossNearSeconds, 'orange'], [config.lossSeconds, 'green']],
        'none in sight',
      ),
      g.stat(
        'Refusing for',
        'For how long the endpoint has refused everything.',
        's',
        'max(%s)' % m.storage('refusing_seconds'),
        [[null, 'green'], [10, 'orange'], [60, 'red']],
      ),
      g.stat(
        'Series not taken',
        'Series that travel alone, or wait, because the endpoint did not take them with others.',
        'short',
        'sum(%s)' % m.storage('isolated_series'),
        [[null, 'green'], [1, 'orange']],
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
    title: 'Backlog',
    height: 8,
    panels: [
      g.graph('Backlog', 'Bytes of the log that the endpoint has not acknowledged, and of those what is delivered beside what is new.', 'bytes', [
        g.line(m.storage('unacked_bytes'), '{{instance}} {{remote_name}}'),
        g.line(m.storage('fresh_first_backlog_bytes') + ' > 0', '{{instance}} {{remote_name}} beside what is new'),
      ]),
      g.graph('Behind', 'How far the newest sample that the endpoint has is behind the newest of the log.', 's', [
        g.line(m.behind, '{{instance}} {{remote_name}}'),
      ]),
      g.graph('Kept', 'How long ago the oldest finished segment was written that the endpoint keeps from being removed.', 's', [
        g.line(m.log('held_seconds'), '{{instance}} {{remote_name}}'),
      ]),
    ],
  },
  {
    title: 'Delivery',
    height: 8,
    panels: [
      g.graph('Items', 'Samples, histograms and exemplars that the endpoint took, that are sent again, and that it refused for good.', 'cps', [
        g.line(m.delivered('instance, remote_name'), '{{instance}} {{remote_name}} taken'),
        g.line('sum by(instance, remote_name) (%s)' % m.classes('%s_retried_total'), '{{instance}} {{remote_name}} to be sent again'),
        g.line('sum by(instance, remote_name) (%s)' % m.classes('%s_failed_total'), '{{instance}} {{remote_name}} refused'),
      ]),
      g.graph('Bytes', 'Compressed bytes of requests.', 'Bps', [
        g.line(m.rate(m.storage('bytes_total')), '{{instance}} {{remote_name}}'),
      ]),
      g.graph('Requests', 'How long they take: half of them less than the lower line, all but one in a hundred less than the upper one.', 's', [
        g.line(
          'histogram_quantile(%s, sum by(instance, remote_name, le) (%s))' % [q, m.rate(m.storage('sent_batch_duration_seconds_bucket'))],
          '{{instance}} {{remote_name}} ' + q,
        )
        for q in ['0.5', '0.99']
      ]),
    ],
  },
  {
    title: 'Senders',
    height: 8,
    panels: [
      g.graph('Senders', 'At work, asked for by the load, and the most there may be.', 'short', [
        g.line(m.storage('shards'), '{{instance}} {{remote_name}}'),
        g.line(m.storage('shards_desired'), '{{instance}} {{remote_name}} desired'),
        g.line(m.storage('shards_max'), '{{instance}} {{remote_name}} most'),
      ]),
      g.graph('In memory', 'Samples, histograms and exemplars in memory that are not acknowledged.', 'short', [
        g.line(std.join('\n+ ', [m.storage(c + '_pending') for c in ['samples', 'histograms', 'exemplars']]), '{{instance}} {{remote_name}}'),
      ]),
      g.graph('Series not taken', 'Series that travel alone, or wait, and the requests that are made for them.', 'short', [
        g.line(m.storage('isolated_series'), '{{instance}} {{remote_name}} series'),
        g.line(m.rate(m.storage('isolation_requests_total')), '{{instance}} {{remote_name}} requests per second'),
      ]),
    ],
  },
  {
    title: 'Lost, dropped and repeated',
    height: 8,
    panels: [
      g.graph('Lost', 'What a limit took, what the endpoint refused for good by its answer, and what could not be read.', 'cps', [
        g.line('sum by(instance, remote_name, reason) (%s) > 0' % m.classes('%s_expired_total'), '{{instance}} {{remote_name}}: {{reason}}'),
        g.line('sum by(instance, remote_name, code) (%s) > 0' % m.rate(m.storage('refused_total')), '{{instance}} {{remote_name}}: {{code}}'),
        g.line('sum by(instance, remote_name) (%s) > 0' % m.rate(m.storage('unreadable_total')), '{{instance}} {{remote_name}}: unreadable'),
      ]),
      g.graph('Dropped', 'What is not sent on purpose, by reason.', 'cps', [
        g.line('sum by(instance, remote_name, reason) (%s) > 0' % m.rate(m.storage('samples_dropped_total')), '{{instance}} {{remote_name}}: {{reason}}'),
      ]),
      g.graph('Repeated', 'What the endpoint took and may have had before.', 'cps', [
        g.line(m.rate(m.storage('resent_total')), '{{instance}} {{remote_name}}'),
      ]),
    ],
  },
])
