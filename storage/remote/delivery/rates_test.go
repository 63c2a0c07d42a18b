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

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
)

// TestPace covers when senders are added and taken away.
func TestPace(t *testing.T) {
	now := time.Unix(1000, 0)
	r := rates{paced: now}
	waited := time.Duration(0)
	step := func(have int, worked time.Duration, backlog bool) int {
		now = now.Add(time.Second)
		r.busy(worked, waited)
		n, _ := r.pace(now, have, 1, 10, backlog)
		return n
	}
	require.Equal(t, 2, step(1, time.Second, true))
	require.Equal(t, 4, step(2, 2*time.Second, true))
	require.Equal(t, 10, step(9, 9*time.Second, true))
	r.recoverable(now.Add(5 * time.Second))
	require.Equal(t, 4, step(4, 4*time.Second, true), "errors that may pass must not add senders")
	for range idlePaces - 1 {
		require.Equal(t, 4, step(4, time.Second, false))
	}
	require.Equal(t, 3, step(4, time.Second, false))
	for range 2 * idlePaces {
		require.Equal(t, 1, step(1, 0, false))
	}
	waited = time.Second
	require.Equal(t, 4, step(4, 4*time.Second, true), "senders that wait for each other are enough")
	waited = 3 * time.Second
	require.Equal(t, 3, step(4, 4*time.Second, true))
	n, _ := r.pace(now, 200, 100, 500, true)
	require.Equal(t, queue.Partitions, n)
}
