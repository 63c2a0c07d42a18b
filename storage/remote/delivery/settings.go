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
	"crypto/md5" // As stock names endpoints without a name, not for security.
	"encoding/hex"
	"fmt"
	"time"

	"go.yaml.in/yaml/v2"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/storage/remote/delivery/identity"
	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/storage/remote/internal/encoder"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
)

// storer sends one encoded request. [client.Client] is the one in use.
type storer interface {
	Store(ctx context.Context, body []byte, attempt int) client.Result
	Close()
}

// settings are what the configuration says of one endpoint. They never change;
// a reload replaces them as a whole and closes replaced, so that an endpoint
// neither stops nor drains for it.
type settings struct {
	identity savepoint.Identity
	// former is what older savepoints call the same endpoint, see identity.Former.
	former   savepoint.Identity
	name     string // Of the endpoint in metrics and logs.
	url      string // Of the endpoint in metrics.
	shown    string // The same in all else.
	hash     string // Of the configuration, secrets left out.
	queue    config.QueueConfig
	metadata config.MetadataConfig
	client   storer
	protocol encoder.Protocol
	options  encoder.Options
	rules    *rules

	exemplars  bool
	histograms bool
	classic    bool // Histograms with custom buckets are sent as classic ones.
	logFailed  bool
	dropDenied bool
	share      float64 // Of a backlog beside fresh samples, 0 for none.

	timeout      time.Duration // Of an attempt.
	refusedHold  time.Duration // See refusal.
	requestBytes int           // Size before compression beyond which a request takes no more series.

	replaced chan struct{}
}

// displayName is the name of an endpoint in metrics: the configured one, else
// the start of the configuration's hash, which is how stock does it and
// dashboards know it.
func displayName(c *config.RemoteWriteConfig) (name, hash string, err error) {
	b, err := yaml.Marshal(c)
	if err != nil {
		return "", "", fmt.Errorf("remote_write for %s: %w", identity.ShownURL(c.URL.URL), err)
	}
	sum := md5.Sum(b)
	hash = hex.EncodeToString(sum[:])
	if c.Name != "" {
		return c.Name, hash, nil
	}
	return hash[:6], hash, nil
}

// newSettings builds the settings for one remote_write section. Nothing of it
// takes effect before an endpoint adopts them.
func newSettings(id savepoint.Identity, c *config.RemoteWriteConfig, external labels.Labels, rb *rulebook, opts Options, typeAndUnit bool) (*settings, error) {
	name, hash, err := displayName(c)
	if err != nil {
		return nil, err
	}
	protocol, err := encoder.ProtocolOf(c.ProtobufMessage)
	if err != nil {
		return nil, fmt.Errorf("remote_write %q: %w", name, err)
	}
	r, err := rb.get(external, c.WriteRelabelConfigs)
	if err != nil {
		return nil, fmt.Errorf("remote_write %q: %w", name, err)
	}
	cl, err := opts.newClient(client.FromRemoteWrite(name, c))
	if err != nil {
		return nil, fmt.Errorf("remote_write %q: %w", name, err)
	}
	return &settings{
		identity:   id,
		name:       name,
		url:        client.Redacted(c.URL.URL),
		shown:      identity.ShownURL(c.URL.URL),
		hash:       hash,
		queue:      c.QueueConfig,
		metadata:   c.MetadataConfig,
		client:     cl,
		protocol:   protocol,
		options:    encoder.Options{TypeAndUnitLabels: typeAndUnit},
		rules:      r,
		exemplars:  c.SendExemplars,
		histograms: c.SendNativeHistograms,
		classic:    c.ConvertNHCBToClassic,
		logFailed:  c.FailedRequestLogging,
		dropDenied: opts.DropDenied,
		share:      opts.FreshFirst[name],
		replaced:   make(chan struct{}),

		timeout:      time.Duration(c.RemoteTimeout),
		refusedHold:  opts.RefusedHold,
		requestBytes: opts.MaxRequestBytes,
	}, nil
}

// cacheKey is what the settings must have in common with others' for requests to
// be shared.
func (s *settings) cacheKey() cacheKey {
	return cacheKey{rules: s.rules, protocol: s.protocol, options: s.options, exemplars: s.exemplars, histograms: s.histograms, classic: s.classic}
}

// capacity is how many items an endpoint with n senders holds in memory. With less than
// a request beside the one under way, senders would have nothing to take.
func (s *settings) capacity(n int) int {
	return max(s.queue.Capacity, 2*s.queue.MaxSamplesPerSend) * max(n, 1)
}

// wants reports whether items of a kind are sent at all.
func (s *settings) wants(k queue.Kind) bool { return s.wantsClass(k.Class()) }

func (s *settings) wantsClass(c queue.Class) bool {
	switch c {
	case queue.Exemplars:
		return s.exemplars
	case queue.Histograms:
		return s.histograms || s.classic
	}
	return true
}

// tooOld returns the timestamp in ms before which samples are not sent.
func (s *settings) tooOld(now time.Time) (int64, bool) {
	if s.queue.SampleAgeLimit == 0 {
		return 0, false
	}
	return now.Add(-time.Duration(s.queue.SampleAgeLimit)).UnixMilli(), true
}
