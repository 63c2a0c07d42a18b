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
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// trial is a program with its receivers. After the first error, which it keeps, its
// methods do nothing.
type trial struct {
	err       error
	shape     string
	dir       string
	dirs      []string // Of the components.
	env       []string
	server    *httptest.Server
	receivers [components][endpoints]*receiver
	committed int // Values, of every series of every component.

	process *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Scanner
	log     bytes.Buffer // Of all runs. It is shown if something went wrong.
}

func newTrial(shape string) (*trial, error) {
	t := &trial{shape: shape}
	mux := http.NewServeMux()
	for i := range components {
		for k := range endpoints {
			t.receivers[i][k] = &receiver{series: map[string]*arrivals{}}
			mux.Handle(fmt.Sprintf("/%d/%d", i, k), t.receivers[i][k])
		}
	}
	var err error
	if t.dir, err = os.MkdirTemp("", "consumer-"); err != nil {
		return nil, err
	}
	t.server = httptest.NewServer(mux)
	for i := range components {
		t.dirs = append(t.dirs, filepath.Join(t.dir, strconv.Itoa(i)))
	}
	return t, nil
}

func (t *trial) end() {
	if t.process != nil && t.process.ProcessState == nil {
		_ = t.process.Process.Kill()
		_ = t.process.Wait()
	}
	if t.err != nil && !errors.As(t.err, new(*lossError)) {
		_, _ = os.Stderr.Write(t.log.Bytes())
	}
	t.server.Close()
	_ = os.RemoveAll(t.dir)
}

func (t *trial) start() {
	if t.err != nil {
		return
	}
	t.process = exec.Command(os.Args[0], append([]string{"-program", t.shape, "-begin", strconv.FormatInt(begin, 10)}, t.dirs...)...)
	t.process.Env = append(os.Environ(), t.env...)
	t.process.Stderr = &t.log
	var out io.Reader
	if t.in, t.err = t.process.StdinPipe(); t.err != nil {
		return
	}
	if out, t.err = t.process.StdoutPipe(); t.err != nil {
		return
	}
	t.out = bufio.NewScanner(out)
	t.err = t.process.Start()
}

// tell has the program do something, and returns the numbers that it answers.
func (t *trial) tell(command string) (numbers []int) {
	if t.err != nil {
		return nil
	}
	if _, t.err = fmt.Fprintln(t.in, command); t.err != nil {
		return nil
	}
	if !t.out.Scan() {
		t.err = fmt.Errorf("the program ended at %q: %w", command, errors.Join(t.out.Err(), t.process.Wait()))
		return nil
	}
	what, rest, _ := strings.Cut(t.out.Text(), " ")
	if what != "done" {
		t.err = fmt.Errorf("%s: %s", command, rest)
		return nil
	}
	for word := range strings.FieldsSeq(rest) {
		n, err := strconv.Atoi(word)
		if err != nil {
			t.err = err
			return nil
		}
		numbers = append(numbers, n)
	}
	return numbers
}

func (t *trial) stop() {
	t.tell("close")
	if t.err == nil {
		t.err = errors.Join(t.in.Close(), t.process.Wait())
	}
}

func (t *trial) kill() {
	if t.err == nil {
		t.err = t.process.Process.Kill()
		_ = t.process.Wait() // Its error is that it was killed.
	}
}

func (t *trial) apply(queue, headers string) {
	var text strings.Builder
	text.WriteString("remote_write:\n")
	for k := range endpoints {
		fmt.Fprintf(&text, "- {name: endpoint%d, url: %s/COMPONENT/%d, headers: %s, queue_config: {%s, max_samples_per_send: 25, min_backoff: 10ms, max_backoff: 100ms, batch_send_deadline: 50ms}}\n",
			k, t.server.URL, k, headers, queue)
	}
	t.tell("apply " + strconv.Quote(text.String()))
}

// refuse makes an endpoint of each component refuse everything, or take it again.
func (t *trial) refuse(endpoint int, refuses bool) {
	for _, of := range t.receivers {
		of[endpoint].refuses.Store(refuses)
	}
}

// commit has each component commit so many samples of each of its series.
func (t *trial) commit(n int) {
	for range n {
		t.tell("commit " + strconv.Itoa(t.committed))
		t.committed++
	}
}

// commitAndTruncate has the log truncated so many times while samples are committed.
// The endpoint that answers must not wait for the other.
func (t *trial) commitAndTruncate(n int) {
	for range n {
		t.commit(60) // About a segment.
		t.wait("an endpoint that answers waits for one that does not", func() bool {
			for _, of := range t.receivers {
				if !of[0].has(t.committed - 1) {
					return false
				}
			}
			return true
		})
		t.tell("truncate")
		if t.shape == stockAgent {
			time.Sleep(truncateEvery) // It does that by itself.
		}
	}
}

