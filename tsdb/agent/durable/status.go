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
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/records"
)

// Status is what is known of the storage, for people and for an API. What is not known is
// left out. Times are in UTC, spans of time in seconds, sizes in bytes.
type Status struct {
	Log      LogStatus      `json:"log"`
	Removal  RemovalStatus  `json:"removal"`
	Limits   LimitsStatus   `json:"limits"`
	Disk     *DiskStatus    `json:"disk,omitempty"`
	Snapshot SnapshotStatus `json:"snapshot"`
	Start    StartStatus    `json:"start"`
	// Holdings are what endpoints keep of the log.
	Holdings []Holding `json:"-"`
}

// LogStatus is the write-ahead log.
type LogStatus struct {
	// Bytes are those of the segments, OtherBytes those of checkpoints and the snapshot of
	// series, as they were when that was looked at last.
	Bytes      int64 `json:"bytes"`
	OtherBytes int64 `json:"other_bytes"`
	Segments   int   `json:"segments"`
	First      int   `json:"first"`
	Last       int   `json:"last"`
	// Checkpoint is the number of the newest one, -1 for none.
	Checkpoint int `json:"checkpoint"`
	// Run is the ULID of this run, with which it marks its segments.
	Run string `json:"run"`
	// Head is the end of the last commit, as segment and offset.
	Head cursor.Position `json:"head"`
	// OldestSample is the timestamp of the first sample of the first segment.
	OldestSample *time.Time `json:"oldest_sample,omitempty"`
	// Growth is how fast it grows, by its last finished segments.
	Growth float64 `json:"growth_bytes_per_second"`
	Series int     `json:"series"`
	// Broken says why it cannot be written to.
	Broken string `json:"broken,omitempty"`
	// Refused counts the samples, histograms and exemplars since the start that could not
	// be written to it, and are lost.
	Refused int64 `json:"refused_samples"`
}

// What the removal of the oldest segment can wait for.
const (
	// WaitsForSegment says that none is finished.
	WaitsForSegment = "segment"
	// WaitsForTruncation says that it can go, and does at the next truncation.
	WaitsForTruncation = "truncation"
	// WaitsForEndpoints says that endpoints need it.
	WaitsForEndpoints = "endpoints"
	// WaitsForConfiguration says that it is not known yet which endpoints there are.
	WaitsForConfiguration = "configuration"
	// WaitsForAge says that there is no endpoint, and that it goes by age.
	WaitsForAge = "age"
)

// RemovalStatus is what the removal of the oldest segment waits for.
type RemovalStatus struct {
	WaitsFor string `json:"waits_for"`
	// Endpoints are those that need it, by name.
	Endpoints []string `json:"endpoints,omitempty"`
	// Forced is how often a limit removed what an endpoint needed since the start, by limit.
	Forced map[string]int64 `json:"forced"`
}

// LimitsStatus is what the log may become. What is 0 is no limit.
type LimitsStatus struct {
	// MaxBytes is the limit at present.
	MaxBytes int64 `json:"max_bytes"`
	// BySpace says that the free space of the disk makes it, and no flag.
	BySpace         bool    `json:"max_bytes_by_free_space"`
	MaxSeconds      float64 `json:"max_seconds"`
	EndpointBytes   int64   `json:"endpoint_max_bytes"`
	EndpointSeconds float64 `json:"endpoint_max_seconds"`
}

// DiskStatus is the file system that the log is on.
type DiskStatus struct {
	// Free is what this process may still write.
	Free  int64 `json:"free_bytes"`
	Total int64 `json:"total_bytes"`
	// Low says that there is so little room that what is delivered goes at once.
	Low bool `json:"low"`
}

// SnapshotStatus is the snapshot of series beside the log.
type SnapshotStatus struct {
	Present bool `json:"present"`
	// Covered is the last segment whose series it has, -1 for none.
	Covered int   `json:"covered_segment"`
	Bytes   int64 `json:"bytes"`
	Series  int   `json:"series"`
	// Failures is how often it could not be written since the start.
	Failures int64 `json:"failures"`
}

