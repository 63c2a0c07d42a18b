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
	"math"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/tsdb/wlog/gate"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// holding is what an endpoint keeps of the log, as it is now.
type holding struct {
	name, url string
	from      int     // The segment that it needs first.
	segments  int     // Finished ones.
	bytes     int64   // The segment in use included.
	age       float64 // Seconds since the oldest of the finished ones was written.
	untilLoss float64 // Seconds, infinite if a limit will take nothing,
	limit     string  // and which one it is.
}

// stuckAfter is how long an endpoint may have come no further in the segment in use
// before it counts as one to which nothing is delivered.
const stuckAfter = time.Minute

// holdings works out what endpoints keep, by what they have acknowledged: whether that is
// on the disk, as the gate wants it, matters only when something is removed. Metrics may be
// read at any time, also while the log is opened.
func (db *DB) holdings() (all []holding, u usage, err error) {
	opened := db.openedAt.Load()
	if opened.IsZero() {
		return nil, u, nil
	}
	if u, err = measure(db.journal.dir, nil); err != nil {
		return nil, u, err
	}
	db.steady(&u)
	u.other = db.other.Load() // What is linked twice counts once, which takes longer to see.
	now, own, total := db.now(), db.budget(), limits{maxTime: db.opts.MaxTime, maxSize: db.maxBytes.Load()}
	if took := now.Sub(opened).Seconds(); took >= 1 {
		u.rate = max(0, float64(u.segments()-db.openedBytes.Load())/took)
	}
	if db.sender == nil {
		return nil, u, nil
	}
	for _, h := range db.sender.Holders() {
		c := claimOf(u, h.Position.Segment, own, now)
		x := holding{name: h.Name, url: h.URL, from: h.Position.Segment, segments: c.segments, bytes: c.bytes, untilLoss: math.Inf(1)}
		if !c.since.IsZero() {
			x.age = max(0, now.Sub(c.since).Seconds())
		}
		if !h.KeepsUp && (c.segments > 0 || h.Stuck >= stuckAfter) {
			x.untilLoss, x.limit = untilLoss(u, c, total, own, now)
		}
		x.soonest(h.Retained, delivery.ReasonRemoved)
		x.soonest(h.Refused, delivery.ReasonRefused)
		all = append(all, x)
	}
	return all, u, nil
}

// soonest takes account of a loss that is due for another reason.
func (h *holding) soonest(due *time.Duration, reason string) {
	if due != nil && due.Seconds() < h.untilLoss {
		h.untilLoss, h.limit = due.Seconds(), reason
	}
}

// steady corrects the times that segments were written at, see steadyClock.
func (db *DB) steady(u *usage) {
	if db.uptime == nil {
		return
	}
	db.clock.look(db.now(), db.uptime())
	for i := range u.sealed {
		u.sealed[i].written = db.clock.written(u.sealed[i].written)
	}
}

// budget is what each endpoint may keep for itself.
func (db *DB) budget() limits {
	return limits{maxTime: db.opts.EndpointMaxTime, maxSize: db.opts.EndpointMaxSize}
}

// MaxBytes returns the size of the log at which the oldest samples are forfeited, 0 if there
// is no limit.
func (db *DB) MaxBytes() int64 { return db.maxBytes.Load() }

// Status returns what is known of the storage now. It looks at files, and waits for no
// other work but for moments.
func (db *DB) Status() (Status, error) {
	all, u, err := db.holdings()
	if err != nil {
		return Status{}, err
	}
	s := Status{
		Log: LogStatus{
			Bytes: u.segments(), OtherBytes: db.other.Load(), Segments: len(u.sealed) + 1, First: u.oldest(), Last: u.active, Checkpoint: -1,
			Run: db.run.String(), Head: db.journal.Head(), OldestSample: db.firstSample.of(db.journal.dir, u.oldest()), Growth: u.growth(),
			Refused: int64(readValue(db.metrics.refusedSamples)),
		},
		Limits: LimitsStatus{
			MaxBytes: db.maxBytes.Load(), BySpace: db.opts.MaxSize == 0, MaxSeconds: db.opts.MaxTime.Seconds(),
			EndpointBytes: db.opts.EndpointMaxSize, EndpointSeconds: db.opts.EndpointMaxTime.Seconds(),
		},
		Snapshot: db.snapshotStatus(),
		Start: StartStatus{
			Time: db.openedAt.Load().UTC(), Took: readValue(db.metrics.replayDuration), UnknownRefs: int64(readValue(db.metrics.unknownRefs)),
			Repairs: byLabel(db.metrics.damages), SnapshotProblems: byLabel(db.metrics.snapshotDamages),
		},
		Holdings: holdingsOf(all, u),
	}
	if _, n, err := wlog.LastCheckpoint(db.journal.dir); err == nil {
		s.Log.Checkpoint = n
	}
	s.Log.Series, _ = db.table.Len()
	if err := db.journal.broken(); err != nil {
		s.Log.Broken = err.Error()
	}
	if free, total, err := db.diskSpace(db.journal.dir); err == nil {
		s.Disk = &DiskStatus{Free: free, Total: total, Low: free < lowSpace(total)}
	}
	s.Removal = removalStatus(db.gate.Floor().State, all, u)
	s.Removal.Forced = byLabel(db.metrics.forfeits)
	return s, nil
}

