// The table of alerts in docs/operations.md.
local rules = std.flatMap(function(g) g.rules, (import 'mixin.libsonnet').prometheusAlerts.groups);

std.lines(
  ['| alert | severity | fires when |', '|---|---|---|'] +
  [
    '| [`%s`](runbooks.md#%s) | %s | %s |' % [r.alert, std.asciiLower(r.alert), r.labels.severity, r.annotations.summary]
    for r in rules
  ]
)
