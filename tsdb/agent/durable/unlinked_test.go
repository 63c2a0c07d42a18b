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
	"errors"
	"os"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/repair"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// fullDisk takes no new files beside segments.
type fullDisk struct{ vfs.FS }

func (f fullDisk) OpenFile(name string, flag int, mode os.FileMode) (vfs.File, error) {
	if flag&os.O_CREATE != 0 {
		return nil, errDisk
	}
	return f.FS.OpenFile(name, flag, mode)
}

// displace takes the active segment away, or puts something else in its place.
var displace = map[string]func(t *testing.T, path string){
	"removed": func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) },
	"replaced": func(t *testing.T, path string) {
		require.NoError(t, os.Remove(path))
		require.NoError(t, os.WriteFile(path, []byte("something else"), 0o666))
	},
}

// An operator removes the segment that is written to: nothing that was committed is lost,
// neither to a stop nor to a kill that comes later than the next look (I8).
func TestActiveSegmentIsPutBack(t *testing.T) {
	for name, away := range displace {
		for _, stopped := range []bool{false, true} {
			dir := t.TempDir()
			db := openTest(t, dir, nil, small(), still())
			appendFloats(t, db, 0, 100, 1)
			segment := db.journal.Head().Segment
			away(t, wlog.SegmentName(db.journal.dir, segment))
			appendFloats(t, db, 0, 100, 2)
			if !stopped {
				db.keepInPlace()
				require.Equal(t, segment+1, db.journal.Head().Segment, name)
				require.Len(t, readLogged(t, dir).samples, 200, name)
				db.keepInPlace()
				require.Equal(t, segment+1, db.journal.Head().Segment, "%s: it is in its place", name)
			}
			appendFloats(t, db, 0, 100, 3)
			require.NoError(t, db.Close())
			got := readLogged(t, dir)
			require.Len(t, got.samples, 300, name)
			require.Zero(t, got.orphans)
		}
	}
}

// A segment that was finished while it was copied is put back as a whole, with what was
// committed meanwhile (I8).
func TestSegmentIsPutBackThatIsFinishedMeanwhile(t *testing.T) {
	dir := t.TempDir()
	db := openTest(t, dir, nil, small(), still())
	appendFloats(t, db, 0, 100, 1)
	path := wlog.SegmentName(db.journal.dir, db.journal.Head().Segment)
	require.NoError(t, os.Remove(path))
	file, _ := db.journal.displaced()
	require.NotNil(t, file)
	appendFloats(t, db, 0, 100, 2)
	_, err := db.journal.cutIfOlder(0)
	require.NoError(t, err)
	require.NoError(t, db.journal.putInPlace(file, path))
	appendFloats(t, db, 0, 100, 3)
	require.ErrorIs(t, file.Close(), os.ErrClosed)
	require.NoError(t, db.Close())
	require.Len(t, readLogged(t, dir).samples, 300)
}

// If there is no room for a copy, a new segment begins all the same, so that what comes
// is not lost, and it is known how large the one was that is gone, whatever a repair
// puts in its place, also after a restart (I9).
func TestActiveSegmentThatCannotBePutBack(t *testing.T) {
	dir := t.TempDir()
	sender := &fakeSender{}
	db := openTest(t, dir, sender, small(), still())
	cut := func() {
		_, err := db.journal.cutIfOlder(0)
		require.NoError(t, err)
	}
	appendFloats(t, db, 0, 100, 1)
	cut()
	appendFloats(t, db, 0, 100, 2)
	lost := db.journal.Head()
	require.NoError(t, os.Remove(wlog.SegmentName(db.journal.dir, lost.Segment)))
	disk := db.journal.fs
	db.journal.fs = fullDisk{disk}
	db.keepInPlace()
	db.journal.fs = disk
	require.Equal(t, lost.Segment+1, db.journal.Head().Segment)
	appendFloats(t, db, 0, 100, 3)
	require.Len(t, db.fillHoles(db.journal.Head().Segment), 1)
	require.Equal(t, lost.Offset, sender.Size(lost.Segment))
	cut()
	require.NoError(t, errors.Join(db.Close(), sender.Release()))
	db = openTest(t, dir, sender, small(), still())
	require.Equal(t, lost.Offset, sender.Size(lost.Segment))
	require.NoError(t, errors.Join(db.Close(), sender.Release()))
}

// The directory of the log is removed while it is written to. It comes back, or is made
// anew after a while, and numbers go on: behind positions that were reached before, a
// sample would count as delivered (I1).
func TestLogDirectoryIsRemoved(t *testing.T) {
	for name, back := range map[string]func(db *DB){
		"made by another program": func(db *DB) { require.NoError(t, os.Mkdir(db.journal.dir, 0o777)) },
		"made anew":               func(db *DB) { db.away = db.away.Add(-awayFor) },
		"a segment in the midst only": func(db *DB) {
			require.NoError(t, os.Mkdir(db.journal.dir, 0o777))
			for _, k := range []int{0, 2} {
				require.NoError(t, os.WriteFile(wlog.SegmentName(db.journal.dir, k), nil, 0o666))
			}
		},
		"its oldest segment only": func(db *DB) {
			require.NoError(t, os.Mkdir(db.journal.dir, 0o777))
			require.NoError(t, os.WriteFile(wlog.SegmentName(db.journal.dir, 0), nil, 0o666))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			db := openTest(t, dir, nil, small(), still())
			for i := range 3 {
				appendFloats(t, db, 0, 100, int64(i+1))
				_, err := db.journal.cutIfOlder(0)
				require.NoError(t, err)
			}
			appendFloats(t, db, 0, 100, 4)
			before := db.journal.Head()
			require.NoError(t, os.RemoveAll(db.journal.dir))
			_, err := db.journal.cutIfOlder(0)
			require.Error(t, err)
			require.ErrorIs(t, db.recoverNow(), os.ErrNotExist)
			back(db)
			require.NoError(t, db.recoverNow())
			require.Greater(t, db.journal.Head().Segment, before.Segment)
			require.Positive(t, testutil.ToFloat64(db.metrics.damages.WithLabelValues(repair.MissingSegments)))
			appendFloats(t, db, 200, 300, 5)
			require.NoError(t, db.Close())

			db = openTest(t, dir, nil, small(), still())
			require.Greater(t, db.journal.Head().Segment, before.Segment)
			require.NoError(t, db.Close())
			require.Len(t, readLogged(t, dir).samples, 100)
		})
	}
}