// wait waits until something is so, and is an error with that text if it is not.
func (t *trial) wait(otherwise string, so func() bool) {
	if t.err != nil {
		return
	}
	for end := time.Now().Add(timeout); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.err = errors.New(otherwise)
			return
		}
	}
}

// arrived waits until some endpoints have everything. Those that do not get it have
// lost what is missing.
func (t *trial) arrived(which ...int) {
	committed := t.committed * seriesEach
	lost := func() error {
		for i, of := range t.receivers {
			for _, k := range which {
				if got, _ := of[k].counts(); got != committed {
					return &lossError{i, k, got, committed, of[k].refused.Load()}
				}
			}
		}
		return nil
	}
	last, since := 0, time.Now()
	t.wait("", func() bool {
		sum := 0
		for _, of := range t.receivers {
			for _, r := range of {
				got, _ := r.counts()
				sum += got
			}
		}
		if sum != last {
			last, since = sum, time.Now()
		}
		return lost() == nil || time.Since(since) > timeout/3
	})
	if err := lost(); err != nil && (t.err == nil || t.err.Error() == "") {
		t.err = err
	}
}

// twice checks that everything came in order, and nothing more than once, but for what
// the endpoint that answers was sent just before the program was killed.
func (t *trial) twice(kills int) {
	if t.err != nil {
		return
	}
	for i, of := range t.receivers {
		for k, r := range of {
			most := 0
			if k == 0 { // What it acknowledged since positions were saved: a second at most.
				most = kills * atKill
			}
			if _, n := r.counts(); n > most {
				t.err = fmt.Errorf("%d samples came twice to endpoint %d of component %d", n, k, i)
			}
			if n := r.disorder(); n > 0 {
				t.err = fmt.Errorf("%d samples came out of order to endpoint %d of component %d", n, k, i)
			}
		}
	}
}

// sentTimestampIsTrue waits for the program to be told that everything was sent.
func (t *trial) sentTimestampIsTrue() {
	want := int(begin) + t.committed - 1
	t.wait("LowestSentTimestamp is not the time of the last sample", func() bool {
		ok := true
		for _, ms := range t.tell("sent") {
			ok = ok && (ms == want || ms == want/1000*1000) // Stock's has seconds.
		}
		return ok
	})
}

// logIsShort checks that two truncations leave little of the log.
func (t *trial) logIsShort() {
	for range 2 {
		time.Sleep(2 * truncateEvery)
		t.tell("truncate")
	}
	t.wait("the log stays long", func() bool {
		for _, dir := range t.dirs {
			segments, err := filepath.Glob(filepath.Join(dir, "wal", "0*"))
			if err != nil || len(segments) > 5 {
				return false
			}
		}
		return true
	})
}

// flipByte changes a bit in the midst of the log of each component.
func (t *trial) flipByte() {
	for _, dir := range t.dirs {
		segments, err := filepath.Glob(filepath.Join(dir, "wal", "0*"))
		if err != nil || len(segments) < truncations {
			t.err = errors.Join(t.err, err, fmt.Errorf("the log has only %d segments", len(segments)))
			return
		}
		for _, path := range segments[len(segments)/3:] {
			content, err := os.ReadFile(path)
			if err == nil && len(content) == 0 {
				continue // Truncations cut segments that hold nothing.
			}
			if err == nil {
				content[len(content)/3] ^= 1
				err = os.WriteFile(path, content, 0o666)
			}
			t.err = errors.Join(t.err, err)
			break
		}
	}
}

// restIsCounted checks that what the endpoint that did not answer was not sent is what
// the program counts under that name, but for the error of an estimate, and no more than
// may be lost.
func (t *trial) restIsCounted(name string, most, off int) {
	committed := t.committed * seriesEach
	var got, counted [components]int
	t.wait("", func() bool {
		n := t.tell("sum " + name)
		for i := range t.receivers {
			got[i], _ = t.receivers[i][1].counts()
			counted[i] = 0
			if i < len(n) {
				counted[i] = n[i]
			}
			if lost := committed - got[i]; lost > most || max(lost-counted[i], counted[i]-lost) > off {
				return false
			}
		}
		return true
	})
	if t.err != nil && t.err.Error() == "" {
		t.err = fmt.Errorf("of %d samples of each component %v arrived and %v are counted as lost", committed, got, counted)
	}
	for i := range counted {
		if t.err == nil && counted[i] == 0 {
			t.err = fmt.Errorf("component %d lost nothing: %d of %d samples arrived", i, got[i], committed)
		}
	}
}
