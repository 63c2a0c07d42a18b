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
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/gate"
)

// What may be removed, and why (I1).
func TestDecide(t *testing.T) {
	const mib = 1 << 20
	now := time.Unix(1_000_000, 0)
	held := func(segment int) gate.Floor {
		return gate.Floor{State: gate.Held, Position: cursor.Position{Segment: segment, Offset: 100}}
	}
	// Segments 10 to 15 of 1 MiB, one per hour, the last finished an hour ago;
	// 16 is active.
	var sealed []segmentFile
	for i := range 6 {
		sealed = append(sealed, segmentFile{number: 10 + i, size: mib, written: now.Add(time.Duration(i-6) * time.Hour)})
	}
	for name, tc := range map[string]struct {
		sealed []segmentFile
		floor  gate.Floor
		minAge time.Duration
		lim    limits
		want   removal
	}{
		"closed":                   {floor: gate.Floor{State: gate.Closed}, want: removal{free: 10, first: 10}},
		"closed, beyond all":       {floor: gate.Floor{State: gate.Closed}, lim: limits{maxSize: 1, maxTime: 1}, want: removal{free: 10, first: 10}},
		"held at the start":        {floor: held(10), want: removal{10, reasonSent, 10, ""}},
		"held in the middle":       {floor: held(13), want: removal{13, reasonSent, 13, ""}},
		"held at the end":          {floor: held(16), want: removal{16, reasonSent, 16, ""}},
		"held before what exists":  {floor: held(3), want: removal{10, reasonSent, 10, ""}},
		"held after what exists":   {floor: held(99), want: removal{16, reasonSent, 16, ""}},
		"free":                     {floor: gate.Floor{State: gate.Free}, want: removal{14, reasonNoEndpoint, 14, ""}},
		"free, young":              {floor: gate.Floor{State: gate.Free}, minAge: 4*time.Hour + time.Minute, want: removal{12, reasonNoEndpoint, 12, ""}},
		"free, all young":          {floor: gate.Floor{State: gate.Free}, minAge: 24 * time.Hour, want: removal{10, reasonNoEndpoint, 10, ""}},
		"free, one":                {sealed: sealed[:1], floor: gate.Floor{State: gate.Free}, want: removal{10, reasonNoEndpoint, 10, ""}},
		"free, none":               {sealed: sealed[:0], floor: gate.Floor{State: gate.Free}, want: removal{16, reasonNoEndpoint, 16, ""}},
		"time kept":                {floor: held(13), lim: limits{maxTime: 3 * time.Hour}, want: removal{13, reasonSent, 13, ""}},
		"time exceeded":            {floor: held(11), lim: limits{maxTime: 3 * time.Hour}, want: removal{11, reasonSent, 13, reasonMaxTime}},
		"time exceeded by all":     {floor: held(10), lim: limits{maxTime: time.Minute}, want: removal{10, reasonSent, 16, reasonMaxTime}},
		"size kept":                {floor: held(10), lim: limits{maxSize: 8 * mib}, want: removal{10, reasonSent, 10, ""}},
		"size exceeded":            {floor: held(10), lim: limits{maxSize: 5 * mib}, want: removal{10, reasonSent, 13, reasonMaxSize}},
		"size kept by what may go": {floor: held(13), lim: limits{maxSize: 5 * mib}, want: removal{13, reasonSent, 13, ""}},
		"size exceeded by active":  {floor: held(10), lim: limits{maxSize: 1}, want: removal{10, reasonSent, 16, reasonMaxSize}},
		"both exceeded":            {floor: held(10), lim: limits{maxSize: 5 * mib, maxTime: 5 * time.Hour}, want: removal{10, reasonSent, 13, reasonMaxSize}},
		"free beyond the limit":    {floor: gate.Floor{State: gate.Free}, minAge: 24 * time.Hour, lim: limits{maxSize: 5 * mib}, want: removal{10, reasonNoEndpoint, 13, reasonMaxSize}},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.sealed == nil {
				tc.sealed = sealed
			}
			got := decide(tc.sealed, 16, mib, mib, tc.floor, tc.minAge, tc.lim, now)
			if tc.floor.State == gate.Closed {
				require.Equal(t, tc.want.first, got.first)
				require.Empty(t, got.forced)
				return
			}
			require.Equal(t, tc.want, got)
		})
	}
}
