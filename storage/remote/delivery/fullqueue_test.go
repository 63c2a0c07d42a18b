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
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestEnqueueRetries: stock's metric rises for as long as the queue of an
// endpoint is full, and not otherwise.
func TestEnqueueRetries(t *testing.T) {
	const name = "prometheus_remote_storage_enqueue_retries_total"
	j := openJournal(t, t.TempDir(), nil)
	rc := newReceiver()
	r := newRig(t, j, map[string]*receiver{"a": rc}, Options{})
	r.attach(remoteWrite("a"))
	r.commit(100)
	r.complete("a", j.count)
	require.Zero(t, r.value(name, nil))

	rc.set(unavailable)
	for range 300 {
		r.commit(100)
	}
	require.Eventually(t, func() bool { return r.value(name, nil) >= 5 }, time.Minute, time.Millisecond)
	rc.set(nil)
	r.complete("a", j.count)
	q := r.running[0].streams()[0].queue
	require.Eventually(t, func() bool { return q.Done(*j.head.Load()) }, time.Minute, time.Millisecond)
	before := r.value(name, nil)
	for range 50 {
		r.commit(1)
	}
	r.complete("a", j.count)
	require.Equal(t, before, r.value(name, nil))

	// An endpoint that stops while its queue is full counts nothing any more.
	rc.set(unavailable)
	for range 300 {
		r.commit(100)
	}
	s := r.running[0].streams()[0]
	require.Eventually(t, func() bool { return r.value(name, nil) > before }, time.Minute, time.Millisecond)
	require.NoError(t, r.Close())
	s.full.mtx.Lock()
	require.Nil(t, s.full.timer)
	s.full.mtx.Unlock()
	require.NoError(t, j.wal.Close())
}
