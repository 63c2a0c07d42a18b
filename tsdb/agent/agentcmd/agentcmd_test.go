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

package agentcmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/agent/inspect/inspecttest"

	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

const (
	seriesCount = 50
	commits     = 40
)

// run parses a command line and runs it.
func run(t *testing.T, args ...string) (code int, out, failed string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	app := kingpin.New("promtool", "").Terminate(func(int) { t.Fatal("the command line ends the process") })
	c := register(app, &Commands{printer: printer{out: &stdout}, err: &stderr})
	parsed, err := app.Parse(append([]string{"agent"}, args...))
	require.NoError(t, err)
	code, ours := c.Run(context.Background(), parsed)
	require.True(t, ours)
	return code, stdout.String(), stderr.String()
}

// requireRun runs a command that is to end with a code, and returns what it printed.
func requireRun(t *testing.T, code int, args ...string) string {
	t.Helper()
	got, out, failed := run(t, args...)
	require.Equal(t, code, got, "%s%s", out, failed)
	return out + failed
}

// backlog makes the directory of a killed agent whose two endpoints have had nothing, and
// a configuration with receivers that are up now.
func backlog(t *testing.T) (dir, conf string, to map[string]*inspecttest.Receiver, sent int) {
	return backlogOf(t, commits)
}

func backlogOf(t *testing.T, commits int) (dir, conf string, to map[string]*inspecttest.Receiver, sent int) {
	dead := map[string]*inspecttest.Receiver{"a": inspecttest.NewReceiver(t, false), "b": inspecttest.NewReceiver(t, false)}
	agent := inspecttest.Run(t, t.TempDir(), inspecttest.Config(dead, "a", "b"))
	sent = agent.Append(seriesCount, commits)
	dir = agent.Killed()
	agent.Stop()
	to = map[string]*inspecttest.Receiver{"a": inspecttest.NewReceiver(t, true), "b": inspecttest.NewReceiver(t, true)}
	conf = filepath.Join(t.TempDir(), "agent.yml")
	require.NoError(t, os.WriteFile(conf, []byte(inspecttest.Config(to, "a", "b")), 0o666))
	return dir, conf, to, sent
}

// TestDrain defends that what a killed agent has left is delivered once, endpoint by
// endpoint if that is asked for, that others keep what they have yet to be sent, and
// that a second run sends nothing (I1, I2).
func TestDrain(t *testing.T) {
	dir, conf, to, sent := backlog(t)
	arrived := func(name string, want int) {
		t.Helper()
		got, again := to[name].Got()
		require.Equal(t, want, got)
		require.Zero(t, again)
	}
	drain := func(code int, flags ...string) string {
		t.Helper()
		return requireRun(t, code, append([]string{"drain", dir, "--config.file=" + conf}, flags...)...)
	}
	require.Contains(t, drain(0, "--dry-run"), strconv.Itoa(sent)+" samples")
	arrived("a", 0)
	require.Contains(t, drain(1, "--endpoint=c"), "no endpoint c is both")

	require.Contains(t, drain(0, "--endpoint=b"), fmt.Sprintf("b: %d delivered, left: nothing", sent))
	arrived("a", 0)
	arrived("b", sent)
	require.Contains(t, drain(0, "--endpoint=b"), "nothing to deliver")

	// One that is down, or refuses everything: it is about to be corrected.
	for _, status := range []int{503, 401, 403, 404} {
		to["a"].Answer(status)
		out := drain(3, "--timeout=200ms")
		require.Contains(t, out, "a: 0 delivered, left: "+strconv.Itoa(sent)+" samples", status)
	}
	to["a"].Up(true)
	require.Contains(t, drain(0), fmt.Sprintf("a: %d delivered, left: nothing", sent))
	require.Contains(t, drain(0), "nothing to deliver")
	arrived("a", sent)
	arrived("b", sent)
}

