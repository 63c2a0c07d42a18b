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
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/gate"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs/faultfs"

	"github.com/prometheus/prometheus/config"
)

// TestRefusedConfigurationChangesNothing: whatever keeps a configuration from being
// applied, the one before stays as it is, and a later attempt succeeds.
func TestRefusedConfigurationChangesNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		// spoil makes the next configuration fail, and returns what restores it.
		spoil func(r *rig, fsys *faultfs.FS, conf *config.Config) (restore func())
	}{
		"metrics of that name belong to another collector": {func(r *rig, _ *faultfs.FS, _ *config.Config) func() {
			taken := prometheus.NewGauge(prometheus.GaugeOpts{
				Name: "prometheus_remote_storage_shards", Help: "Number of senders at work for the endpoint.",
				ConstLabels: prometheus.Labels{"remote_name": "c", "url": "http://c/write"},
			})
			require.NoError(t, r.reg.Register(taken))
			return func() { r.reg.Unregister(taken) }
		}},
		"the disk is full": {func(_ *rig, fsys *faultfs.FS, _ *config.Config) func() {
			fsys.Inject(faultfs.Fault{Err: faultfs.NoSpace, Stays: true})
			return func() { fsys.Count(nil) }
		}},
		"remote read is refused": {func(r *rig, _ *faultfs.FS, _ *config.Config) func() {
			r.reads = noReads{}
			return func() { r.reads = nothing{} }
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			fsys, err := faultfs.New(dir)
			require.NoError(t, err)
			j := openJournal(t, dir, nil)
			receivers := map[string]*receiver{"a": newReceiver(), "b": newReceiver(), "c": newReceiver(), "moved": newReceiver()}
			r := newRig(t, j, receivers, Options{FS: fsys})
			r.attach(remoteWrite("a"), remoteWrite("b"))
			r.commit(50)
			r.complete("a", 50)
			r.complete("b", 50)

			// a changes its URL, b is removed, c is new.
			moved := remoteWrite("moved")
			moved.Name = "a"
			conf := r.confWith(moved, remoteWrite("c"))
			was, settings, retained := r.running, []*settings{r.running[0].settings.Load(), r.running[1].settings.Load()}, r.retained
			restore := tc.spoil(r, fsys, conf)
			require.Error(t, r.ApplyConfig(conf))
			require.Len(t, r.running, len(was))
			for i, e := range r.running {
				require.Same(t, was[i], e)
				require.Same(t, settings[i], e.settings.Load())
				require.False(t, e.stopping())
			}
			require.Equal(t, retained, r.retained)
			require.True(t, r.has("prometheus_remote_storage_shards_max", map[string]string{"remote_name": "a", "url": "http://a/write"}))
			require.False(t, r.has("prometheus_remote_storage_shards_max", map[string]string{"url": "http://moved/write"}))
			require.False(t, r.has("prometheus_remote_storage_shards_max", map[string]string{"remote_name": "c"}))
			r.commit(50)
			r.complete("a", 100)
			r.complete("b", 100)

			restore()
			require.NoError(t, r.ApplyConfig(conf))
			r.commit(50)
			r.complete("moved", 50)
			r.complete("c", 50)
			require.Len(t, r.retained, 1)
			r.end()
		})
	}
}

// TestStartOnFullDisk: endpoints that are known are delivered to although the
// savepoint cannot be written, since that is what makes room; the gate opens when
// it can.
func TestStartOnFullDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	fsys, err := faultfs.New(dir)
	require.NoError(t, err)
	j := openJournal(t, dir, nil)
	a := newReceiver()
	a.set(unavailable)
	r := newRig(t, j, map[string]*receiver{"a": a}, Options{FS: fsys})
	r.attach(remoteWrite("a"))
	r.commit(50)
	age := func() float64 { return r.value("prometheus_remote_storage_savepoint_age_seconds", nil) }
	require.Less(t, age(), 60.0)
	require.NoError(t, r.Close())
	store := savepoint.NewStore(dir)
	f, _, err := store.Load()
	require.NoError(t, err)
	f.Written = f.Written.Add(-time.Hour)
	require.NoError(t, store.Write(f, true))

	a.set(nil)
	j.gate = gate.New() // As a new process has it.
	r = newRig(t, j, map[string]*receiver{"a": a}, Options{FS: fsys})
	fsys.Inject(faultfs.Fault{Err: faultfs.NoSpace, Stays: true})
	require.NoError(t, r.Attach(j.source()))
	require.NoError(t, r.ApplyConfig(r.confWith(remoteWrite("a"))))
	r.complete("a", 50)
	require.Equal(t, gate.Closed, j.gate.Floor().State)
	require.Positive(t, r.value("prometheus_remote_storage_savepoint_write_failures_total", nil))
	require.Greater(t, age(), 3600.0, "it is that of what was loaded")
	fsys.Count(nil)
	require.Eventually(t, func() bool {
		return r.Persist(context.Background()) == nil && j.gate.Floor().State == gate.Held
	}, time.Minute, time.Millisecond)
	require.Less(t, age(), 60.0)
	r.end()
}

// The age of the savepoint in a run that has not written any, and found none, is that of
// the run: one that is not a number fires no alert.
func TestAgeWithoutSavepoint(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	r := newRig(t, j, nil, Options{})
	age := r.value("prometheus_remote_storage_savepoint_age_seconds", nil)
	require.GreaterOrEqual(t, age, 0.0)
	require.Less(t, age, 60.0)
	r.end()
}

// TestLogsTheNewName: log lines of an endpoint have its new name, even if they come
// from a logger that was made before.
func TestLogsTheNewName(t *testing.T) {
	var log logBuffer
	n := newNamed(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})))
	l := slog.New(n)
	n.set("old", "http://old")
	part := l.With("component", "x").WithGroup("g")
	part.Info("one", "k", 1)
	n.set("new", "http://new")
	part.Info("two", "k", 2)
	l.Warn("three")
	l.Debug("not asked for")
	require.Equal(t, "level=INFO msg=one remote_name=old url=http://old component=x g.k=1\n"+
		"level=INFO msg=two remote_name=new url=http://new component=x g.k=2\n"+
		"level=WARN msg=three remote_name=new url=http://new\n", log.take())

	// An endpoint with another name goes on, and uses it.
	j := openJournal(t, t.TempDir(), nil)
	a := newReceiver()
	r := newRig(t, j, map[string]*receiver{"a": a}, Options{})
	r.logger = slog.New(slog.NewTextHandler(&log, nil))
	r.attach(remoteWrite("a"))
	e := r.running[0]
	conf := remoteWrite("a")
	conf.Name = "renamed"
	r.apply(conf)
	require.Same(t, e, r.running[0])
	log.take()
	e.logger.Error("something")
	said := log.take()
	require.Contains(t, said, "remote_name=renamed")
	require.NotContains(t, said, "remote_name=a ")
	r.end()
}

// noReads is a remote read that takes no configuration.
type noReads struct{ nothing }

func (noReads) ApplyConfig(*config.Config) error { return errors.New("refused") }

// TestCapacity: there is room for a request beside the one under way, for each sender.
func TestCapacity(t *testing.T) {
	var s settings
	s.queue.MaxSamplesPerSend, s.queue.Capacity = 500, 100
	require.Equal(t, 3000, s.capacity(3))
	s.queue.Capacity = 5000
	require.Equal(t, 15000, s.capacity(3))
}
