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

package inspect

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/tsdb/agent/durable"
	"github.com/ackwal/ackwal/tsdb/agent/inspect/inspecttest"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

const (
	seriesCount = 100
	commits     = 60
)

// files returns what a directory holds, with times, to show that nothing has changed.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		info, err := e.Info()
		require.NoError(t, err)
		out[path] = info.ModTime().String() + string(b)
		return nil
	}))
	return out
}

func statusOf(t *testing.T, dir string) *Status {
	t.Helper()
	before := files(t, dir)
	d, err := Open(dir)
	require.NoError(t, err)
	s, err := d.Status(context.Background())
	require.NoError(t, err)
	require.NoError(t, d.Close())
	require.Equal(t, before, files(t, dir), "looking has changed something")
	return s
}

// outage makes a directory with one endpoint that has everything, one that has had
// nothing, and one that has had the first half.
func outage(t *testing.T) (a *inspecttest.Agent, all map[string]*inspecttest.Receiver, sent int) {
	all = map[string]*inspecttest.Receiver{
		"well": inspecttest.NewReceiver(t, true), "dead": inspecttest.NewReceiver(t, false), "half": inspecttest.NewReceiver(t, true),
	}
	a = inspecttest.Run(t, t.TempDir(), inspecttest.Config(all, "well", "dead", "half"))
	sent = a.Append(seriesCount, commits/2)
	a.Delivered("well", "half")
	all["half"].Up(false)
	sent += a.Append(seriesCount, commits/2)
	a.Delivered("well")
	return a, all, sent
}

func byName(s *Status, name string) *Endpoint {
	return &s.Endpoints[slices.IndexFunc(s.Endpoints, func(e Endpoint) bool { return e.Name == name })]
}

// TestStatus defends that a directory says of each endpoint exactly what it has yet to
// be sent, of an agent that was killed and of one that was stopped, and that looking
// changes nothing (promise 1).
func TestStatus(t *testing.T) {
	a, _, sent := outage(t)
	killed := a.Killed()
	a.Stop()
	for name, dir := range map[string]string{"killed": killed, "stopped": a.Dir} {
		t.Run(name, func(t *testing.T) {
			s := statusOf(t, dir)
			require.Empty(t, s.Notes)
			require.Equal(t, name == "killed", s.LockFile)
			require.Equal(t, name == "stopped", s.Savepoint.Clean)
			require.Equal(t, seriesCount, s.Series)
			require.NotEmpty(t, s.Log.Run)
			require.Zero(t, s.Log.Foreign)
			require.Equal(t, inspecttest.Start, s.Log.Oldest.UnixMilli())
			require.Equal(t, inspecttest.Start+(commits-1)*1000, s.Log.Newest.UnixMilli())
			require.Greater(t, s.Log.Segments, 1)

			require.Equal(t, 0, byName(s, "well").Items())
			require.Equal(t, sent, byName(s, "dead").Samples)
			require.Equal(t, inspecttest.Start, byName(s, "dead").Oldest.UnixMilli())
			require.Equal(t, sent/2, byName(s, "half").Samples)
			require.Equal(t, inspecttest.Start+commits/2*1000, byName(s, "half").Oldest.UnixMilli())
			require.Equal(t, sent/2, byName(s, "half").Items(), "nothing else and nothing estimated")
		})
	}
}

// TestEach defends that every sample is told once, in the order of the log.
func TestEach(t *testing.T) {
	a, _, sent := outage(t)
	dir := a.Killed()
	a.Stop()
	d, err := Open(dir)
	require.NoError(t, err)
	defer d.Close()
	n, last := 0, int64(0)
	require.NoError(t, d.Each(context.Background(), func(it delivery.LoggedItem) error {
		require.Equal(t, inspecttest.Start+int64(n/seriesCount)*1000, it.T)
		require.GreaterOrEqual(t, it.T, last)
		require.Equal(t, "test", it.Labels.Get("job"))
		require.Equal(t, float64(n%seriesCount), it.V)
		n, last = n+1, it.T
		return nil
	}))
	require.Equal(t, sent, n)
}

