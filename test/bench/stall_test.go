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

package bench

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// stalled is how long commits take, in seconds.
type stalled struct {
	idle, during float64 // 99th percentile.
}

// timed is a commit.
type timed struct {
	began time.Time
	took  time.Duration
}

// span is the time from one moment to another.
type span struct{ from, to time.Time }

// stall measures commits of 1,000 known series, 200 a second, between
// checkpoints and while one is made. A checkpoint begins with a new segment,
// since none is filled within the time, and ends with the removal of an old one.
func stall(b *testing.B, e engine) stalled {
	return once(b, "stall/"+e.name, func(b *testing.B) stalled {
		n := size(manySeries)
		every := time.Duration(shorter(20, 4)) * time.Second
		const checkpoints = 4
		r := openRig(b, e, plan{endpoints: 1, truncate: every})
		defer r.Close()
		r.create(n)
		r.wait(50 * time.Millisecond)
		last := nextCheckpoint(b, r.dir, -1, func() {})

		stop, watched := make(chan struct{}), make(chan []span)
		go func() { watched <- watchCheckpoints(r.dir, stop) }()
		var all []timed
		pace := time.NewTicker(5 * time.Millisecond)
		defer pace.Stop()
		for range checkpoints {
			r.create(n / 100)
			at := len(r.refs) // The next commit begins a round.
			for done := false; !done; {
				// Looking every time would be a load of its own.
				for range 20 {
					<-pace.C
					if at+scrapeSize > len(r.refs) {
						at, r.time = 0, r.time+scrapeInterval
					}
					began := time.Now()
					r.scrape(r.refs[at:at+scrapeSize], r.time)
					all = append(all, timed{began, time.Since(began)})
					at += scrapeSize
				}
				if k := checkpointNumber(r.dir); k > last {
					first, _, err := wlog.Segments(filepath.Join(r.dir, "wal"))
					require.NoError(b, err)
					if done = first > k; done {
						last = k
					}
				}
			}
		}
		close(stop)
		spans := <-watched
		require.GreaterOrEqual(b, len(spans), checkpoints)
		var idle, during []time.Duration
		for _, c := range all {
			overlaps := func(s span) bool { return c.began.Before(s.to) && c.began.Add(c.took).After(s.from) }
			if slices.ContainsFunc(spans, overlaps) {
				during = append(during, c.took)
			} else {
				idle = append(idle, c.took)
			}
		}
		require.NotEmpty(b, during)
		b.ReportMetric(percentile99(idle)*1000, "idle-ms")
		b.ReportMetric(percentile99(during)*1000, "during-ms")
		b.ReportMetric(float64(len(during)), "commits-during")
		return stalled{percentile99(idle), percentile99(during)}
	})
}

// watchCheckpoints notes when checkpoints begin and end until stop is closed.
func watchCheckpoints(dir string, stop <-chan struct{}) (spans []span) {
	wal := filepath.Join(dir, "wal")
	firstWas, lastWas, _ := wlog.Segments(wal)
	var open *time.Time
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		select {
		case <-stop:
			tick.Stop()
			return spans
		case <-tick.C:
		}
		// A segment that goes while they are listed is an error, and gone the
		// next time.
		first, last, err := wlog.Segments(wal)
		if err != nil || first < 0 {
			continue
		}
		now := time.Now()
		if open == nil && (last > lastWas || unfinished(wal)) {
			from := now.Add(-10 * time.Millisecond)
			open = &from
		}
		if open != nil && first > firstWas {
			spans, open = append(spans, span{*open, now}), nil
		}
		firstWas, lastWas = first, last
	}
}

// unfinished reports whether a checkpoint is being written.
func unfinished(wal string) bool {
	entries, err := os.ReadDir(wal)
	return err == nil && slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		return strings.HasPrefix(e.Name(), "checkpoint.") && strings.HasSuffix(e.Name(), ".tmp")
	})
}

func percentile99(all []time.Duration) float64 {
	slices.Sort(all)
	return all[(len(all)*99-1)/100].Seconds()
}

// checkpointStall compares each engine with itself.
func checkpointStall(b *testing.B) {
	compare(b, "during/idle", func(b *testing.B, e engine) float64 {
		s := stall(b, e)
		return s.during / s.idle
	})
}
