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

package process

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/grafana/regexp"
)

// output collects what a process writes, in a file for people and in memory
// for the tests. It is safe for concurrent use.
type output struct {
	mtx    sync.Mutex
	file   *os.File
	text   bytes.Buffer
	notify chan struct{} // Closed and replaced at every write.
}

func newOutput(path string) (*output, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return nil, fmt.Errorf("directory for output: %w", err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return nil, fmt.Errorf("file for output: %w", err)
	}
	return &output{file: file, notify: make(chan struct{})}, nil
}

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	o.mtx.Lock()
	defer o.mtx.Unlock()
	o.text.Write(b)
	close(o.notify)
	o.notify = make(chan struct{})
	return o.file.Write(b)
}

// Close closes the file; the text stays readable.
func (o *output) Close() error { return o.file.Close() }

// changed returns a channel that is closed at the next write.
func (o *output) changed() <-chan struct{} {
	o.mtx.Lock()
	defer o.mtx.Unlock()
	return o.notify
}

func (o *output) lines() []string {
	o.mtx.Lock()
	defer o.mtx.Unlock()
	return strings.Split(strings.TrimRight(o.text.String(), "\n"), "\n")
}

func (o *output) find(re *regexp.Regexp) []string {
	for _, line := range o.lines() {
		if m := re.FindStringSubmatch(line); m != nil {
			return m
		}
	}
	return nil
}

func (o *output) grep(re *regexp.Regexp) (found []string) {
	for _, line := range o.lines() {
		if re.MatchString(line) {
			found = append(found, line)
		}
	}
	return found
}

func (o *output) tail(n int) string {
	lines := o.lines()
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