// TestWrongDirectory defends that an error says what to give instead.
func TestWrongDirectory(t *testing.T) {
	server := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(server, "chunks_head"), 0o777))
	file := filepath.Join(server, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o666))
	for dir, says := range map[string]string{
		filepath.Join(server, "absent"): "--storage.agent.path",
		file:                            "--storage.agent.path",
		server:                          "promtool tsdb",
		t.TempDir():                     "has no directory",
	} {
		_, err := Open(dir)
		require.ErrorContains(t, err, says)
		_, err = Verify(dir)
		require.ErrorContains(t, err, says)
		_, err = Move(context.Background(), dir, "x", Target{Now: true}, false)
		require.ErrorContains(t, err, says)
	}
	empty := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(empty, durable.WALDir), 0o777))
	s := statusOf(t, empty)
	require.Zero(t, s.Log.Segments)
	require.Empty(t, s.Endpoints)
}

// TestVerify defends that each kind of damage is found in the file that has it, with
// what a start does about it, and that nothing is changed by that (promise 1).
func TestVerify(t *testing.T) {
	a, _, _ := outage(t)
	killed := a.Killed()
	a.Stop()
	flip := func(path string, offset int) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, path)
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			b[offset] ^= 0xff
			require.NoError(t, os.WriteFile(path, b, 0o666))
		}
	}
	some := func(t *testing.T, dir, pattern string) string {
		all, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(pattern)))
		require.NoError(t, err)
		require.NotEmpty(t, all, pattern)
		rel, err := filepath.Rel(dir, all[0])
		require.NoError(t, err)
		return rel
	}
	atEnd := func(t *testing.T, dir string, change func([]byte) []byte) {
		_, last, err := wlog.Segments(filepath.Join(dir, durable.WALDir))
		require.NoError(t, err)
		path := wlog.SegmentName(filepath.Join(dir, durable.WALDir), last)
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, change(b), 0o666))
	}
	segment := wlog.SegmentName(durable.WALDir, 1)
	for name, c := range map[string]struct {
		from     string
		damage   func(t *testing.T, dir string)
		severity Severity
		kind     string // Of the one finding that is not fine, empty for none.
		action   string
	}{
		"stopped": {from: a.Dir, severity: Fine},
		"killed":  {from: killed, severity: Fine},
		"torn tail": {from: killed, severity: Usual, kind: "segment", action: "cut off", damage: func(t *testing.T, dir string) {
			atEnd(t, dir, func(b []byte) []byte { return append(b, 1, 0, 9, 9, 9, 9, 9, 9) })
		}},
		// The savepoint knows where the log ended.
		"cut end": {from: killed, severity: Damaged, kind: "savepoint", action: "counted", damage: func(t *testing.T, dir string) {
			atEnd(t, dir, func(b []byte) []byte { return b[:len(b)-5] })
		}},
		"emptied end": {from: killed, severity: Damaged, kind: "savepoint", action: "counted", damage: func(t *testing.T, dir string) {
			atEnd(t, dir, func([]byte) []byte { return nil })
		}},
		"no segments": {from: killed, severity: Damaged, kind: "savepoint", action: "counted", damage: func(t *testing.T, dir string) {
			first, last, err := wlog.Segments(filepath.Join(dir, durable.WALDir))
			require.NoError(t, err)
			for n := first; n <= last; n++ {
				require.NoError(t, os.Remove(wlog.SegmentName(filepath.Join(dir, durable.WALDir), n)))
			}
		}},
		"segment":           {from: killed, severity: Damaged, kind: "segment", action: "filled", damage: flip(segment, 5000)},
		"missing segment":   {from: killed, severity: Damaged, kind: "segment", action: "in place of what is missing", damage: func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, segment))) }},
		"savepoint":         {from: killed, severity: Damaged, kind: "savepoint", action: "renamed to delivery.corrupt-1.json", damage: flip("delivery.json", 40)},
		"snapshot manifest": {from: a.Dir, severity: Damaged, kind: "snapshot manifest", action: "made again", damage: flip("series/manifest.json", 60)},
		"snapshot chunk": {from: a.Dir, severity: Damaged, kind: "snapshot chunk", action: "made again", damage: func(t *testing.T, dir string) {
			flip(some(t, dir, "series/chunk-????????"), 30)(t, dir)
		}},
		"snapshot index": {from: a.Dir, severity: Usual, kind: "snapshot index", action: "made again", damage: func(t *testing.T, dir string) {
			flip(some(t, dir, "series/chunk-*.idx"), 6)(t, dir)
		}},
		"leftover": {from: a.Dir, severity: Usual, kind: "snapshot chunk", action: "removed", damage: func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "series", "chunk-00000099"), []byte("x"), 0o666))
		}},
		"later savepoint": {from: a.Dir, severity: Refused, kind: "savepoint", action: "refused", damage: func(t *testing.T, dir string) {
			later := `{"version":2,"crc32c":"` + sumOf(2, "{}") + `","body":{}}`
			require.NoError(t, os.WriteFile(filepath.Join(dir, "delivery.json"), []byte(later), 0o666))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			require.NoError(t, os.CopyFS(dir, os.DirFS(c.from)))
			if c.damage != nil {
				c.damage(t, dir)
			}
			before := files(t, dir)
			r, err := Verify(dir)
			require.NoError(t, err)
			require.Equal(t, before, files(t, dir), "verifying has changed something")
			bad := slices.DeleteFunc(slices.Clone(r.Findings), func(f Finding) bool { return f.Severity == Fine })
			if c.kind == "" {
				require.Empty(t, bad)
			} else {
				require.NotEmpty(t, bad)
				require.Equal(t, c.kind, bad[0].Kind, "%+v", bad)
				require.Contains(t, bad[0].Action, c.action)
			}
			require.Equal(t, c.severity, r.Severity, "%+v %v", bad, r.Notes)
			require.Equal(t, name != "no segments", r.Records > 0)
			for _, f := range r.Findings {
				require.NotEqual(t, "other", f.Kind, f.Path)
			}
		})
	}
}

