// Copyright The Prometheus Authors
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
// http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.
package delivery

import (
	"context"
	"testing"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/drift"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/storage"
)

// Every setting of an endpoint is one that this package knows of. A field that
// upstream adds fails this test until something is done about it.
func TestSettingsOfEndpointsAreKnown(t *testing.T) {
	require.Empty(t, drift.Fields(config.RemoteWriteConfig{}, drift.Known{
		"URL":                  "newSettings, client, package identity",
		"RemoteTimeout":        "client",
		"Headers":              "client, package identity",
		"WriteRelabelConfigs":  "rules, package identity",
		"Name":                 "displayName, package identity",
		"SendExemplars":        "settings.wants",
		"SendNativeHistograms": "settings.wants",
		"RoundRobinDNS":        "client",
		"ProtobufMessage":      "encoder.ProtocolOf, client",
		"FailedRequestLogging": "settings.logFailed",
		"HTTPClientConfig":     "client; the type is common's, which builds the transport too",
		"QueueConfig":          "see below",
		"MetadataConfig":       "see below",
		"SigV4Config":          "client",
		"AzureADConfig":        "client",
		"GoogleIAMConfig":      "client",
		"ConvertNHCBToClassic": "settings.classic",
	}))
	require.Empty(t, drift.Fields(config.QueueConfig{}, drift.Known{
		"Capacity":          "settings.capacity",
		"MaxShards":         "pace",
		"MinShards":         "pace",
		"MaxSamplesPerSend": "queue.configure, conversion.fill",
		"BatchSendDeadline": "batch delay, queue.configure",
		"MinBackoff":        "see retry.go",
		"MaxBackoff":        "see retry.go",
		"RetryOnRateLimit":  "not: 429 is always retried, since to drop is to lose",
		"SampleAgeLimit":    "settings.tooOld",
	}))
	require.Empty(t, drift.Fields(config.MetadataConfig{}, drift.Known{
		"Send":              "watchMetadata",
		"SendInterval":      "watchMetadata",
		"MaxSamplesPerSend": "metadataSender",
	}))
}

// What is around the endpoints in a configuration is known too: what this package
// takes of it, and what is for others. The agent storage is given nothing of it.
func TestSettingsAroundEndpointsAreKnown(t *testing.T) {
	const (
		scraping  = "not: for scraping, samples are in the log as it leaves them"
		server    = "not: for rules, alerts and queries, which agents do not have"
		elsewhere = "not: for what is not storage"
	)
	require.Empty(t, drift.Fields(config.Config{}, drift.Known{
		"GlobalConfig":       "see below",
		"RemoteWriteConfigs": "settings, package identity",
		"RemoteReadConfigs":  "ReadStorage has them",
		"Runtime":            elsewhere,
		"TracingConfig":      elsewhere + "; the client makes spans for the provider that is set up",
		"OTLPConfig":         "not: for the receiver, which appends to the agent storage",
		"StorageConfig":      "not: for a server's database, and for how many exemplars that keeps",
		"AlertingConfig":     server,
		"RuleFiles":          server,
		"ScrapeConfigFiles":  scraping,
		"ScrapeConfigs":      scraping,
		"loaded":             "not: scrape configurations are read only from what is loaded",
	}))
	require.Empty(t, drift.Fields(config.GlobalConfig{}, drift.Known{
		"ExternalLabels":                 "rules",
		"MetricNameValidationScheme":     "not: loading gives it to write_relabel_configs, and validates external labels by it",
		"ScrapeInterval":                 scraping,
		"ScrapeTimeout":                  scraping,
		"ScrapeProtocols":                scraping,
		"ScrapeFailureLogFile":           scraping,
		"ScrapeNativeHistograms":         scraping,
		"MetricNameEscapingScheme":       scraping,
		"ConvertClassicHistogramsToNHCB": scraping,
		"AlwaysScrapeClassicHistograms":  scraping,
		"ExtraScrapeMetrics":             scraping,
		"BodySizeLimit":                  scraping,
		"SampleLimit":                    scraping,
		"TargetLimit":                    scraping,
		"LabelLimit":                     scraping,
		"LabelNameLengthLimit":           scraping,
		"LabelValueLengthLimit":          scraping,
		"KeepDroppedTargets":             scraping,
		"EvaluationInterval":             server,
		"RuleQueryOffset":                server,
		"QueryLogFile":                   server,
		"QueryMaxSeries":                 server,
		"QueryMaxSamplesRead":            server,
		"QueryMaxDuration":               server,
	}))
}

