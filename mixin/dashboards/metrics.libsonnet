// Expressions that several dashboards have. All take the dashboard's variables.
local agent = 'job=~"$job", instance=~"$instance"';
local endpoint = agent + ', remote_name=~"$remote_name"';

// of has the metrics of the agents, or the endpoints, that a selector chooses.
local of(selector) = {
  m(name, matcher=''):: '%s{%s%s}' % [name, selector, if matcher == '' then '' else ', ' + matcher],
  storage(name, matcher=''):: self.m('prometheus_remote_storage_' + name, matcher),
  log(name, matcher=''):: self.m('prometheus_agent_wal_' + name, matcher),
  rate(metric):: 'rate(%s[$__rate_interval])' % metric,
  lost(metric):: 'increase(%s[$__range])' % metric,

  // Of samples, histograms and exemplars together.
  classes(metric, matcher='', f=self.rate):: std.join('\n+ ', [
    f(self.storage(metric % class, matcher))
    for class in ['samples', 'histograms', 'exemplars']
  ]),
  // Attempts less those that failed.
  delivered(by):: 'sum by(%s) (%s\n- (%s)\n- (%s))' % [by, self.classes('%s_total'), self.classes('%s_retried_total'), self.classes('%s_failed_total')],

  // How far the newest sample that an endpoint has is behind the newest of the log.
  behind:: |||
    %s
      - ignoring(remote_name, url) group_right
    %s
  ||| % [
    of(agent).storage('highest_timestamp_in_seconds'),
    self.storage('queue_highest_sent_timestamp_seconds'),
  ],
  // Only of endpoints that keep something: one that is to be sent nothing is never behind.
  behindAndHolding:: '(%s) and %s > 0' % [self.behind, self.log('held_seconds')],
  untilLoss:: '%s < Inf' % self.log('seconds_until_loss'),
  // Of a backlog that is more than what is under way.
  toCatchUp:: '(%s > 1e6) / -(deriv(%s[10m]) < 0)' % [self.storage('unacked_bytes'), self.storage('unacked_bytes')],
};

{
  agents: of(agent),
  endpoints: of(endpoint),
}
