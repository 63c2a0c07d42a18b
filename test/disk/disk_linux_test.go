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

package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// short reports whether only a part of the cases is to be tried, and says what is
// left out.
func short(t *testing.T, leftOut bool) {
	t.Helper()
	if leftOut && os.Getenv("ACKWAL_DISK_SHORT") != "" {
		t.Skip("LEFT OUT of the short form: `make disk` has it")
	}
}

// Another program fills the volume in an outage. Nothing that is in the log is given
// up for it; commits are refused; a stop and a start without room work; the backlog is
// delivered, and then there is room again without an operator's help, or when the other
// program gives some back.
func TestFilledByOthers(t *testing.T) {
	for _, tc := range []struct {
		kind string
		mib  int
		long bool
	}{
		{"ext4", 6, true},
		{"ext4", 64, false},
		{"ext4", 100, true},
		{"ext4", 300, true},
		{"tmpfs", 6, false},
		{"tmpfs", 64, true},
		{"tmpfs", 100, true},
		{"tmpfs", 300, true},
	} {
		t.Run(fmt.Sprintf("%s/%d", tc.kind, tc.mib), func(t *testing.T) {
			short(t, tc.long)
			v := mount(t, tc.kind, tc.mib)
			r := newRig(t, v)
			r.start()
			r.more(5)
			r.until("the first samples arrive", func() bool { _, got := r.scrapes(); return got > 3 })
			r.setDown(true)
			r.more(15)
			undo := v.cram(0)
			r.until("commits are refused", r.broken)
			r.more(5)
			r.stop()
			segments := r.segments()

			r.start()
			r.until("commits are refused", r.broken)
			r.more(5)
			// There may have been room for the first record of one.
			require.LessOrEqual(t, len(r.segments()), len(segments)+1, "failed attempts leave no segments behind")
			r.setDown(false)
			r.until("the backlog is delivered although there is no room", r.delivered)
			r.stop()

			r.start()
			undo()
			r.until("commits work again", func() bool { return !r.broken() })
			r.more(5)
			r.verdict()
		})
	}
}

// segments lists the segments there are.
func (r *rig) segments() (all []string) {
	r.t.Helper()
	entries, err := os.ReadDir(filepath.Join(r.data(), "wal"))
	require.NoError(r.t, err)
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err == nil {
			all = append(all, e.Name())
		}
	}
	return all
}

// The log itself fills a small volume that another program leaves little of. When the
// endpoint is back, delivery alone makes room, and samples are taken again.
func TestDeliveryMakesRoom(t *testing.T) {
	v := mount(t, "ext4", 6)
	r := newRig(t, v)
	r.start()
	r.until("the first samples arrive", func() bool { _, got := r.scrapes(); return got > 3 })
	r.setDown(true)
	r.more(50) // More than the reserve and what a record may take.
	v.cram(256 << 10)
	r.until("commits are refused", r.broken)
	r.setDown(false)
	r.until("commits work again", func() bool { return !r.broken() })
	r.more(5)
	r.verdict()
}

// The first start after stock's engine, whose log fills the disk: the agent comes up,
// and takes samples when there is room.
func TestFirstStartAfterStockOnFullDisk(t *testing.T) {
	for _, kind := range []string{"ext4", "tmpfs"} {
		t.Run(kind, func(t *testing.T) {
			short(t, kind == "tmpfs")
			v := mount(t, kind, 6)
			r := newRig(t, v, "--storage.agent.delivery=best-effort")
			r.start()
			r.until("the first samples arrive", func() bool { _, got := r.scrapes(); return got > 3 })
			_, err := r.agent.Terminate()
			require.NoError(t, err)
			undo := v.cram(0)
			r.flags = nil
			r.start()
			r.until("commits are refused", r.broken)
			undo()
			r.until("commits work again", func() bool { return !r.broken() })
			_, before := r.scrapes()
			r.until("they are delivered", func() bool { _, got := r.scrapes(); return got > before+3 })
			r.stop()
		})
	}
}

