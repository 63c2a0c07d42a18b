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
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// byOther has another engine write samples of the first n series to the log, with an
// exemplar, in a segment of its own.
func (j *journal) byOther(n int) {
	j.t.Helper()
	w, err := wlog.New(nil, nil, filepath.Join(j.dir, "wal"), "none")
	require.NoError(j.t, err)
	j.time++
	var (
		enc     record.Encoder
		samples []record.RefSample
	)
	for ref := range n {
		samples = append(samples, record.RefSample{Ref: chunks.HeadSeriesRef(ref + 1), T: j.time, V: -1})
	}
	require.NoError(j.t, w.Log(enc.Samples(samples, nil), enc.Exemplars([]record.RefExemplar{{Ref: 1, T: j.time, V: -1, Labels: labels.FromStrings("trace", "x")}}, nil)))
	require.NoError(j.t, w.Close())
}

// again opens the log anew, as the next run does.
func (j *journal) again() *journal {
	next := openJournal(j.t, j.dir, j.table)
	next.next, next.time = j.next, j.time
	return next
}

// droppedAs returns what an endpoint was not sent because another engine wrote it.
func (r *rig) droppedAs(class, name string) float64 {
	return r.value("prometheus_remote_storage_"+class+"_dropped_total", map[string]string{"remote_name": name, "reason": "other_engine"})
}

// logged returns a rig whose log is kept.
func logged(t *testing.T, j *journal, receivers map[string]*receiver, opts Options) (*rig, *logBuffer) {
	log := &logBuffer{}
	r := newRig(t, j, receivers, opts)
	l := slog.New(slog.NewTextHandler(log, nil))
	r.logger, r.losses = l, l
	return r, log
}

// line returns the lines of a log with a text.
func line(t *testing.T, log, text string) (lines []string) {
	t.Helper()
	for l := range strings.Lines(log) {
		if strings.Contains(l, text) {
			lines = append(lines, l)
		}
	}
	return lines
}

// TestBacklogBeforeOtherEngine defends I1 and I2 where another engine has had the log: what
// endpoints had not had delivered before is delivered to each of them, nothing that was
// acknowledged or that the other engine wrote is, and that is counted by type and said, once
// over restarts wherever they come.
func TestBacklogBeforeOtherEngine(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	a, b := newReceiver(), newReceiver()
	receivers := map[string]*receiver{"a": a, "b": b}
	r := newRig(t, j, receivers, Options{})
	r.attach(remoteWrite("a"), remoteWrite("b"))
	r.commit(60)
	r.complete("a", 60)
	r.complete("b", 60)
	b.set(unavailable)
	r.commit(70)
	r.complete("a", 130)
	a.set(unavailable)
	for range 3 {
		r.commit(80)
		j.cut()
	}
	r.end()
	j.byOther(2)
	j.byOther(3)

	// Nothing can be delivered yet.
	j = j.again()
	r, log := logged(t, j, receivers, Options{})
	r.attach(remoteWrite("a"), remoteWrite("b"))
	for name, own := range map[string]string{"a": "240", "b": "310"} {
		require.Equal(t, []float64{5, 2, 2}, []float64{r.droppedAs("samples", name), r.droppedAs("exemplars", name), r.value("prometheus_remote_storage_segments_skipped_total", map[string]string{"remote_name": name})})
		drops := r.tallies.of(name)
		require.Len(t, drops, 1)
		require.Positive(t, drops[0].Bytes)
		require.Equal(t, Drop{Kind: DropLeftOut, Reason: "other_engine", Samples: 5, Exemplars: 2, Bytes: drops[0].Bytes, Last: drops[0].Last}, drops[0])
		of := line(t, log.all(), "remote_name="+name)
		require.Regexp(t, `level=WARN .*passed over" remote_name=. reason=other_engine segments=2 first=\d+ last=\d+ bytes=\d+ samples=5 histograms=0 exemplars=2 samples_estimated=0 oldest=1970-01-01T00:00:00.006Z newest=1970-01-01T00:00:00.007Z\n$`, of[0])
		require.Regexp(t, `level=WARN .*is resumed" remote_name=. from=\S+ bytes=\d+ samples=`+own+` histograms=0 exemplars=0 samples_estimated=0 oldest=\S+ newest=1970-01-01T00:00:00.005Z\n$`, of[1])
	}
	r.commit(7)
	r.end()

	// The next run is stopped within what was before.
	var requests atomic.Int64
	a.set(func(n int) *client.Result {
		if requests.Inc() > 1 {
			return unavailable(n)
		}
		return nil
	})
	j = j.again()
	r, log = logged(t, j, receivers, Options{})
	r.attach(remoteWrite("a"), remoteWrite("b"))
	require.Eventually(t, func() bool { stored, _ := a.counts(); return stored > 130 }, time.Minute, time.Millisecond)
	r.end()
	stored, _ := a.counts()
	require.Less(t, stored, 130+240)
	require.Empty(t, line(t, log.all(), "Another engine"))

	stored, received := b.counts()
	a.set(nil)
	b.set(nil)
	for range 2 {
		j = j.again()
		r, log = logged(t, j, receivers, Options{})
		r.attach(remoteWrite("a"), remoteWrite("b"))
		r.complete("a", 130+240+7)
		r.complete("b", 60+310+7)
		for _, name := range []string{"a", "b"} {
			require.Zero(t, r.droppedAs("samples", name)+r.droppedAs("exemplars", name)+r.value("prometheus_remote_storage_segments_skipped_total", nil))
		}
		require.Zero(t, r.expired(nil))
		require.Empty(t, line(t, log.all(), "nother engine"))
		r.end()
	}
	now, got := b.counts()
	require.Equal(t, now-stored, got-received, "nothing is sent twice")
}

