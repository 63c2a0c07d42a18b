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

package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/ackwal/ackwal/conformance/wire"
)

// minutes is how long each outage is looked at.
const minutes = 32

// outage is what an agent goes through. Its endpoint "one" is answered as answer says, its
// endpoint "two" takes everything.
type outage struct {
	name   string
	flags  []string
	volume int                                               // Size of the agent's file system in MiB, 0 for none of its own.
	answer func(minute int, items []wire.Item) (int, string) // Nil if everything is taken.
	at     map[int]func(*rig) error                          // What happens in which minute.
}

var outages = []outage{
	{
		// Limits that a log reaches in health, too.
		name:  "well",
		flags: []string{"--storage.agent.retention.max-size=3MB", "--storage.agent.retention.max-time=20m"},
	},
	{name: "dead", answer: between(3, 28, http.StatusServiceUnavailable, "down")},
	{
		name:   "limit",
		flags:  []string{"--storage.agent.retention.max-size=3MB"},
		answer: between(3, minutes, http.StatusServiceUnavailable, "down"),
	},
	{
		name:   "budget",
		flags:  []string{"--storage.agent.retention.endpoint-max-time=10m"},
		answer: between(3, minutes, http.StatusServiceUnavailable, "down"),
	},
	{name: "denied", answer: between(3, 15, http.StatusUnauthorized, "who are you?")},
	{
		name:   "refused",
		flags:  []string{"--storage.agent.delivery.refused-hold=0s"},
		answer: between(5, 6, http.StatusBadRequest, "not today"),
	},
	{name: "series", answer: oneSeries},
	{
		name:   "full",
		volume: 32,
		at: map[int]func(*rig) error{
			5: func(r *rig) error { return fill(filepath.Join(r.volume(), "others")) },
			9: func(r *rig) error { return os.Remove(filepath.Join(r.volume(), "others")) },
		},
	},
	{
		name:   "damaged",
		flags:  []string{"--storage.agent.retention.max-size=3MB"}, // For small segments.
		answer: between(0, 14, http.StatusServiceUnavailable, "down"),
		at:     map[int]func(*rig) error{12: damage},
	},
	{
		name: "savepoint",
		at: map[int]func(*rig) error{3: func(r *rig) error {
			// The file that is to be renamed cannot be made.
			return os.MkdirAll(filepath.Join(r.data(), "delivery.json.tmp", "something"), 0o755)
		}},
		answer: between(0, minutes, http.StatusServiceUnavailable, "down"),
	},
	{
		name:  "snapshot",
		flags: []string{"--storage.agent.wal-truncate-frequency=1m", "--storage.agent.retention.max-size=3MB"},
		at: map[int]func(*rig) error{3: func(r *rig) error {
			r.target.renew()
			return mount(filepath.Join(r.data(), "series"), "ro,size=1m")
		}},
	},
}

// between answers so from one minute on until another.
func between(from, to, status int, message string) func(int, []wire.Item) (int, string) {
	return func(minute int, _ []wire.Item) (int, string) {
		if from <= minute && minute < to {
			return status, message
		}
		return http.StatusNoContent, ""
	}
}

// oneSeries fails at one series.
func oneSeries(minute int, items []wire.Item) (int, string) {
	if minute >= 3 && slices.ContainsFunc(items, func(i wire.Item) bool { return i.Labels.Get("n") == "7" }) {
		return http.StatusInternalServerError, "division by zero"
	}
	return http.StatusNoContent, ""
}

// fill takes all the room that a file system has.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for block := make([]byte, 1<<12); err == nil; {
		_, err = f.Write(block)
	}
	return nil // It is full, and this is how one knows.
}

// damage kills the agent, damages a segment that is not delivered, and starts it again.
func damage(r *rig) error {
	r.agent.Kill()
	segments, err := filepath.Glob(filepath.Join(r.data(), "wal", "0*"))
	if err != nil {
		return err
	}
	if len(segments) < 2 {
		return fmt.Errorf("there are %d segments, none of which is finished", len(segments))
	}
	f, err := os.OpenFile(segments[len(segments)-2], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("damage, damage, damage"), 40_000); err != nil {
		return err
	}
	return r.start()
}

// mount mounts an empty file system in memory.
func mount(dir, options string) error {
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", options, "tmpfs", dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mounting %s: %w: %s", dir, err, out)
	}
	return nil
}
