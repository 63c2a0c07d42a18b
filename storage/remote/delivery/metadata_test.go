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
	"fmt"
	"sync"
	"testing"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// metadataReceiver notes the metadata of each series of remote write 2.0.
type metadataReceiver struct {
	mu   sync.Mutex
	seen map[string]metadata.Metadata
}

func (*metadataReceiver) Close() {}

func (r *metadataReceiver) Store(_ context.Context, body []byte, _ int) client.Result {
	var req writev2.Request
	if res := unpack(body, &req); res != nil {
		return *res
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	b := labels.NewScratchBuilder(8)
	for i := range req.Timeseries {
		ts := &req.Timeseries[i]
		lset, err := ts.ToLabels(&b, req.Symbols)
		if err != nil {
			return client.Result{Status: 400, Outcome: client.Refused, Err: err}
		}
		m, err := ts.ToMetadata(req.Symbols)
		if err != nil {
			return client.Result{Status: 400, Outcome: client.Refused, Err: err}
		}
		r.seen[lset.String()] = m
	}
	return client.Result{Status: 200, Outcome: client.Delivered}
}

// Remote write 2.0 brings the metadata that the log has of a series, with
// external labels and without.
func TestMetadataOfSeries(t *testing.T) {
	for name, external := range map[string]labels.Labels{"plain": labels.EmptyLabels(), "external labels": labels.FromStrings("cluster", "c")} {
		t.Run(name, func(t *testing.T) {
			table := series.New(series.Options{})
			j := openJournal(t, t.TempDir(), table)
			defer func() { require.NoError(t, j.wal.Close()) }()
			rc := &metadataReceiver{seen: map[string]metadata.Metadata{}}
			opts := Options{newClient: func(client.Config) (storer, error) { return rc, nil }}
			r, err := NewStorage(nil, nil, func() (int64, error) { return 0, nil }, j.dir, time.Minute, nil, false, opts)
			require.NoError(t, err)
			defer r.Close()
			cfg := remoteWrite("a")
			cfg.ProtobufMessage = remoteapi.WriteV2MessageType
			conf := (*rig)(nil).confWith(cfg)
			conf.GlobalConfig.ExternalLabels = external
			require.NoError(t, r.Attach(j.source()))
			require.NoError(t, r.ApplyConfig(conf))

			j.commit(10)
			counter := metadata.Metadata{Type: model.MetricTypeCounter, Unit: "s", Help: "Seconds."}
			want := map[string]metadata.Metadata{}
			for s := range table.All() {
				m := metadata.Metadata{Type: model.MetricTypeUnknown}
				if s.Ref()%2 == 0 {
					m = counter
					require.True(t, table.SetMetadata(s, m))
				}
				b := labels.NewBuilder(s.Labels())
				external.Range(func(l labels.Label) { b.Set(l.Name, l.Value) })
				want[b.Labels().String()] = m
			}
			require.NotEmpty(t, want)
			require.Eventually(t, func() bool {
				j.commit(10)
				r.Notify()
				rc.mu.Lock()
				defer rc.mu.Unlock()
				for lset, m := range want {
					if rc.seen[lset] != m {
						return false
					}
				}
				return true
			}, time.Minute, 10*time.Millisecond, "%s", stringer(func() string { return fmt.Sprint(rc.seen, want) }))
		})
	}
}
