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
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of times in /proc, the same on all architectures.
const tick = 10 * time.Millisecond

// usage is what the system says of a process, since its start but for the RSS.
type usage struct {
	CPU     time.Duration
	RSS     int64 // Bytes.
	Peak    int64 // Highest RSS since the start or the last [resetPeak].
	Written int64 // Bytes that it had written to disk.
}

func procFile(pid int, name string) string { return fmt.Sprintf("/proc/%d/%s", pid, name) }

func readUsage(pid int) (u usage, err error) {
	stat, err := os.ReadFile(procFile(pid, "stat"))
	if err != nil {
		return u, err
	}
	if u.CPU, err = cpuTime(stat); err != nil {
		return u, err
	}
	status, err := os.ReadFile(procFile(pid, "status"))
	if err != nil {
		return u, err
	}
	io, err := os.ReadFile(procFile(pid, "io"))
	if err != nil {
		return u, err
	}
	for _, want := range []struct {
		text []byte
		name string
		unit int64
		to   *int64
	}{{status, "VmRSS:", 1024, &u.RSS}, {status, "VmHWM:", 1024, &u.Peak}, {io, "write_bytes:", 1, &u.Written}} {
		n, err := field(want.text, want.name)
		if err != nil {
			return u, fmt.Errorf("process %d: %w", pid, err)
		}
		*want.to = n * want.unit
	}
	return u, nil
}

// cpuTime returns user and system time of a process from its line in stat. The
// name, which may hold anything, ends with the last bracket.
func cpuTime(stat []byte) (time.Duration, error) {
	const afterName, user, system = 3, 14, 15 // Numbers of fields as in proc(5).
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	ticks := int64(0)
	for _, n := range []int{user, system} {
		if n-afterName >= len(fields) {
			return 0, fmt.Errorf("stat has no field %d: %q", n, stat)
		}
		v, err := strconv.ParseInt(fields[n-afterName], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("field %d of stat: %w", n, err)
		}
		ticks += v
	}
	return time.Duration(ticks) * tick, nil
}

// field returns the number of a line that begins with the name.
func field(text []byte, name string) (int64, error) {
	for row := range bytes.Lines(text) {
		if words := strings.Fields(string(row)); len(words) > 1 && words[0] == name {
			return strconv.ParseInt(words[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("there is no line %q", name)
}

// resetPeak has the highest RSS counted from now on.
func resetPeak(pid int) error {
	return os.WriteFile(procFile(pid, "clear_refs"), []byte("5"), 0)
}

// busyTime is what all processes of the machine have used of all cores.
func busyTime() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	busy := int64(0)
	for i, word := range strings.Fields(line)[1:] {
		const idle, iowait, guest = 3, 4, 8 // Guests count as user time already.
		if i == idle || i == iowait || i >= guest {
			continue
		}
		v, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return 0, err
		}
		busy += v
	}
	return time.Duration(busy) * tick, nil
}

// machine describes where results come from.
type machine struct {
	CPU    string
	Cores  int
	Kernel string
	Memory int64
	Load   string // Of the last minutes, when the benchmark began.
}

func describeMachine() (m machine) {
	m.Cores = runtime.NumCPU()
	info, _ := os.ReadFile("/proc/cpuinfo") // What is not known stays empty.
	for row := range bytes.Lines(info) {
		if name, value, ok := strings.Cut(string(row), ":"); ok && strings.TrimSpace(name) == "model name" {
			m.CPU = strings.TrimSpace(value)
			break
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	m.Kernel = strings.TrimSpace(string(kernel))
	memory, _ := os.ReadFile("/proc/meminfo")
	if kib, err := field(memory, "MemTotal:"); err == nil {
		m.Memory = kib * 1024
	}
	load, _ := os.ReadFile("/proc/loadavg")
	m.Load = strings.TrimSpace(string(load))
	return m
}
