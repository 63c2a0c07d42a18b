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
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// newFew is a log of so many series that was killed: endpoint a has read its four segments
// and been sent the first, b been sent everything.
func newFew(t *testing.T, series int) *half {
	h := &half{journal: openJournal(t, t.TempDir(), nil), receivers: map[string]*receiver{"a": newReceiver(), "b": newReceiver()}}
	r := newRig(t, h.journal, h.receivers, Options{})
	var confs []*config.RemoteWriteConfig
	for _, name := range []string{"a", "b"} {
		c := remoteWrite(name)
		c.QueueConfig.Capacity, c.QueueConfig.MaxSamplesPerSend = 100_000, 1000
		// Else a lone series is isolated after some tries.
		c.QueueConfig.MinBackoff, c.QueueConfig.MaxBackoff = model.Duration(time.Hour), model.Duration(time.Hour)
		confs = append(confs, c)
	}
	r.attach(confs...)
	// waits ends when endpoints have read everything and have so many samples left.
	waits := func(left ...int) {
		t.Helper()
		require.Eventually(t, func() bool {
			for i, e := range r.running {
				s := e.streams()[0]
				if s.cursor.start() != *h.head.Load() || s.queue.Stats().Queued != left[i] {
					return false
				}
			}
			return true
		}, time.Minute, time.Millisecond)
	}
	sent := 0
	for segment := range 4 {
		if segment > 0 {
			h.cut()
		}
		for range max(2000/series, 16) { // Some pages.
			r.commit(series)
		}
		if segment == 0 {
			waits(0, 0)
			sent = h.count
			h.receivers["a"].set(unavailable)
		}
	}
	waits(h.count-sent, 0)
	require.NoError(t, r.Persist(t.Context()))
	left, err := os.ReadFile(filepath.Join(h.dir, savepoint.CurrentName))
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, savepoint.CurrentName), left, 0o600))
	require.NoError(t, h.wal.Close())
	h.receivers["a"].set(nil)
	// What a wiped end has it sent again would be refused, sample by sample.
	h.receivers["b"].set(func(int) *client.Result { return &client.Result{Status: 204, Outcome: client.Delivered} })
	return h
}

// What cannot be read of a log is estimated as well with one series as with a thousand,
// and counted once (I9): partitions without any series have no part in it.
func TestLossOfFewSeries(t *testing.T) {
	noise := func(path string) error {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if _, err := rand.Read(b[len(b)/4 : len(b)/2]); err != nil {
			return err
		}
		return os.WriteFile(path, b, 0o666)
	}
	halve := func(path string) error { return os.Truncate(path, fileSize(path)/2) }
	for name, tc := range map[string]struct {
		damage   func(path string) error
		segments []int
	}{
		"damaged in the middle": {noise, []int{2}},
		"middle removed":        {os.Remove, []int{2}},
		"oldest removed":        {os.Remove, []int{0, 1, 2}},
		"newest removed":        {os.Remove, []int{3}},
		"end removed":           {os.Remove, []int{2, 3}},
		"newest cut":            {halve, []int{3}},
	} {
		for _, series := range []int{1, 3, 1000} {
			t.Run(fmt.Sprintf("%s, %d", name, series), func(t *testing.T) {
				t.Parallel()
				h := newFew(t, series)
				for _, segment := range tc.segments {
					require.NoError(t, tc.damage(wlog.SegmentName(filepath.Join(h.dir, "wal"), segment)))
				}
				_, items, _ := h.restart()
				stored, _ := h.receivers["a"].counts()
				lost := h.count + 1 - stored
				require.Positive(t, lost)
				require.Greater(t, items["a"], float64(lost)/2)
				require.Less(t, items["a"], float64(lost)*2)
				require.Zero(t, items["b"])
				_, items, _ = h.restart()
				require.Equal(t, map[string]float64{"a": 0, "b": 0}, items)
			})
		}
	}
}
