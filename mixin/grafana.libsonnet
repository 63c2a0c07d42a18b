// What the dashboards need of Grafana's format, and no more.
local datasource = { type: 'prometheus', uid: '$datasource' };

local query(expr, legend, instant, format) = {
  expr: std.stripChars(expr, ' \n'),
  legendFormat: legend,
  instant: instant,
  range: !instant,
  format: format,
};

local panel(type, title, description, unit, targets) = {
  type: type,
  title: title,
  description: description,
  datasource: datasource,
  fieldConfig: { defaults: { unit: unit }, overrides: [] },
  targets: std.mapWithIndex(
    function(i, t) t { refId: std.char(65 + i), datasource: datasource },  // A, B, …
    targets,
  ),
};

// variable asks for the values of a label of a metric.
local variable(name, label, metric, multi=true) = {
  type: 'query',
  name: name,
  label: label,
  datasource: datasource,
  definition: self.query,
  query: 'label_values(%s, %s)' % [metric, name],
  refresh: 2,  // Whenever the time changes.
  sort: 1,
  multi: multi,
  includeAll: multi,
  allValue: '.+',
};

{
  // A line over time, a value of now, and a row of a table of now.
  line(expr, legend):: query(expr, legend, false, 'time_series'),
  value(expr):: query(expr, '', true, 'time_series'),
  cells(expr):: query(expr, '', true, 'table'),

  graph(title, description, unit, lines, stacked=false):: panel('timeseries', title, description, unit, lines) + {
    fieldConfig+: {
      defaults+: {
        min: 0,
        custom: {
          fillOpacity: if stacked then 60 else 10,
          lineWidth: 1,
          showPoints: 'never',
          stacking: { mode: if stacked then 'normal' else 'none' },
        },
      },
    },
    options: {
      legend: { displayMode: 'list', placement: 'bottom', showLegend: true },
      tooltip: { mode: 'multi', sort: 'desc' },
    },
  },

  // colours are [[from, colour], …], the first from null.
  stat(title, description, unit, expr, colours=[[null, 'blue']], none='–'):: panel('stat', title, description, unit, [self.value(expr)]) + {
    fieldConfig+: {
      defaults+: {
        noValue: none,
        color: { mode: 'thresholds' },
        thresholds: { mode: 'absolute', steps: [{ value: c[0], color: c[1] } for c in colours] },
      },
    },
    options: { colorMode: 'value', graphMode: 'none', reduceOptions: { calcs: ['lastNotNull'] } },
  },

  // columns are [{title, unit, expr}, …], joined by the labels that come first as columns.
  // links are [{title, url}, …] of each row.
  table(title, description, labels, columns, links=[])::
    panel('table', title, description, 'none', [self.cells(c.expr) for c in columns]) + {
      local named(name, properties) = { matcher: { id: 'byName', options: name }, properties: properties },
      local value(i) = 'Value #' + std.char(65 + i),
      fieldConfig+: {
        defaults+: { noValue: '–' },
        overrides: std.mapWithIndex(
          function(i, c) named(value(i), [{ id: 'unit', value: c.unit }, { id: 'displayName', value: c.title }]),
          columns,
        ) + [named(labels[0], [{ id: 'links', value: links }])],
      },
      transformations: [
        { id: 'merge', options: {} },
        {
          id: 'organize',
          options: {
            excludeByName: { Time: true },
            indexByName: { [labels[i]]: i for i in std.range(0, std.length(labels) - 1) },
          },
        },
      ],
      options: { showHeader: true, sortBy: [{ displayName: columns[0].title, desc: true }] },
    },

  // rows are [{title, height, panels}, …]; the panels of a row are equally wide, but for
  // what is left over, which the last one has.
  dashboard(config, name, uid, description, endpoint, rows):: {
    local top(i) = std.sum([r.height + 1 for r in rows[:i]]),
    local at(x, y, w, h) = { gridPos: { x: x, y: y, w: w, h: h } },
    local placed = std.flattenArrays(std.mapWithIndex(
      function(i, r)
        [{ type: 'row', title: r.title, collapsed: false, panels: [] } + at(0, top(i), 24, 1)] +
        std.mapWithIndex(
          function(k, p)
            local n = std.length(r.panels), width = std.floor(24 / n);
            p + at(k * width, top(i) + 1, if k == n - 1 then 24 - k * width else width, r.height),
          r.panels,
        ),
      rows,
    )),

    title: config.dashboards.prefix + name,
    uid: uid,
    description: description,
    tags: config.dashboards.tags,
    refresh: config.dashboards.refresh,
    time: { from: 'now-3h', to: 'now' },
    timezone: 'browser',
    schemaVersion: 39,
    editable: false,
    graphTooltip: 1,  // The crosshair is in all panels.
    links: [{
      type: 'dashboards',
      title: 'Agents',
      tags: config.dashboards.tags,
      asDropdown: true,
      includeVars: true,
      keepTime: true,
    }],
    templating: {
      list: [
        { type: 'datasource', name: 'datasource', label: 'Data source', query: 'prometheus' },
        variable('job', 'Job', 'prometheus_agent_wal_retained_bytes{%s}' % config.agentSelector),
        variable('instance', 'Instance', 'prometheus_agent_wal_retained_bytes{job=~"$job"}'),
      ] + if !endpoint then [] else [
        variable('remote_name', 'Endpoint', 'prometheus_remote_storage_unacked_bytes{job=~"$job", instance=~"$instance"}'),
      ],
    },
    panels: std.mapWithIndex(function(i, p) p { id: i + 1 }, placed),
  },
}