// Callers find out by type assertion what a storage and its appenders can do
// besides. Ours can do what stock's can, in the same form.
func TestOptionalInterfaces(t *testing.T) {
	start := func() (int64, error) { return 0, nil }
	stock := Stock.NewStorage(nil, t.TempDir())
	ours, err := NewStorage(nil, prometheus.NewRegistry(), start, t.TempDir(), time.Second, nil, false, Options{ReadStorage: stock})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ours.Close()) })
	require.Empty(t, drift.Methods(stock.Appender(t.Context()), nothing{}, nil))
	require.Empty(t, drift.Methods(stock.AppenderV2(t.Context()), nothingV2{}, drift.Known{"AppendExemplars": "appenderV2 asks whether it is there"}))

	require.Empty(t, drift.Methods(stock, ours, drift.Known{
		"BestEffort":          drift.Patched + "not: it asks for stock's queues",
		"EnableSavepoint":     drift.Patched + "not: positions are always saved",
		"HighestAckedSegment": drift.Patched + "not: the gate knows the acknowledged positions",
	}))
	require.Empty(t, drift.Methods(Stock.WriteStorage, ours, drift.Known{
		"EnableSavepoint":     drift.Patched + "see above",
		"HighestAckedSegment": drift.Patched + "see above",
	}))
	ctx := context.Background()
	require.Empty(t, drift.Methods(stock.Appender(ctx), ours.Appender(ctx), nil))
	require.Empty(t, drift.Methods(stock.AppenderV2(ctx), ours.AppenderV2(ctx), nil))
	// What stock's watcher of the log and scraping call on a queue, is done by
	// readers, streams and senders here.
	byReader := "streams are given batches, which have everything of a range of the log"
	require.Empty(t, drift.Methods(Stock.QueueManager, &stream{}, drift.Known{
		"Append":                byReader,
		"AppendExemplars":       byReader,
		"AppendHistograms":      byReader,
		"AppendFloatHistograms": byReader,
		"StoreSeries":           "the series table",
		"StoreMetadata":         "the series table",
		"UpdateSeriesSegment":   "the series table, and snapshots",
		"SeriesReset":           "the series table, and snapshots",
		"AppendWatcherMetadata": "metadataSender",
		"SetClient":             "adopt replaces settings as a whole",
		"Start":                 "lifecycle.go",
		"Stop":                  "lifecycle.go",
		"SegmentRead":           drift.Patched + "streams have positions",
	}))

	// Exemplars that come apart from samples are counted where stock counts them.
	reg := prometheus.NewRegistry()
	counting, err := NewStorage(nil, reg, start, t.TempDir(), time.Second, nil, false, Options{ReadStorage: Stock.NewStorage(nil, t.TempDir())})
	require.NoError(t, err)
	defer counting.Close()
	app, ok := counting.AppenderV2(ctx).(storage.ExemplarAppenderV2)
	require.True(t, ok)
	_, err = app.AppendExemplars(1, classicSeries, nil)
	require.NoError(t, err)
	_, empty := counting.CostSamplingQueryable()
	require.True(t, empty, "there is no remote read to sample")
}

// The metrics of metadata messages are there for the protocol that has such
// messages, and a reload to the other takes them out or brings them back.
func TestMetadataMetrics(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	defer func() { require.NoError(t, j.wal.Close()) }()
	r := newRig(t, j, map[string]*receiver{"a": newReceiver()}, Options{})
	defer r.Close()
	names := func() (of int) {
		families, err := r.reg.Gather()
		require.NoError(t, err)
		for _, f := range families {
			switch f.GetName() {
			case "prometheus_remote_storage_metadata_total", "prometheus_remote_storage_metadata_failed_total",
				"prometheus_remote_storage_metadata_retried_total", "prometheus_remote_storage_metadata_bytes_total":
				of++
			}
		}
		return of
	}
	c := remoteWrite("a")
	r.attach(c)
	require.Equal(t, 4, names())
	for range 2 {
		v2 := remoteWrite("a")
		v2.ProtobufMessage = remoteapi.WriteV2MessageType
		r.apply(v2)
		require.Zero(t, names())
		r.apply(c)
		require.Equal(t, 4, names())
	}
	r.apply()
	r.expire(time.Now().Add(r.opts.RemovedRetention))
	require.Zero(t, names())
}
