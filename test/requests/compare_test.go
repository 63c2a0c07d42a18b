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

package requests

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/golang/snappy"
	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v2"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/storage/remote"
)

// way is one way to reach a receiver.
type way struct {
	name string
	// start returns a place of its own for either client to send to. It is
	// called once, and both send to the same.
	start func(t *testing.T) place
}

// place is where requests go to.
type place struct {
	text      string            // The configuration of the endpoint, in YAML.
	files     map[string]string // Contents of files by their names.
	rotated   map[string]string // What they are replaced by.
	receivers []*receiver       // All that see requests.
	// normal takes what depends on time and chance out of a request, and checks
	// it. Nil means that there is nothing of the kind.
	normal func(t testing.TB, q request) request
	// unsafe says that stock's client has a data race here of its own, so that
	// its senders take turns.
	unsafe bool
}

// sender sends a body once.
type sender func(body []byte, attempt int) error

func stock(t testing.TB, cfg *config.RemoteWriteConfig) (sender, func()) {
	t.Helper()
	c, err := remote.NewWriteClient("test", &remote.ClientConfig{
		URL: cfg.URL, WriteProtoMsg: cfg.ProtobufMessage, Timeout: cfg.RemoteTimeout, HTTPClientConfig: cfg.HTTPClientConfig,
		SigV4Config: cfg.SigV4Config, AzureADConfig: cfg.AzureADConfig, GoogleIAMConfig: cfg.GoogleIAMConfig,
		Headers: cfg.Headers, RoundRobinDNS: cfg.RoundRobinDNS,
	})
	require.NoError(t, err)
	return func(body []byte, attempt int) error {
		_, err := c.Store(context.Background(), body, attempt)
		return err
	}, c.(*remote.Client).Client.CloseIdleConnections
}

func durable(t testing.TB, cfg *config.RemoteWriteConfig) (sender, func()) {
	t.Helper()
	c, err := client.New(client.FromRemoteWrite("test", cfg))
	require.NoError(t, err)
	return func(body []byte, attempt int) error {
		return c.Store(context.Background(), body, attempt).Err
	}, c.Close
}

// parse reads one remote_write section.
func parse(t testing.TB, text string) *config.RemoteWriteConfig {
	t.Helper()
	cfg := &config.RemoteWriteConfig{}
	require.NoError(t, yaml.UnmarshalStrict([]byte(text), cfg), text)
	cfg.RemoteTimeout *= 20 // Nothing here waits for it; machines may be slow.
	return cfg
}

// body is the n-th request.
func body(t testing.TB, message remoteapi.WriteMessageType, n int) []byte {
	t.Helper()
	var (
		plain []byte
		err   error
	)
	if message == remoteapi.WriteV2MessageType {
		plain, err = (&writev2.Request{
			Symbols:    []string{"", "__name__", "up"},
			Timeseries: []writev2.TimeSeries{{LabelsRefs: []uint32{1, 2}, Samples: []writev2.Sample{{Timestamp: int64(n), Value: float64(n)}}}},
		}).Marshal()
	} else {
		plain, err = (&prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{
			Labels:  []prompb.Label{{Name: "__name__", Value: "up"}},
			Samples: []prompb.Sample{{Timestamp: int64(n), Value: float64(n)}},
		}}}).Marshal()
	}
	require.NoError(t, err)
	return snappy.Encode(nil, plain)
}

const (
	requests = 1000
	rotation = 51 // The first request after it.
	reload   = 60
	senders  = 32
	each     = 10
)

// write writes files, each in one step, as secrets are replaced.
func write(t testing.TB, files map[string]string) {
	t.Helper()
	for name, text := range files {
		next := name + ".next"
		require.NoError(t, os.WriteFile(next, []byte(text), 0o600))
		require.NoError(t, os.Rename(next, name))
	}
}

