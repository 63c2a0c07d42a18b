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
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/agent/durable"
	"github.com/ackwal/ackwal/tsdb/agent/inspect/inspecttest"
)

// sumOf is the checksum of a savepoint's envelope, as docs/format/savepoint.md has it.
func sumOf(version int, body string) string {
	return fmt.Sprintf("%08x", crc32.Checksum(fmt.Appendf(nil, "%d\n%s", version, body), crc32.MakeTable(crc32.Castagnoli)))
}

// TestMove defends that an endpoint that was moved is sent everything from the target on,
// and nothing from before, by an agent that starts then; that the savepoint as it was is
// kept (promise 2); and that the others stay where they are.
func TestMove(t *testing.T) {
	a, _, sent := outage(t)
	killed := a.Killed()
	a.Stop()
	quarter := time.UnixMilli(inspecttest.Start + commits/4*1000)
	for name, c := range map[string]struct {
		to   string
		want int // What it has yet to be sent.
	}{
		"oldest": {"oldest", sent},
		"now":    {"now", 0},
		"time":   {quarter.UTC().Format(time.RFC3339), sent - sent/4},
		"ms":     {strconv.FormatInt(quarter.UnixMilli(), 10), sent - sent/4},
	} {
		for _, endpoint := range []string{"well", "half", "dead"} {
			t.Run(name+"/"+endpoint, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "data")
				require.NoError(t, os.CopyFS(dir, os.DirFS(killed)))
				to, err := ParseTarget(c.to)
				require.NoError(t, err)
				before := files(t, dir)
				dry, err := Move(context.Background(), dir, endpoint, to, true)
				require.NoError(t, err)
				require.Equal(t, before, files(t, dir))
				require.Empty(t, dry.Backup)

				was, err := os.ReadFile(filepath.Join(dir, "delivery.json"))
				require.NoError(t, err)
				m, err := Move(context.Background(), dir, endpoint, to, false)
				require.NoError(t, err)
				require.Equal(t, dry.To, m.To)
				require.Equal(t, c.want, m.To.Items())
				kept, err := os.ReadFile(m.Backup)
				require.NoError(t, err)
				require.Equal(t, was, kept)

				s := statusOf(t, dir)
				require.Empty(t, s.Notes)
				left := map[string]int{"well": 0, "half": sent / 2, "dead": sent}
				left[endpoint] = c.want
				for name, want := range left {
					require.Equal(t, want, byName(s, name).Items(), name)
				}

				fresh := map[string]*inspecttest.Receiver{}
				for _, name := range []string{"well", "half", "dead"} {
					fresh[name] = inspecttest.NewReceiver(t, true)
				}
				again := inspecttest.Run(t, dir, inspecttest.Config(fresh, "well", "half", "dead"))
				again.Delivered()
				again.Stop()
				got, repeated := fresh[endpoint].Got()
				require.Equal(t, c.want, got)
				require.Zero(t, repeated)
			})
		}
	}
}

// TestMoveRefused defends that a move is refused with what to do, and changes nothing.
func TestMoveRefused(t *testing.T) {
	a, _, _ := outage(t)
	dir := a.Killed()
	move := func(dir, endpoint string, to Target) error {
		_, err := Move(context.Background(), dir, endpoint, to, false)
		return err
	}
	require.ErrorContains(t, move(a.Dir, "half", Target{Now: true}), "stop the agent")
	a.Stop()
	before := files(t, dir)
	require.ErrorContains(t, move(dir, "nobody", Target{Now: true}), "there are: well, dead, half")
	require.ErrorContains(t, move(dir, "half", Target{Time: time.UnixMilli(inspecttest.Start).Add(time.Hour)}), "give now")
	delete(before, filepath.Join(dir, durable.LockName)) // A killed agent's is taken over.
	after := files(t, dir)
	require.Equal(t, before, after)
	_, err := ParseTarget("yesterday")
	require.ErrorContains(t, err, "give oldest, now, or a time")
}
