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

package harness

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/grafana/regexp"
)

const savepointFile = "delivery.json"

// Run is the agent's process from a start to its end.
type Run struct {
	Number int
	Engine Engine
	// From is the segment the run opened: everything committed in it and in
	// later ones, up to the next run's, was committed by this run.
	From int

	// KilledAt and Saved are set by [Agent.Kill]: when the signal was sent,
	// and when the savepoint that the next run finds was written (zero if
	// there is none).
	KilledAt time.Time
	Saved    time.Time
}

// Agent is the agent under test with its data directory. It belongs to the
// test's goroutine.
type Agent struct {
	Engine Engine
	Config Config
	// TruncateEvery is how often the WAL is truncated, a second if it is 0.
	TruncateEvery time.Duration
	// Flags are added to the command line at each start.
	Flags []string
	Runs  []Run

	dir      string
	scenario *Scenario
	proc     *Prometheus
}

// WALDir is the directory with the segments.
func (a *Agent) WALDir() string { return filepath.Join(a.DataDir(), "wal") }

// DataDir is the directory given to the agent.
func (a *Agent) DataDir() string { return filepath.Join(a.dir, "data") }

func (a *Agent) configPath() string { return filepath.Join(a.dir, "agent.yml") }

// Start runs the agent with its engine until Kill or Terminate.
func (a *Agent) Start() error {
	if a.proc != nil && a.proc.Running() {
		return errors.New("the agent runs already")
	}
	name, args, err := a.begin()
	if err != nil {
		return err
	}
	proc, err := StartPrometheus(name, a.Engine.Path, a.logPath(), args...)
	if err != nil {
		return err
	}
	a.proc = proc
	a.scenario.t.Cleanup(func() {
		if a.scenario.t.Failed() {
			a.scenario.t.Logf("last output of %s:\n%s", proc.Name(), proc.Tail(40))
		}
	})
	return nil
}

// begin notes a new run and returns how its process is to be started.
func (a *Agent) begin() (name string, args []string, err error) {
	if err := a.Config.Write(a.configPath()); err != nil {
		return "", nil, err
	}
	run := Run{Number: len(a.Runs), Engine: a.Engine, From: a.scenario.Shadow.Last() + 1}
	a.Runs = append(a.Runs, run)
	for _, p := range a.scenario.proxies {
		p.SetRun(run.Number)
	}
	args = []string{
		"--agent",
		"--config.file=" + a.configPath(),
		"--storage.agent.path=" + a.DataDir(),
		"--storage.agent.wal-truncate-frequency=" + cmp.Or(a.TruncateEvery, time.Second).String(),
		"--storage.agent.retention.min-time=4s",
		"--scrape.discovery-reload-interval=500ms",
		"--enable-feature=exemplar-storage",
	}
	if !a.Engine.IsDurable() {
		// Stock would wait for the whole flush deadline at each stop and reload.
		args = append(args, "--storage.remote.flush-deadline=5s")
	}
	args = append(args, a.Engine.flags()...)
	args = append(args, a.Flags...)
	return "agent run " + strconv.Itoa(run.Number) + " (" + a.Engine.Delivery + ")", args, nil
}

// logPath is where the last run writes its log.
func (a *Agent) logPath() string {
	return filepath.Join(a.dir, fmt.Sprintf("agent-%d.log", a.Run().Number))
}

// Run returns the current or last run.
func (a *Agent) Run() Run { return a.Runs[len(a.Runs)-1] }

// Running says whether the process is alive.
func (a *Agent) Running() bool { return a.proc != nil && a.proc.Running() }

// Kill ends the process with SIGKILL.
func (a *Agent) Kill() error {
	if !a.proc.Running() {
		return fmt.Errorf("the agent ended by itself before it was to be killed: %w", a.proc.Ended())
	}
	return a.killed(a.proc.Kill())
}

// killed notes when the last run was killed, and what savepoint it left.
func (a *Agent) killed(at time.Time) error {
	run := &a.Runs[len(a.Runs)-1]
	run.KilledAt = at
	info, err := os.Stat(filepath.Join(a.DataDir(), savepointFile))
	if err == nil {
		run.Saved = info.ModTime()
	} else if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("the savepoint after the kill: %w", err)
	}
	return nil
}

// Terminate ends the process with SIGTERM and returns how long it took.
func (a *Agent) Terminate() (time.Duration, error) { return a.proc.Terminate() }

// Reload applies the configuration. It fails if the agent refuses it or does
// not answer within the limit.
func (a *Agent) Reload(config Config, limit time.Duration) error {
	a.Config = config
	if err := config.Write(a.configPath()); err != nil {
		return err
	}
	if _, err := a.proc.request(http.MethodPost, "/-/reload", limit); err != nil {
		return fmt.Errorf("reloading the agent: %w", err)
	}
	return nil
}

// Get returns what the agent answers to GET, and an error unless that is a success.
func (a *Agent) Get(path string) ([]byte, error) { return a.proc.get(path) }

// Head asks the agent for what Get would answer, without its body.
func (a *Agent) Head(path string) ([]byte, error) { return a.proc.head(path) }

// Metrics scrapes the agent.
func (a *Agent) Metrics() (Metrics, error) { return a.proc.Metrics() }

// HeapBytes returns what the agent's heap holds after a garbage collection.
func (a *Agent) HeapBytes() (float64, error) { return a.proc.HeapBytes() }

// Grep returns the lines of the current or last run's log that match.
func (a *Agent) Grep(re *regexp.Regexp) []string { return a.proc.Grep(re) }

// WALSize is the state of the agent's WAL on disk.
type WALSize struct {
	First, Last, Segments int
	Bytes                 int64
}

// WAL measures the segments and checkpoints. Files that go away meanwhile do
// not count.
func (a *Agent) WAL() (WALSize, error) {
	size := WALSize{First: -1, Last: -1}
	err := filepath.WalkDir(a.WALDir(), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			return err
		}
		info, err := d.Info()
		if errors.Is(err, os.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		size.Bytes += info.Size()
		if segment, err := strconv.Atoi(d.Name()); err == nil && filepath.Dir(path) == a.WALDir() {
			if size.First < 0 || segment < size.First {
				size.First = segment
			}
			size.Last = max(size.Last, segment)
			size.Segments++
		}
		return nil
	})
	return size, err
}