// StartStatus is what the start did, and what was found wrong since.
type StartStatus struct {
	Time time.Time `json:"time"`
	// Took is how long reading the log took.
	Took float64 `json:"read_seconds"`
	// Repairs are damages of the log that were dealt with, by kind; a torn tail is what a
	// crash leaves.
	Repairs map[string]int64 `json:"repairs"`
	// SnapshotProblems are the same of the snapshot.
	SnapshotProblems map[string]int64 `json:"snapshot_problems"`
	// UnknownRefs are samples in the log whose series is not.
	UnknownRefs int64 `json:"samples_without_series"`
}

// Holding is what an endpoint keeps of the log.
type Holding struct {
	// Name and URL are as in metrics. One that was removed has no URL.
	Name string `json:"-"`
	URL  string `json:"-"`
	// Bytes are what it keeps whatever the others do, the segment in use included. Alone
	// are those of finished segments that only it keeps.
	Bytes    int64 `json:"held_bytes"`
	Alone    int64 `json:"held_alone_bytes"`
	Segments int   `json:"held_segments"`
	// Age is the time since the oldest finished segment of them was written.
	Age float64 `json:"held_seconds"`
	// UntilLoss is the time until a limit takes something from it if nothing is delivered
	// to it, and LossLimit which one. They are absent if none will.
	UntilLoss *float64 `json:"seconds_until_loss,omitempty"`
	LossLimit string   `json:"loss_limit,omitempty"`
}

// firstSample remembers when the first sample of a segment is from.
type firstSample struct {
	mtx     sync.Mutex
	known   bool
	segment int
	t       *time.Time
}

// mostLooked bounds how many records are read for the first sample of a segment.
const mostLooked = 1000

// of returns the timestamp of the first sample of a segment, nil if it has none near its
// beginning. A segment is read once.
func (f *firstSample) of(dir string, segment int) *time.Time {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	if f.known && f.segment == segment {
		return f.t
	}
	f.known, f.segment, f.t = false, segment, nil
	tail, err := cursor.Open(dir, cursor.Position{Segment: segment})
	if err != nil {
		return nil
	}
	defer func() { _ = tail.Close() }()
	dec := records.NewDecoder(nil)
	for range mostLooked {
		it, err := tail.Next()
		if err != nil || it.Kind == cursor.Seal {
			return nil // There may be one later.
		}
		if it.Kind != cursor.Record || dec.DecodeItems(it.Data) != nil {
			continue
		}
		if t, ok := firstOf(dec); ok {
			at := time.UnixMilli(t).UTC()
			f.known, f.t = true, &at
			return f.t
		}
	}
	f.known = true
	return nil
}

// firstOf returns the timestamp of the first sample of a record.
func firstOf(dec *records.Decoder) (t int64, ok bool) {
	defer dec.Release()
	switch {
	case len(dec.Samples) > 0:
		return dec.Samples[0].T, true
	case len(dec.Histograms) > 0:
		return dec.Histograms[0].T, true
	case len(dec.FloatHistograms) > 0:
		return dec.FloatHistograms[0].T, true
	}
	return 0, false
}

// readValue returns the value of a counter or gauge.
func readValue(c prometheus.Metric) float64 {
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		return 0 // It cannot be: those of this package are valid.
	}
	return m.GetCounter().GetValue() + m.GetGauge().GetValue()
}

// byLabel returns what counters with one label counted.
func byLabel(v *prometheus.CounterVec) map[string]int64 {
	const most = 64 // More than any of them has.
	out, metrics := map[string]int64{}, make(chan prometheus.Metric, most)
	v.Collect(metrics)
	close(metrics)
	for c := range metrics {
		var m dto.Metric
		if c.Write(&m) == nil {
			out[m.GetLabel()[0].GetValue()] = int64(m.GetCounter().GetValue())
		}
	}
	return out
}
