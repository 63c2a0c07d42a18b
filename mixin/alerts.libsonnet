{
  local config = $._config,
  local s = config.agentSelector,

  // m is a metric of the agents.
  local m(name, matcher='') = '%s{%s%s}' % [name, s, if matcher == '' then '' else ', ' + matcher],
  local each(format) = [format % class for class in ['samples', 'histograms', 'exemplars']],

  // grew finds counters that are there from the start.
  local grew(metrics, window) = std.join('\nor ', ['increase(%s[%s]) > 0' % [c, window] for c in metrics]) + '\n',
  // appeared finds those that begin with the first time something happens.
  local appeared(metrics, window) =
    std.join('', ['or (%s > 0 unless %s offset %s)\n' % [c, c, window] for c in metrics]),

  local alert(name, severity, summary, description, expr, duration=null) = {
    alert: name,
    expr: expr,
    [if duration != null then 'for']: duration,
    labels: { severity: severity },
    annotations: {
      summary: summary,
      description: description % config,
      runbook_url: config.runbookURL % std.asciiLower(name),
    },
  },

  // Counters that show what is lost of the log.
  local lost = [m('prometheus_remote_storage_' + c) for c in
    each('%s_expired_total') + ['segments_missing_total', 'unreadable_bytes_total']],
  local unlabelled = [m('prometheus_remote_storage_' + c, 'reason="unintentionally_dropped_series"') for c in
    each('%s_dropped_total')],

  prometheusAlerts+:: {
    groups+: [
      {
        name: 'durable-agent-loss',
        rules: [
          alert(
            'AgentGaveUpSamples',
            'critical',
            'Samples were lost that an endpoint had not been sent: a limit took them, or they cannot be read.',
            'Agent %(agentName)s lost samples of endpoint {{ $labels.remote_name }}{{ with $labels.reason }} ({{ . }}){{ end }} before they were delivered.',
            // What a start finds lost is counted before anybody looks.
            grew(lost + unlabelled, '15m') + appeared(unlabelled, '15m') + |||
              or (
                %s
              ) and on(job, instance) time() - %s < 900
            ||| % [std.join('\n  or ', [c + ' > 0' for c in lost]), m('process_start_time_seconds')],
          ),
          alert(
            'AgentSamplesRefused',
            'critical',
            'An endpoint refused samples for good, and they were dropped.',
            'Agent %(agentName)s dropped {{ printf "%%.0f" $value }} items within 15m that endpoint {{ $labels.remote_name }} refused. prometheus_remote_storage_refused_total has the status.',
            grew([m('prometheus_remote_storage_' + c) for c in each('%s_failed_total')], '15m'),
          ),
          alert(
            'AgentCommitsRefused',
            'critical',
            'Samples were scraped that the log could not take.',
            'Agent %(agentName)s refused {{ printf "%%.0f" $value }} commits within 15m, because its log cannot be written to.',
            grew([m('prometheus_agent_wal_refused_commits_total')], '15m'),
          ),
          alert(
            'AgentLogBroken',
            'critical',
            'The log cannot be written to: what is scraped is lost.',
            'The log of agent %(agentName)s cannot be written to. Mostly the disk is full.',
            m('prometheus_agent_wal_broken') + ' == 1\n',
            '1m',
          ),
          alert(
            'AgentLogDamaged',
            'warning',
            'A part of the log was damaged or missing.',
            'Agent %(agentName)s found damage in its log{{ with $labels.kind }} ({{ . }}){{ end }}.',
            |||
              %s > 0
                and on(job, instance) time() - %s < 3600
              or %s
            ||| % [
              m('prometheus_agent_wal_repairs_total', 'kind=~"corrupt_.*|missing_.*|unreadable"'),
              m('process_start_time_seconds'),
              std.rstripChars(grew([
                m('prometheus_remote_storage_unreadable_bytes_total'),
                m('prometheus_tsdb_wal_reader_corruption_errors_total'),
              ], '1h') + appeared([m('prometheus_tsdb_wal_reader_corruption_errors_total')], '1h'), '\n'),
            ],
          ),
        ],
      },
      {
        name: 'durable-agent-risk',
        rules: [
          alert(
            'AgentEndpointRefuses',
            'critical',
            'An endpoint refuses everything; what it is sent is held.',
            'Endpoint {{ $labels.remote_name }} of agent %(agentName)s has refused everything for {{ $value | humanizeDuration }}.',
            m('prometheus_remote_storage_refusing_seconds') + ' > 60\n',
          ),
          alert(
            'AgentLossNear',
            'critical',
            'A limit takes samples within an hour if an endpoint goes on taking nothing.',
            'A limit takes samples of endpoint {{ $labels.remote_name }} of agent %(agentName)s in {{ $value | humanizeDuration }} if nothing is delivered to it.',
            m('prometheus_agent_wal_seconds_until_loss') + ' < %(lossNearSeconds)d\n' % config,
            '5m',
          ),
          alert(
            'AgentLogNearlyFull',
            'critical',
            'What an endpoint keeps in the log has reached four fifths of the limit.',
            'Endpoint {{ $labels.remote_name }} keeps {{ $value | humanize1024 }}B in the log of agent %(agentName)s, over 80%% of its limit.',
            '%s\n  > on(job, instance) group_left 0.8 * (%s > 0)\n' % [
              m('prometheus_agent_wal_held_bytes'),
              m('prometheus_agent_wal_max_bytes'),
            ],
          ),
          alert(
            'AgentLogFillsUp',
            'warning',
            'A limit takes samples within eight hours if an endpoint goes on taking nothing.',
            'A limit takes samples of endpoint {{ $labels.remote_name }} of agent %(agentName)s in {{ $value | humanizeDuration }} if nothing is delivered to it.',
            m('prometheus_agent_wal_seconds_until_loss') + ' < %(lossSeconds)d\n' % config,
            '15m',
          ),
          alert(
            'AgentEndpointBehind',
            'warning',
            'An endpoint is more than five minutes behind, and keeps a part of the log.',
            'Endpoint {{ $labels.remote_name }} of agent %(agentName)s {{ if lt $value 1e9 }}is {{ $value | humanizeDuration }} behind{{ else }}has been sent nothing since the start{{ end }}.',
            // An endpoint whose rules leave nothing to send keeps nothing. What one keeps may be
            // taken by a limit, until the next segment is finished, after 15 minutes at the latest.
            |||
              (
                %s
                  - ignoring(remote_name, url) group_right
                %s
              ) > %d
              and max_over_time(%s[20m]) > 60
            ||| % [
              m('prometheus_remote_storage_highest_timestamp_in_seconds'),
              m('prometheus_remote_storage_queue_highest_sent_timestamp_seconds'),
              config.behindSeconds,
              m('prometheus_agent_wal_held_seconds'),
            ],
            '10m',
          ),
          alert(
            'AgentSeriesNotTaken',
            'warning',
            'An endpoint takes everything but a few series, which keep their part of the log.',
            'Endpoint {{ $labels.remote_name }} of agent %(agentName)s has not taken {{ $value }} series for 15m.',
            'min_over_time(%s[15m]) > 0\n' % m('prometheus_remote_storage_isolated_series'),
          ),
        ],
      },
      {
        name: 'durable-agent-disk',
        rules: [
          alert(
            'AgentSavepointOld',
            'warning',
            'The positions on the disk are over a minute old: a crash now would repeat what was delivered since.',
            'The positions that agent %(agentName)s has on its disk are {{ $value | humanizeDuration }} old.',
            m('prometheus_remote_storage_savepoint_age_seconds') + ' > 60\n',
            '5m',
          ),
          alert(
            'AgentSavepointNotWritten',
            'warning',
            'Positions cannot be written to the disk.',
            'Agent %(agentName)s failed {{ printf "%%.0f" $value }} times within 5m to write its positions.',
            grew([m('prometheus_remote_storage_savepoint_write_failures_total')], '5m'),
            '5m',
          ),
          alert(
            'AgentSnapshotNotWritten',
            'warning',
            'The snapshot of series, or a checkpoint, could not be written: until it can, nothing is removed from the log.',
            'Agent %(agentName)s failed {{ printf "%%.0f" $value }} times within 3h to write the snapshot of series or a checkpoint.',
            // It is tried with each segment and each truncation.
            grew([m('prometheus_agent_series_snapshot_failures_total'), m('prometheus_agent_checkpoint_creations_failed_total')], '3h'),
          ),
          alert(
            'AgentSyncFailed',
            'warning',
            'The log could not be synced to its disk, as --storage.agent.wal-sync-interval asks for.',
            'Agent %(agentName)s failed {{ printf "%%.0f" $value }} times within 1h to sync its log.',
            grew([m('prometheus_agent_wal_sync_failures_total')], '1h'),
          ),
        ],
      },
    ],
  },
}
