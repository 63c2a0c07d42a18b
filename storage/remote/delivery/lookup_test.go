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
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// brokenSnapshot is one of which the disk refuses to read what has the labels.
type brokenSnapshot struct{}

func (brokenSnapshot) Resolve(ref chunks.HeadSeriesRef) (labels.Labels, bool, error) {
	return labels.EmptyLabels(), false, fmt.Errorf("read the block with series %d: %w", ref, syscall.EIO)
}

// Items whose labels the disk refuses are tried again and then passed over, and
// counted; everything else is delivered, to each endpoint (I9).
func TestUnreadableLabelsArePassedOver(t *testing.T) {
	t.Parallel()
	j := openJournal(t, t.TempDir(), nil)
	receivers := map[string]*receiver{"a": newReceiver(), "b": newReceiver()}
	r := newRig(t, j, receivers, Options{})
	r.attach(remoteWrite("a"), remoteWrite("b"))
	require.NoError(t, r.Close())
	for range 200 {
		j.commit(100)
	}
	// Ten of the series have left the table.
	j.table = series.New(series.Options{})
	for i, s := range j.series {
		if i >= 10 {
			j.table.Insert(s.Ref(), s.Labels(), 0)
		}
	}
	src := j.source()
	src.Evicted = brokenSnapshot{}
	r = newRig(t, j, receivers, Options{})
	require.NoError(t, r.Attach(src))
	r.apply(remoteWrite("a"), remoteWrite("b"))
	time.Sleep(3 * retryInterval)
	require.Zero(t, r.value("prometheus_remote_storage_samples_dropped_total", nil), "it gives up before it has tried again")
	for _, name := range []string{"a", "b"} {
		r.complete(name, 90*200)
		require.Equal(t, 10*200.0, r.value("prometheus_remote_storage_samples_dropped_total", map[string]string{"remote_name": name, "reason": reasonUnknownRef}))
	}
	r.end()
}
