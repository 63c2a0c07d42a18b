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
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

// TestLeaveOthers defends I2 where a log is delivered to some of its endpoints: the others
// are neither taken for removed nor given up, however long it takes, while without the
// option they are.
func TestLeaveOthers(t *testing.T) {
	for _, leave := range []bool{true, false} {
		j := openJournal(t, t.TempDir(), nil)
		dead := map[string]*receiver{"a": newReceiver(), "b": newReceiver()}
		for _, r := range dead {
			r.set(unavailable)
		}
		r := newRig(t, j, dead, Options{})
		r.attach(remoteWrite("a"), remoteWrite("b"))
		r.commit(100)
		require.NoError(t, r.Close())

		r = newRig(t, j, map[string]*receiver{"a": newReceiver()}, Options{LeaveOthers: leave, RemovedRetention: time.Nanosecond})
		r.attach(remoteWrite("a"))
		require.Eventually(t, func() bool {
			return r.running[0].floor() == *j.head.Load()
		}, time.Minute, time.Millisecond)
		require.Eventually(t, func() bool {
			r.expire(time.Now().Add(time.Hour)) // Not while the savepoint writer looks.
			return leave || len(r.statesToSave()) == 1
		}, time.Minute, time.Millisecond)
		require.NoError(t, r.Close())
		f, _, err := savepoint.NewStore(j.dir).Load()
		require.NoError(t, err)
		for _, e := range f.Endpoints {
			require.Nil(t, e.Removed)
		}
		if leave {
			require.Len(t, f.Endpoints, 2)
		} else {
			require.Len(t, f.Endpoints, 1)
		}
		require.NoError(t, j.wal.Close())
	}
}

// TestInspect defends that what endpoints have yet to be sent is counted as it will be
// sent, with a position in the middle of a commit and with a part that cannot be read,
// and that nothing is written.
func TestInspect(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	a := newReceiver()
	a.set(unavailable)
	r := newRig(t, j, map[string]*receiver{"a": a}, Options{})
	r.attach(remoteWrite("a"))
	for range 3 {
		r.commit(100)
	}
	require.NoError(t, r.Close())
	require.NoError(t, j.wal.Close())

	store := savepoint.NewStore(j.dir)
	f, _, err := store.Load()
	require.NoError(t, err)
	inspected := func() *Backlog {
		i, err := Inspect(nil, j.dir, InspectOptions{})
		require.NoError(t, err)
		b := i.Backlogs(context.Background(), i.Head())
		require.NoError(t, i.Close())
		require.Len(t, b, 1)
		return &b[0]
	}
	b := inspected()
	require.Equal(t, 300, b.Items())
	require.Zero(t, b.Estimated)
	require.Equal(t, int64(1), b.Oldest)
	require.Equal(t, int64(3), b.Newest)
	require.Equal(t, logBytes(filepath.Join(j.dir, "wal"), b.From, *j.head.Load()), b.Bytes)

	// The first partition that has items has had two of them.
	items := map[int]int{}
	for _, s := range j.series {
		items[s.Partition()]++
	}
	for p := range f.Endpoints[0].Acked {
		if items[p] > 1 {
			f.Endpoints[0].Acked[p].Skip = 2
			break
		}
	}
	require.NoError(t, store.Write(f, true))
	require.Equal(t, 298, inspected().Items())

	n := 0
	i, err := Inspect(nil, j.dir, InspectOptions{})
	require.NoError(t, err)
	require.Equal(t, 100, i.Series())
	require.NoError(t, i.Each(context.Background(), cursor.Position{}, func(it LoggedItem, end cursor.Position) error {
		require.Equal(t, int64(1+n/100), it.T)
		require.Equal(t, float64(n%100), it.V)
		require.False(t, i.Head().Before(end))
		n++
		return nil
	}))
	require.Equal(t, 300, n)
	require.NoError(t, i.Close())

	path := filepath.Join(j.dir, "wal", "00000000")
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = file.WriteAt(make([]byte, 16), j.head.Load().Offset-16)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	require.Less(t, inspected().Items()-inspected().Estimated, 298)
}
