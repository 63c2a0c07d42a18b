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
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs/faultfs"

	"github.com/prometheus/prometheus/config"
)

// troubled is a storage with the real delivery whose disk is about to refuse
// everything.
type troubled struct {
	t      *testing.T
	db     *DB
	reg    *prometheus.Registry
	remote *receiver
	rs     *delivery.Storage
	base   int64
	want   int // Samples committed.
}

func newTroubled(t *testing.T, dir string, opts *Options, env environment, conf delivery.Options) *troubled {
	x := &troubled{t: t, remote: newReceiver(t), base: time.Now().UnixMilli()}
	x.open(dir, opts, env, conf)
	return x
}

// open starts the storage and the delivery to the receiver there is.
func (x *troubled) open(dir string, opts *Options, env environment, conf delivery.Options) {
	t := x.t
	t.Helper()
	x.reg = prometheus.NewRegistry()
	parsed, err := config.Load("remote_write: [{name: only, url: \""+x.remote.URL+"\", queue_config: {min_backoff: 10ms, max_backoff: 50ms, batch_send_deadline: 50ms}}]", promslog.NewNopLogger())
	require.NoError(t, err)
	x.rs, err = delivery.NewStorage(nil, x.reg, func() (int64, error) { return 0, nil }, dir, time.Second, nil, false, conf)
	require.NoError(t, err)
	// The maintenance is at work, because it is what recovers.
	env.idle = false
	x.db, err = open(nil, x.reg, x.rs, dir, opts, env)
	require.NoError(t, err)
	require.NoError(t, x.rs.ApplyConfig(parsed))
}

func (x *troubled) close() {
	x.t.Helper()
	require.NoError(x.t, x.db.Close())
	require.NoError(x.t, x.rs.Close())
}

const troubledSeries = 200

func (x *troubled) commit() error {
	x.base++
	err := tryFloats(x.db, 0, troubledSeries, x.base)
	if err == nil {
		x.want += troubledSeries
	}
	return err
}

func (x *troubled) delivered() {
	x.t.Helper()
	defer func() {
		if x.t.Failed() {
			x.t.Logf("%d of %d samples arrived", x.remote.count(), x.want)
		}
	}()
	require.Eventually(x.t, func() bool { return x.remote.count() >= x.want }, time.Minute, 10*time.Millisecond)
}

// refuseForAWhile makes the disk refuse everything while the endpoint is down, and then
// lets first the endpoint and then the disk recover. Commits fail with the cause
// and what to do about it, what is on the disk is delivered, and nothing has to
// be restarted.
func (x *troubled) refuseForAWhile(spoil, restore func(), cause error) {
	t := x.t
	require.NoError(t, x.commit())
	x.delivered()
	x.remote.set(true)
	for range 20 {
		require.NoError(t, x.commit())
	}
	spoil()
	var err error
	require.Eventually(t, func() bool {
		err = x.commit()
		return err != nil
	}, time.Minute, time.Millisecond)
	require.ErrorIs(t, err, cause)
	require.ErrorAs(t, err, new(*WriteError))
	require.ErrorContains(t, err, filepath.Join("wal", "0000"))
	require.ErrorContains(t, err, "make room")
	require.ErrorIs(t, x.commit(), cause)
	require.Equal(t, 1.0, valueOf(t, x.reg, "prometheus_agent_wal_broken"))
	require.GreaterOrEqual(t, valueOf(t, x.reg, "prometheus_agent_wal_refused_commits_total"), 2.0)

	x.remote.set(false)
	x.delivered()
	require.Error(t, x.db.truncate(context.Background()))
	require.ErrorIs(t, x.commit(), cause)

	restore()
	require.Eventually(t, func() bool { return x.commit() == nil }, time.Minute, 10*time.Millisecond)
	for range 5 {
		require.NoError(t, x.commit())
	}
	x.delivered()
	require.Equal(t, 0.0, valueOf(t, x.reg, "prometheus_agent_wal_broken"))
	require.Equal(t, x.want, x.remote.count())
	require.Eventually(t, func() bool { return x.db.truncate(context.Background()) == nil }, time.Minute, 10*time.Millisecond)
	require.NoError(t, x.db.Close())
	require.NoError(t, x.rs.Close())
}

// A disk that becomes full, read-only or broken while the agent runs.
func TestDiskFails(t *testing.T) {
	for name, cause := range map[string]syscall.Errno{
		"full": faultfs.NoSpace, "read-only": faultfs.ReadOnly, "broken": faultfs.Broken,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.opts.MaxSize = 1 << 30
			env := w.env()
			env.now = time.Now
			x := newTroubled(t, w.dir, w.opts, env, delivery.Options{FS: w.fs})
			x.refuseForAWhile(
				func() { w.fs.Inject(faultfs.Fault{Err: cause, Stays: true}) },
				func() { w.fs.Count(nil) },
				cause,
			)
			requireStockOpens(t, w.dir, name)
		})
	}
}

// cram writes a file until there is no room left for it.
func cram(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	require.NoError(t, err)
	for n := 1 << 16; n > 0; {
		if _, err := f.Write(make([]byte, n)); err != nil {
			require.ErrorIs(t, err, syscall.ENOSPC)
			n /= 2
		}
	}
	require.NoError(t, f.Close())
}
