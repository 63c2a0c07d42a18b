{
  _config+:: {
    // agentSelector chooses the agents' metrics, in alerts and in what dashboards offer.
    // It matches any job, since all that alerts ask for is about delivery.
    agentSelector: 'job=~".+"',

    // agentName names an agent in annotations.
    agentName: '{{ $labels.instance }}',

    // runbookURL is where the section on an alert is; its name comes in lower case.
    runbookURL: 'https://github.com/ackwal/ackwal/blob/main/docs/runbooks.md#%s',

    // behindSeconds is how far an endpoint may be behind.
    behindSeconds: 300,

    // lossSeconds and lossNearSeconds are how long before a limit takes samples
    // there is a warning, and somebody is to be woken.
    lossSeconds: 8 * 3600,
    lossNearSeconds: 3600,

    dashboards: {
      prefix: 'Prometheus agent / ',
      tags: ['prometheus-agent'],
      refresh: '30s',
    },
  },
}