// TestOtherEngineBehindALimit defends that what another engine wrote is not taken for ours
// when a limit has an endpoint go on just there (I2).
func TestOtherEngineBehindALimit(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	rc := newReceiver()
	rc.set(unavailable)
	receivers := map[string]*receiver{"a": rc}
	r := newRig(t, j, receivers, Options{})
	r.attach(remoteWrite("a"))
	r.commit(100)
	r.end()
	other := cursor.Position{Segment: j.head.Load().Segment + 1}
	j.byOther(20)

	j = j.again()
	r = newRig(t, j, receivers, Options{})
	require.NoError(t, r.Attach(j.source()))
	require.NoError(t, r.Forfeit(t.Context(), other, ReasonMaxSize)) // Before anything is in memory.
	require.Equal(t, 100.0, r.expired(nil))
	r.apply(remoteWrite("a"))
	require.NoError(t, r.Close())
	f, _, err := savepoint.NewStore(j.dir).Load()
	require.NoError(t, err)
	require.False(t, f.Endpoints[0].Floor.Before(other))
	require.NoError(t, j.wal.Close())

	rc.set(nil)
	j = j.again()
	r = newRig(t, j, receivers, Options{})
	r.attach(remoteWrite("a"))
	r.commit(30)
	r.complete("a", 30)
	require.Zero(t, r.expired(nil))
	r.end()
}

// TestOtherEngineWithoutPositions: when positions are lost, all that is ours is sent, from
// the oldest segment on, and what another engine wrote in between is not (I2, I9).
func TestOtherEngineWithoutPositions(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	rc := newReceiver()
	receivers := map[string]*receiver{"a": rc}
	rc.set(unavailable)
	r := newRig(t, j, receivers, Options{})
	r.attach(remoteWrite("a"))
	r.commit(100)
	r.end()
	j.byOther(20)
	for _, name := range []string{savepoint.CurrentName, savepoint.PreviousName} {
		require.NoError(t, os.Remove(filepath.Join(j.dir, name)))
	}

	rc.set(nil)
	j = j.again()
	r = newRig(t, j, receivers, Options{})
	r.attach(remoteWrite("a"))
	require.Equal(t, 20.0, r.droppedAs("samples", "a"))
	r.commit(30)
	r.complete("a", 130)
	r.end()
}

// TestFirstStartAfterOtherEngine: the first start with a log that another engine wrote says
// what of it is not sent and how it can be, and with that it is.
func TestFirstStartAfterOtherEngine(t *testing.T) {
	for _, resume := range []bool{false, true} {
		j := openJournal(t, t.TempDir(), nil)
		j.commit(100) // For the series.
		require.NoError(t, j.wal.Close())
		require.NoError(t, os.Remove(wlog.SegmentName(filepath.Join(j.dir, "wal"), 0)))
		j.byOther(100)
		j.byOther(30)

		rc := newReceiver()
		receivers := map[string]*receiver{"a": rc}
		j = j.again()
		r, log := logged(t, j, receivers, Options{ResumeAfterBestEffort: resume})
		r.attach(remoteWrite("a"))
		lines := line(t, log.all(), "log is that of another engine")
		require.Len(t, lines, 1)
		require.Regexp(t, `level=WARN .*--storage.agent.delivery.resume-after-best-effort .* first=0 last=1 bytes=\d+ samples=130 histograms=0 exemplars=2 samples_estimated=0 oldest=1970-01-01T00:00:00.002Z newest=1970-01-01T00:00:00.003Z\n$`, lines[0])
		r.commit(7)
		r.complete("a", map[bool]int{false: 7, true: 137}[resume])
		require.Zero(t, r.droppedAs("samples", "a"))
		require.NoError(t, r.Close())
		require.NoError(t, j.wal.Close())

		j = j.again()
		r, log = logged(t, j, receivers, Options{ResumeAfterBestEffort: resume})
		r.attach(remoteWrite("a"))
		require.Empty(t, line(t, log.all(), "nother engine"))
		r.end()
	}
}
