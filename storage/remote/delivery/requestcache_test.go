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
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/relabel"
)

// TestRequestCache covers which caller makes an encoded request, which ones share it, and
// that its buffer is used again only when all are done with it.
func TestRequestCache(t *testing.T) {
	var all requestCaches
	k := cacheKey{exemplars: true}
	x := all.join(k)
	sh, _ := x.get(queue.Key{First: 1})
	require.Nil(t, sh, "there is no endpoint to share with")
	require.Same(t, x, all.join(k))

	fill := func(n uint64) *shared {
		sh, made := x.get(queue.Key{First: n})
		require.True(t, made)
		sh.payload = append(sh.payload[:0], byte(n))
		x.filled(sh)
		return sh
	}
	mine := fill(1)
	got, made := x.get(queue.Key{First: 1})
	require.False(t, made)
	require.Same(t, mine, got)
	x.done(mine)
	for n := uint64(2); n < 100; n++ {
		x.done(fill(n))
		require.Equal(t, []byte{1}, got.payload, "still in use")
	}
	x.done(got)
	require.LessOrEqual(t, len(x.free), cachedRequests)

	// Of many callers at once, one encodes and the others wait for it.
	var (
		wg    sync.WaitGroup
		mtx   sync.Mutex
		makes int
	)
	for range 20 {
		wg.Go(func() {
			sh, made := x.get(queue.Key{First: 200})
			if made {
				mtx.Lock()
				makes++
				mtx.Unlock()
				sh.payload = append(sh.payload[:0], 200)
				x.filled(sh)
			}
			if sh.payload[0] != 200 {
				panic("not filled")
			}
			x.done(sh)
		})
	}
	wg.Wait()
	require.Equal(t, 1, makes)

	all.leave(x)
	all.leave(x)
	require.Empty(t, all.all)
}

// TestSharedRequests defends that endpoints with equal rules send the same
// bytes, encoded once, and that one with other rules or one that answers
// otherwise gets what is its own (I5).
func TestSharedRequests(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	names := []string{"a", "b", "c", "other", "refusing"}
	rcs := map[string]*receiver{}
	for _, n := range names {
		rcs[n] = newReceiver()
	}
	// A receiver that takes a hundred samples at once and no more.
	rcs["refusing"].set(func(n int) *client.Result {
		if n == 1 {
			return &client.Result{Status: 413, Outcome: client.TooLarge, Err: errors.New("too large")}
		}
		return nil
	})
	r := newRig(t, j, rcs, Options{})
	confs := []*config.RemoteWriteConfig{}
	for _, n := range names {
		c := remoteWrite(n)
		c.QueueConfig.BatchSendDeadline = model.Duration(50 * time.Millisecond)
		if n == "other" {
			c.WriteRelabelConfigs = []*relabel.Config{{
				SourceLabels: model.LabelNames{"i"}, Regex: relabel.MustNewRegexp("1.*"), Action: relabel.Drop, NameValidationScheme: model.UTF8Validation,
			}}
		}
		confs = append(confs, c)
	}
	r.attach(confs...)
	x := r.running[0].cache.Load()
	require.Same(t, x, r.running[1].cache.Load())
	require.NotSame(t, x, r.running[3].cache.Load())
	require.Equal(t, 4, x.members)
	for range 30 {
		r.commit(100)
	}
	for _, n := range names {
		want := j.count
		if n == "other" {
			want = 30 * (100 - 11)
		}
		r.complete(n, want)
	}
	require.Zero(t, r.value("prometheus_remote_storage_samples_failed_total", nil))

	// A reload that makes an endpoint other moves it to other company.
	confs[1].WriteRelabelConfigs = confs[3].WriteRelabelConfigs
	r.apply(confs...)
	require.Same(t, r.running[1].cache.Load(), r.running[3].cache.Load())
	require.Equal(t, 3, x.members)
	r.end()
	require.Empty(t, r.caches.all)
}
