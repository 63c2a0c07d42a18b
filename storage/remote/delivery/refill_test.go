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
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// What of isolated series lies in parts of the log that the disk has come to refuse is
// passed over after some tries, by each series that has something there, and counted;
// of the rest nothing is lost (I9).
func TestIsolatedSeriesPassWhatIsUnreadable(t *testing.T) {
	t.Parallel()
	j, rc := openJournal(t, t.TempDir(), nil), newPicky()
	rc.bad["3"] = refusals["429"]
	r := newPickyRig(t, j, rc, 1)
	for n := range 1200 {
		if n == 500 {
			r.arrives("others", 9*n, but("3"))
			rc.do(func() { rc.bad["7"] = refusals["429"] })
		}
		r.commit(10)
		if n%100 == 99 {
			j.cut()
		}
	}
	r.arrives("others", 8*1200, but("3", "7"))
	require.Equal(t, 2, r.running[0].streams()[0].isolation.waitingApart())

	// One segment can be opened, but not read, the other not even opened.
	segment := func(n int) string { return wlog.SegmentName(filepath.Join(j.dir, "wal"), n) }
	require.NoError(t, os.Remove(segment(4)))
	require.NoError(t, os.Mkdir(segment(4), 0o777))
	require.NoError(t, os.Remove(segment(8)))
	if err := os.Symlink(segment(8), segment(8)); err != nil {
		t.Skip("no symbolic links:", err)
	}
	rc.do(func() { clear(rc.bad) })
	of := func(name string) func() bool {
		want := map[string]int{"3": 1000, "7": 1100}[name]
		return func() bool { return rc.has(only(name)) >= want }
	}
	for _, name := range []string{"3", "7"} {
		require.Eventually(t, of(name), 2*time.Minute, 10*time.Millisecond, name)
	}
	require.Equal(t, 1000, rc.has(only("3")))
	require.Equal(t, 1100, rc.has(only("7")))
	rc.do(func() { require.Zero(t, rc.early, "I4") })
	require.GreaterOrEqual(t, r.value("prometheus_remote_storage_unreadable_total", nil), 3.0)
	require.Positive(t, r.value("prometheus_remote_storage_unreadable_bytes_total", nil))
	r.end()
}

// A segment that a series waits in has gone when the endpoint begins again: the series
// goes on behind it, and no other is sent twice for that (I8).
func TestIsolatedSeriesOfRemovedSegment(t *testing.T) {
	j, rc := openJournal(t, t.TempDir(), nil), newPicky()
	rc.bad["3"] = refusals["429"]
	r := newPickyRig(t, j, rc, 1)
	for range 4 {
		for range 5 {
			r.commit(100)
		}
		j.cut()
	}
	r.arrives("all others", 20*99, but("3"))
	require.NoError(t, r.Close())
	require.NoError(t, j.wal.Truncate(2))
	rc.do(func() { delete(rc.bad, "3") })
	r = newPickyRig(t, j, rc, 1)
	require.Eventually(t, func() bool { return r.rc.has(only("3")) == 10 }, time.Minute, time.Millisecond)
	r.commit(100)
	r.arrives("what comes next", 21*99, but("3"))
	rc.do(func() { require.Zero(t, rc.again) })
	require.Equal(t, 11, r.rc.has(only("3")))
	r.end()
}
