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

	"github.com/stretchr/testify/require"

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

// Somebody removes the segment that is written to: nothing that was committed is lost,
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