// run sends everything with one client and returns what receivers got.
func (p *place) run(t *testing.T, isStock bool) map[string][]request {
	t.Helper()
	connect := durable
	if isStock {
		connect = stock
	}
	write(t, p.files)
	cfg := parse(t, p.text)
	send, stop := connect(t, cfg)
	got := map[string][]request{}
	usual := 0
	for n := 1; n <= requests; n++ {
		switch n {
		case rotation:
			write(t, p.rotated)
		case reload:
			stop()
			send, stop = connect(t, parse(t, p.text))
		}
		require.NoError(t, send(body(t, cfg.ProtobufMessage, n), 0), "request %d", n)
		taken := p.take(t)
		switch n {
		case 1, 2, 50, rotation, reload, requests:
			got[fmt.Sprintf("request %d", n)] = taken
		}
		if n == 1 {
			continue // May have brought a tunnel with it.
		}
		if n == 2 {
			usual = len(taken)
			require.Positive(t, usual)
		}
		if n != rotation && n != reload {
			require.Len(t, taken, usual, "request %d", n)
		}
	}
	require.NoError(t, send(body(t, cfg.ProtobufMessage, 1), 7))
	got["a retry"] = p.take(t)

	var (
		running sync.WaitGroup
		turn    sync.Mutex
	)
	for i := range senders {
		running.Go(func() {
			// One buffer serves one request after the other, as those of senders
			// do.
			var buffer []byte
			for k := range each {
				buffer = append(buffer[:0], body(t, cfg.ProtobufMessage, 100+i*each+k)...)
				if p.unsafe && isStock {
					turn.Lock()
				}
				err := send(buffer, k%3)
				if p.unsafe && isStock {
					turn.Unlock()
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	many := slices.DeleteFunc(p.take(t), func(q request) bool { return strings.HasPrefix(q.head[0], "CONNECT ") })
	slices.SortFunc(many, func(a, b request) int {
		return strings.Compare(a.body+strings.Join(a.head, "\n"), b.body+strings.Join(b.head, "\n"))
	})
	got["at the same time"] = many
	require.Len(t, many, senders*each*usual)
	stop()
	return got
}

func (p *place) take(t testing.TB) (all []request) {
	for _, r := range p.receivers {
		for _, q := range r.take() {
			if p.normal != nil {
				q = p.normal(t, q)
			}
			q.raw = ""
			all = append(all, q)
		}
	}
	return all
}

// TestRequests: a receiver cannot tell our client from stock's, by the first
// request or the thousandth.
func TestRequests(t *testing.T) {
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) {
			p := w.start(t)
			want := p.run(t, true)
			got := p.run(t, false)
			for _, which := range []string{
				"request 1", "request 2", "request 50", fmt.Sprintf("request %d", rotation),
				fmt.Sprintf("request %d", reload), fmt.Sprintf("request %d", requests), "a retry", "at the same time",
			} {
				require.NotEmpty(t, want[which])
				require.Equal(t, want[which], got[which], which)
			}
			before, after := got["request 50"], got[fmt.Sprintf("request %d", requests)]
			if len(p.rotated) > 0 {
				require.NotEqual(t, heads(before), heads(after), "what was replaced on disk shows")
			} else {
				require.Equal(t, heads(before), heads(after))
			}
			retried := got["a retry"][len(got["a retry"])-1]
			require.Contains(t, strings.ToLower(strings.Join(retried.head, "\n")), "retry-attempt: 7")
		})
	}
}

// heads returns the heads of requests without the lengths of their bodies, which
// depend on a number.
func heads(all []request) (out [][]string) {
	for _, q := range all {
		out = append(out, slices.DeleteFunc(slices.Clone(q.head), func(line string) bool {
			return strings.HasPrefix(line, "Content-Length: ") || strings.Contains(line, " length ")
		}))
	}
	return out
}

// file returns the name of a file to be written. t.TempDir has the name of the
// test in it, which YAML may not take.
func file(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "requests")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return filepath.Join(dir, name)
}