// TestDrainTellsWhatItPassesOver defends that what another engine wrote in between is told,
// once, before it is passed over and after.
func TestDrainTellsWhatItPassesOver(t *testing.T) {
	dir, conf, _, sent := backlog(t)
	w, err := wlog.New(nil, nil, filepath.Join(dir, "wal"), "none")
	require.NoError(t, err)
	var enc record.Encoder
	require.NoError(t, w.Log(enc.Samples([]record.RefSample{{Ref: 1, T: inspecttest.Start + 1e6}, {Ref: 2, T: inspecttest.Start + 1e6}}, nil)))
	require.NoError(t, w.Close())
	require.Contains(t, requireRun(t, 0, "status", dir), fmt.Sprintf("%d samples; 2 that another engine wrote are passed over", sent))
	out := requireRun(t, 0, "drain", dir, "--config.file="+conf)
	require.Contains(t, out, fmt.Sprintf("a: %d delivered, 2 passed over because another engine wrote them, left: nothing", sent))
	require.NotContains(t, requireRun(t, 0, "status", dir), "passed over")
}

// TestSegmentMissing defends that commands work with what is there if a segment in the middle
// is missing, say so, and leave nothing behind: what drain delivers is what was counted before.
func TestSegmentMissing(t *testing.T) {
	dir, conf, to, sent := backlogOf(t, 10*commits)
	t.Setenv("TMPDIR", t.TempDir())
	require.NoError(t, os.Remove(wlog.SegmentName(filepath.Join(dir, "wal"), 1)))
	var status struct {
		Log struct {
			Missing int `json:"missing_segments"`
		}
		Notes     []string
		Endpoints []struct{ Samples, Estimated int }
	}
	require.NoError(t, json.Unmarshal([]byte(requireRun(t, 0, "status", dir, "--format=json")), &status))
	require.Equal(t, 1, status.Log.Missing)
	require.Contains(t, status.Notes[0], "Segments are missing in the log")
	require.Contains(t, requireRun(t, 0, "status", dir), "1 segments between them are missing")
	require.Contains(t, requireRun(t, 0, "cat", dir, "--limit=1"), "host-0000")
	require.Contains(t, requireRun(t, 0, "savepoint", dir), "Segments are missing in the log")
	require.Contains(t, requireRun(t, 0, "savepoint", dir, "--endpoint=b", "--to=now"), "to take the move back")
	require.NoFileExists(t, wlog.SegmentName(filepath.Join(dir, "wal"), 1))

	requireRun(t, 0, "drain", dir, "--config.file="+conf)
	got, again := to["a"].Got()
	require.Positive(t, got)
	require.Less(t, got, sent)
	require.Zero(t, again)
	none, _ := to["b"].Got()
	require.Zero(t, none)
	left, err := os.ReadDir(os.TempDir())
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestDrainNeedsASavepoint defends that nothing is sent where it is not known what was.
func TestDrainNeedsASavepoint(t *testing.T) {
	dir, conf, to, _ := backlog(t)
	for _, name := range []string{"delivery.json", "delivery.prev.json"} {
		require.NoError(t, os.Remove(filepath.Join(dir, name)))
	}
	require.Contains(t, requireRun(t, 1, "drain", dir, "--config.file="+conf), "no savepoint that can be read")
	got, _ := to["a"].Got()
	require.Zero(t, got)
}

// TestLooking defends what the commands that only look print, as text and as JSON, and
// their exit codes.
func TestLooking(t *testing.T) {
	dir, _, _, sent := backlog(t)
	text := requireRun(t, 0, "status", dir)
	for _, part := range []string{"lock file present", "2023-11-14T22:13:20Z", strconv.Itoa(sent) + " samples", "written last by durable delivery"} {
		require.Contains(t, text, part)
	}
	var status struct {
		Endpoints []struct {
			Name    string
			Samples int
		}
	}
	require.NoError(t, json.Unmarshal([]byte(requireRun(t, 0, "status", dir, "--format=json")), &status))
	require.Len(t, status.Endpoints, 2)
	require.Equal(t, sent, status.Endpoints[0].Samples)

	require.Contains(t, requireRun(t, 0, "verify", dir), "Everything is whole")
	require.Contains(t, requireRun(t, 0, "savepoint", dir), "delivery.json, written")
	require.Contains(t, requireRun(t, 1, "savepoint", dir, "--to=now"), "--endpoint=")
	require.Contains(t, requireRun(t, 1, "savepoint", dir, "--endpoint=a"), "--to=oldest")
	require.Contains(t, requireRun(t, 0, "savepoint", dir, "--endpoint=a", "--to=now", "--dry-run"), "would have yet to be sent: nothing")
	require.Contains(t, requireRun(t, 0, "savepoint", dir, "--endpoint=a", "--to=now"), "to take the move back")
	require.Contains(t, requireRun(t, 1, "status", filepath.Join(dir, "absent")), "--storage.agent.path")

	path := filepath.Join(dir, "wal", "00000000")
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	b[len(b)/2] ^= 0xff
	require.NoError(t, os.WriteFile(path, b, 0o666))
	require.Contains(t, requireRun(t, 3, "verify", dir), "at a start: filled")
	var report struct{ Severity string }
	require.NoError(t, json.Unmarshal([]byte(requireRun(t, 3, "verify", dir, "--format=json")), &report))
	require.Equal(t, "damaged", report.Severity)
}

// TestCat defends that what is printed is what was asked for.
func TestCat(t *testing.T) {
	dir, _, _, sent := backlog(t)
	lines := func(flags ...string) []string {
		t.Helper()
		return strings.Split(strings.TrimSpace(requireRun(t, 0, append([]string{"cat", dir}, flags...)...)), "\n")
	}
	all := lines()
	require.Len(t, all, sent)
	require.Equal(t, `{__name__="metric", instance="host-0000", job="test"} 0 1700000000000`, all[0])
	require.Len(t, lines("--match={instance='host-0003'}"), commits)
	require.Len(t, lines("--match={instance='host-0003'}", "--match=metric{instance=~'host-000[01]'}"), 3*commits)
	second := time.UnixMilli(inspecttest.Start + 1000).UTC().Format(time.RFC3339)
	require.Len(t, lines("--min-time="+second, "--max-time="+strconv.FormatInt(inspecttest.Start+2000, 10)), 2*seriesCount)
	require.Len(t, lines("--limit=3"), 3)
	var l line
	require.NoError(t, json.Unmarshal([]byte(lines("--format=json", "--limit=1")[0]), &l))
	require.Equal(t, "host-0000", l.Labels.Get("instance"))
	require.Equal(t, "0", l.Value)
	require.Contains(t, requireRun(t, 1, "cat", dir, "--min-time=soon"), "is no time")
	require.Contains(t, requireRun(t, 1, "cat", dir, "--match={"), "--match takes a selector")
}

// TestExitCodes defends that a command that ends with an error has an exit code other than
// 0, and its own if it gives one: `verify` of a damaged directory is 3 also if its report
// cannot be written.
func TestExitCodes(t *testing.T) {
	for name, c := range map[string]struct {
		code int
		err  error
		want int
	}{
		"well":           {exitOK, nil, 0},
		"bad":            {exitBad, nil, 3},
		"error":          {exitFailed, errors.New("failed"), 1},
		"only an error":  {exitOK, errors.New("failed"), 1},
		"bad, and error": {exitBad, errors.New("failed"), 3},
	} {
		cmds := &Commands{err: io.Discard, run: map[string]func(context.Context) (int, error){
			"agent some": func(context.Context) (int, error) { return c.code, c.err },
		}}
		code, ours := cmds.Run(t.Context(), "agent some")
		require.True(t, ours, name)
		require.Equal(t, c.want, code, name)
	}
}

// What was lost, or may be, is no success: the directory is removed after one.
func TestExitCodeOfDrain(t *testing.T) {
	require.Equal(t, exitOK, drained(10, 0, 0, 0))
	require.Equal(t, exitOK, drained(10, 0, 2, 0), "what it had already")
	require.Equal(t, exitBad, drained(0, 0, 2, 0), "it took nothing, so who knows")
	require.Equal(t, exitBad, drained(10, 2, 0, 0), "refused")
	require.Equal(t, exitBad, drained(10, 0, 0, 2), "left")
	require.Equal(t, exitOK, drained(0, 0, 0, 0))
}