// TestStatusWithoutSegments defends that what endpoints had not been sent of a log that is
// gone is told as a start would count it.
func TestStatusWithoutSegments(t *testing.T) {
	a, _, sent := outage(t)
	dir := a.Killed()
	a.Stop()
	before := statusOf(t, dir)
	require.NoError(t, os.RemoveAll(filepath.Join(dir, durable.WALDir)))
	require.NoError(t, os.Mkdir(filepath.Join(dir, durable.WALDir), 0o777))
	s := statusOf(t, dir)
	require.Len(t, s.Endpoints, len(before.Endpoints))
	require.Positive(t, sent)
	for i, e := range s.Endpoints {
		require.Equal(t, before.Endpoints[i].Items() > 0, e.LostBytes > 0, e.Name)
		require.InDelta(t, before.Endpoints[i].Items(), e.LostSamples, float64(before.Endpoints[i].Items())/2, e.Name)
		require.Zero(t, e.Items(), e.Name)
	}
	require.Zero(t, s.Log.Segments)
	require.Equal(t, -1, s.Log.First)
	require.NotEmpty(t, s.Notes)
	_, err := Move(context.Background(), dir, s.Endpoints[0].ID, Target{Oldest: true}, true)
	require.ErrorContains(t, err, "no segment")
}

// TestDamagedStatus defends that a look at a damaged directory says what a start would.
func TestDamagedStatus(t *testing.T) {
	a, _, sent := outage(t)
	dir := a.Killed()
	a.Stop()
	for _, name := range []string{"delivery.json", "delivery.prev.json"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("damage"), 0o666))
	}
	s := statusOf(t, dir)
	require.Empty(t, s.Endpoints)
	require.Empty(t, s.Savepoint.File)
	require.NotEmpty(t, s.Notes)
	require.Positive(t, sent)
}