func (db *DB) snapshotStatus() SnapshotStatus {
	store := db.snapshotter.store
	state, present := store.State()
	return SnapshotStatus{
		Present: present, Covered: state.Covered, Bytes: store.Bytes(), Series: store.Series(),
		Failures: int64(readValue(db.metrics.snapshotsFailed)),
	}
}

// removalStatus says what the removal of the oldest segment waits for.
func removalStatus(at gate.State, all []holding, u usage) (s RemovalStatus) {
	if at == gate.Closed {
		return RemovalStatus{WaitsFor: WaitsForConfiguration}
	}
	if len(u.sealed) == 0 {
		return RemovalStatus{WaitsFor: WaitsForSegment}
	}
	for _, h := range all {
		if h.from <= u.oldest() && !slices.Contains(s.Endpoints, h.name) {
			s.Endpoints = append(s.Endpoints, h.name)
		}
	}
	switch {
	case len(all) == 0:
		s.WaitsFor = WaitsForAge
	case len(s.Endpoints) > 0:
		s.WaitsFor = WaitsForEndpoints
	default:
		s.WaitsFor = WaitsForTruncation
	}
	return s
}

// holdingsOf returns what endpoints keep, each with what it keeps alone.
func holdingsOf(all []holding, u usage) (out []Holding) {
	for i, h := range all {
		next := u.active // The segment that another one needs first.
		for k, o := range all {
			if k != i {
				next = min(next, o.from)
			}
		}
		x := Holding{Name: h.name, URL: h.url, Bytes: h.bytes, Segments: h.segments, Age: h.age}
		for _, s := range u.sealed {
			if s.number >= h.from && s.number < next {
				x.Alone += s.size
			}
		}
		if !math.IsInf(h.untilLoss, 1) {
			x.UntilLoss, x.LossLimit = &h.untilLoss, h.limit
		}
		out = append(out, x)
	}
	return out
}

// holdingsCollector has holdings as metrics, worked out when they are asked for.
type holdingsCollector struct {
	db *DB

	segments, bytes, seconds, untilLoss *prometheus.Desc
}

func newHoldingsCollector(db *DB) *holdingsCollector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("prometheus_agent_wal_"+name, help, []string{"remote_name", "url"}, nil)
	}
	return &holdingsCollector{
		db:        db,
		segments:  desc("held_segments", "Finished segments that each endpoint keeps from being removed, whatever the others keep."),
		bytes:     desc("held_bytes", "Bytes of the write-ahead log that each endpoint keeps from being removed, whatever the others keep, the segment in use included."),
		seconds:   desc("held_seconds", "Time since the oldest finished segment that the endpoint keeps was written, 0 if it keeps none."),
		untilLoss: desc("seconds_until_loss", "Estimated time until a limit takes samples from the endpoint if nothing is delivered to it; infinite if none will, and for an endpoint that keeps up."),
	}
}

// Describe implements [prometheus.Collector].
func (c *holdingsCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.segments, c.bytes, c.seconds, c.untilLoss} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *holdingsCollector) Collect(ch chan<- prometheus.Metric) {
	all, _, err := c.db.holdings()
	if err != nil {
		c.db.logger.Error("What endpoints keep of the write-ahead log is not known", "err", err)
	}
	for _, h := range all {
		for d, v := range map[*prometheus.Desc]float64{c.segments: float64(h.segments), c.bytes: float64(h.bytes), c.seconds: h.age, c.untilLoss: h.untilLoss} {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, h.name, h.url)
		}
	}
}
