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
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// shadowInterval is how often the shadow looks for new segments. A segment
// lives for several truncation intervals, of at least a second each.
const shadowInterval = 20 * time.Millisecond

// shadowed is one file of the agent's WAL, kept alive by a link of ours.
// Numbers are used again after repairs, and a repair of ours replaces a file, so a
// number can have several of them.
type shadowed struct {
	segment    int
	generation int
	link       string
	info       os.FileInfo
}

// Shadow keeps every segment that an agent ever wrote and knows what was
// committed. It is safe for concurrent use.
type Shadow struct {
	walDir string
	dir    string
	ledger *ledger

	mtx   sync.Mutex
	files []shadowed // By segment, then generation.
	err   error

	stop chan struct{}
	done chan struct{}
}

// newShadow watches walDir, which need not exist yet. The function canon gives
// a label set the form that receivers get it in.
func newShadow(walDir, dir string, symbols *Symbols, canon func(labels.Labels) labels.Labels) (*Shadow, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("directory for the shadow of the WAL: %w", err)
	}
	s := &Shadow{
		walDir: walDir,
		dir:    dir,
		ledger: newLedger(symbols, canon),
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
	}
	go s.run()
	return s, nil
}

func (s *Shadow) run() {
	defer close(s.done)
	for {
		select {
		case <-s.stop:
			return
		case <-time.After(shadowInterval):
			s.mtx.Lock()
			if err := s.look(); err != nil {
				s.err = errors.Join(s.err, err)
			}
			s.mtx.Unlock()
		}
	}
}

func (s *Shadow) close() {
	close(s.stop)
	<-s.done
}

// look links what is new. It must be called with the lock held.
func (s *Shadow) look() error {
	dirEntries, err := os.ReadDir(s.walDir)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("listing the WAL: %w", err)
	}
	for _, e := range dirEntries {
		segment, err := strconv.Atoi(e.Name())
		if err != nil || e.IsDir() {
			continue
		}
		if err := s.link(segment, filepath.Join(s.walDir, e.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("linking segment %d of the WAL: %w", segment, err)
		}
	}
	return nil
}

func (s *Shadow) link(segment int, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	generation := 0
	for _, f := range s.files {
		if f.segment != segment {
			continue
		}
		if os.SameFile(f.info, info) {
			return nil
		}
		generation = f.generation + 1
	}
	link := filepath.Join(s.dir, fmt.Sprintf("%08d.%d", segment, generation))
	if err := os.Link(path, link); err != nil {
		return err
	}
	// The path may have changed hands in between: remember what was linked.
	if info, err = os.Stat(link); err != nil {
		return err
	}
	s.files = append(s.files, shadowed{segment: segment, generation: generation, link: link, info: info})
	slices.SortFunc(s.files, func(a, b shadowed) int {
		if a.segment != b.segment {
			return a.segment - b.segment
		}
		return a.generation - b.generation
	})
	return nil
}

// Last returns the highest segment there was so far, -1 if there was none.
func (s *Shadow) Last() int {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	if err := s.look(); err != nil {
		s.err = errors.Join(s.err, err)
	}
	last := -1
	for _, f := range s.files {
		last = max(last, f.segment)
	}
	return last
}

// Committed returns everything committed so far in the segments from to to,
// both included; to may be -1 for no end.
func (s *Shadow) Committed(from, to int) (Set, error) {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	if err := errors.Join(s.err, s.look()); err != nil {
		return nil, err
	}
	if err := s.contiguous(); err != nil {
		return nil, err
	}
	if err := s.ledger.update(s.files); err != nil {
		return nil, err
	}
	return s.ledger.committed(from, to), nil
}

// contiguous makes sure that no segment escaped.
func (s *Shadow) contiguous() error {
	for i := 1; i < len(s.files); i++ {
		if s.files[i].segment > s.files[i-1].segment+1 {
			return fmt.Errorf("the shadow of the WAL has segment %d and then %d: one was removed before it could be linked", s.files[i-1].segment, s.files[i].segment)
		}
	}
	return nil
}

// Unresolved counts the committed samples for whose reference no label set was
// ever committed.
func (s *Shadow) Unresolved() int {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	return s.ledger.unresolved()
}
