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

package durable

import (
	"encoding/json"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/gate"
)

// What only one endpoint keeps is told apart from what several do, and who keeps the oldest
// segment is named.
func TestHeldAlone(t *testing.T) {
	u := usage{active: 4, activeSize: 7}
	for i := range 4 {
		u.sealed = append(u.sealed, segmentFile{number: i, size: int64(1) << i})
	}
	forever := math.Inf(1)
	for name, tc := range map[string]struct {
		all   []holding
		alone []int64
		state gate.State
		waits string
		names []string
	}{
		"none":        {nil, nil, gate.Free, WaitsForAge, nil},
		"not known":   {[]holding{{name: "a", untilLoss: forever}}, []int64{15}, gate.Closed, WaitsForConfiguration, nil},
		"one":         {[]holding{{name: "a", from: 0, untilLoss: forever}}, []int64{15}, gate.Held, WaitsForEndpoints, []string{"a"}},
		"one is last": {[]holding{{name: "a", from: 2, untilLoss: forever}, {name: "b", from: 0, untilLoss: forever}}, []int64{0, 3}, gate.Held, WaitsForEndpoints, []string{"b"}},
		"both":        {[]holding{{name: "a", from: 0, untilLoss: forever}, {name: "b", from: 0, untilLoss: forever}}, []int64{0, 0}, gate.Held, WaitsForEndpoints, []string{"a", "b"}},
		"neither":     {[]holding{{name: "a", from: 4, untilLoss: forever}, {name: "b", from: 3, untilLoss: 5, limit: reasonMaxSize}}, []int64{0, 8}, gate.Held, WaitsForTruncation, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var alone []int64
			for i, h := range holdingsOf(tc.all, u) {
				alone = append(alone, h.Alone)
				require.Equal(t, tc.all[i].limit, h.LossLimit)
				require.Equal(t, tc.all[i].limit != "", h.UntilLoss != nil, "it is absent if there will be none")
			}
			require.Equal(t, tc.alone, alone)
			require.Equal(t, RemovalStatus{WaitsFor: tc.waits, Endpoints: tc.names}, removalStatus(tc.state, tc.all, u))
			require.Equal(t, WaitsForSegment, removalStatus(gate.Held, tc.all, usage{active: 4}).WaitsFor)
		})
	}
}

// The status says what there is of the log, from when, and what a limit will do.
func TestStatus(t *testing.T) {
	dir := t.TempDir()
	sender := &fakeSender{}
	env := still()
	env.diskSpace = func(string) (free, total int64, err error) { return 1 << 40, 1 << 41, nil }
	opts := small()
	opts.EndpointMaxSize = 1 << 30
	db := openTest(t, dir, sender, opts, env)
	empty, err := db.Status()
	require.NoError(t, err)
	require.Nil(t, empty.Log.OldestSample)
	require.Equal(t, WaitsForConfiguration, empty.Removal.WaitsFor)

	appendFloats(t, db, 0, 10, 123_000)
	all := fill(t, db, dir, 4)
	sender.Gate.Set(holder("dead", cursor.Position{}))
	sender.Gate.Open()
	sender.list = []delivery.Holder{{Name: "dead", URL: "http://dead", Stuck: time.Hour}, {Name: "well", URL: "http://well", Position: db.journal.Head()}}
	s, err := db.Status()
	require.NoError(t, err)
	require.Equal(t, len(all), s.Log.Segments)
	require.Equal(t, all[0], s.Log.First)
	require.Equal(t, db.journal.Head(), s.Log.Head)
	require.Equal(t, time.UnixMilli(123_000).UTC(), *s.Log.OldestSample)
	require.Equal(t, 1010, s.Log.Series)
	require.Equal(t, -1, s.Log.Checkpoint)
	require.Empty(t, s.Log.Broken)
	require.True(t, s.Limits.BySpace)
	require.EqualValues(t, 1<<30, s.Limits.EndpointBytes)
	require.Equal(t, &DiskStatus{Free: 1 << 40, Total: 1 << 41}, s.Disk)
	require.Equal(t, WaitsForEndpoints, s.Removal.WaitsFor)
	require.Equal(t, []string{"dead"}, s.Removal.Endpoints)
	require.Len(t, s.Holdings, 2)
	require.Equal(t, len(all)-1, s.Holdings[0].Segments)
	require.Equal(t, s.Log.Bytes, s.Holdings[0].Bytes)
	require.Positive(t, s.Holdings[0].Alone)
	require.Less(t, s.Holdings[0].Alone, s.Holdings[0].Bytes)
	require.Equal(t, reasonEndpointMaxSize, s.Holdings[0].LossLimit)
	require.Nil(t, s.Holdings[1].UntilLoss)
	_, err = json.Marshal(s)
	require.NoError(t, err, "infinite numbers have no form in JSON")

	db.journal.mtx.Lock()
	_ = db.journal.fail(errors.New("no room at all"))
	db.journal.mtx.Unlock()
	s, err = db.Status()
	require.NoError(t, err)
	require.Contains(t, s.Log.Broken, "no room at all")
}
