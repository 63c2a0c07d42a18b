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
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

// crashDir, if set, makes the test binary the process that is killed.
const crashDir = "DURABLE_CRASH_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		crashingProcess(dir)
		return
	}
	os.Exit(m.Run())
}

// crashingProcess commits until it is killed, and reports each commit when it
// has returned. Segments are cut, and truncated, as often as possible.
func crashingProcess(dir string) {
	opts := small()
	opts.TruncateFrequency = 5 * time.Millisecond
	sender := &fakeSender{}
	db, err := open(nil, nil, sender, dir, opts, realEnvironment)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	sender.Gate.Set(holder("keeps everything", cursor.Position{}))
	sender.Gate.Open()
	for ts := time.Now().UnixNano(); ; ts++ {
		app := db.Appender(context.Background())
		// New series all the time, beside those that are there already.
		for i := range 50 {
			n := i
			if i >= 40 {
				n = int(ts % 100_000)
			}
			if _, err := app.Append(0, metric(n), ts+int64(i), float64(i)); err != nil {
				fmt.Println("error", err)
				os.Exit(1)
			}
		}
		if err := app.Commit(); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Printf("committed %d\n", ts)
		ts += 100
	}
}

// A process that is killed at any moment has lost nothing whose Commit returned
// (I8), and leaves a log in which everything is in order once it is opened
// again (I7).
func TestKill(t *testing.T) {
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewSource(seed))
	dir := t.TempDir()
	var committed []string
	for range 8 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), crashDir+"="+dir)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewReader(out)
		kill := rnd.Intn(400)
		for n := 0; ; n++ {
			line, err := lines.ReadString('\n')
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			ts, ok := strings.CutPrefix(strings.TrimSpace(line), "committed ")
			require.True(t, ok, line)
			committed = append(committed, ts)
			if n == kill {
				// It goes on committing until the signal arrives.
				require.NoError(t, cmd.Process.Kill())
			}
		}
		require.Error(t, cmd.Wait())
	}

	db := openTest(t, dir, nil, small(), still())
	require.NoError(t, db.Close())
	got := readLogged(t, dir)
	require.Zero(t, got.orphans)
	there := map[string]bool{}
	for _, s := range got.samples {
		there[strings.Fields(s[strings.IndexByte(s, '}'):])[2]] = true
	}
	for _, ts := range committed {
		require.True(t, there[ts], "the commit at %s was reported and is not there", ts)
	}
	require.GreaterOrEqual(t, len(got.samples), 50*len(committed))
}