// No file can be made any more, though there is room.
func TestNoFilesLeft(t *testing.T) {
	v := mount(t, "ext4", 64, "-N", "64")
	r := newRig(t, v, "--storage.agent.retention.max-size=2MB")
	r.start()
	r.until("the first samples arrive", func() bool { _, got := r.scrapes(); return got > 3 })
	r.setDown(true)
	undo := v.useUpFiles()
	r.until("commits are refused", r.broken)
	r.stop()
	r.start()
	r.setDown(false)
	r.until("the backlog is delivered", r.delivered)
	undo()
	r.until("commits work again", func() bool { return !r.broken() })
	r.more(5)
	r.verdict()
}

// A limit holds while the endpoint takes everything, without the truncation that
// comes every two hours.
func TestLimitHoldsAtOnce(t *testing.T) {
	v := mount(t, "tmpfs", 64)
	r := newRig(t, v, "--storage.agent.retention.max-size=512KB")
	r.start()
	for range 20 {
		r.more(10)
		m := r.metric("prometheus_agent_wal_retained_bytes")
		// What came since the last look, a second ago, may be there too.
		require.Less(t, m, float64(768<<10))
	}
	r.verdict()
}

// The file system is found to be broken and takes no writes any more. What is in the
// log is delivered; after a repair the agent goes on.
func TestFileSystemAborts(t *testing.T) {
	short(t, true)
	v := mount(t, "ext4", 64)
	r := newRig(t, v)
	r.start()
	r.until("the first samples arrive", func() bool { _, got := r.scrapes(); return got > 3 })
	r.setDown(true)
	r.more(10)
	if err := run("mount", "-o", "remount,abort", v.dir); err != nil {
		t.Skipf("LEFT OUT: the file system cannot be made to abort: %v", err)
	}
	r.until("commits are refused", r.broken)
	_, before := r.scrapes()
	r.setDown(false)
	r.until("the backlog is delivered from a file system that cannot be written to", func() bool {
		_, got := r.scrapes()
		return got >= before+10 && r.delivered()
	})
	r.note()
	r.agent.Kill()
	require.NoError(t, v.detach())
	_ = run("fsck.ext4", "-y", v.image) // Its status says that it repaired something.
	require.NoError(t, v.attach())
	r.start()
	require.False(t, r.broken())
	r.more(5)
	r.until("everything is delivered", r.delivered)
	r.mtx.Lock()
	defer r.mtx.Unlock()
	t.Logf("DISK %s: %d scrapes, %d delivered, %.0f commits refused", t.Name(), r.served, len(r.got), r.refused)
	require.LessOrEqual(t, float64(r.served-len(r.got)), r.refused+3)
}

// A file of the log from which reading fails: the rest is delivered, what it held is
// counted, and the endpoint is told to be stuck meanwhile.
func TestUnreadableSegment(t *testing.T) {
	v := mount(t, "tmpfs", 64)
	r := newRig(t, v, "--storage.agent.retention.max-size=8MB")
	r.start()
	r.until("the first samples arrive", func() bool { _, got := r.scrapes(); return got > 3 })
	r.setDown(true)
	first := len(r.segments())
	r.until("segments", func() bool { return len(r.segments()) >= first+4 })
	// Reading from a directory fails, and does not say that there is nothing. The
	// first segments are open.
	path := filepath.Join(r.data(), "wal", r.segments()[first+2])
	require.NoError(t, os.Rename(path, filepath.Join(v.dir, "was")))
	require.NoError(t, os.Mkdir(path, 0o777))
	require.NoError(t, os.WriteFile(filepath.Join(path, "x"), nil, 0o666))
	r.setDown(false)
	r.until("the endpoint is seen to be stuck", func() bool {
		return r.metric("prometheus_remote_storage_unacked_seconds") > 5
	})
	r.until("the rest is delivered", r.delivered)
	require.Positive(t, r.metric("prometheus_remote_storage_unreadable_bytes_total"))
	require.Positive(t, r.metric("prometheus_remote_storage_unreadable_total"))
	served, got := r.scrapes()
	t.Logf("DISK %s: %d scrapes, %d delivered", t.Name(), served, got)
	r.stop()
	// It starts, and without what it cannot read.
	r.start()
	r.more(3)
	r.until("everything is delivered", r.delivered)
	r.stop()
}
