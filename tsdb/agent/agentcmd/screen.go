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
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// screen shows progress: as bars that are drawn anew on a terminal, and as a line for
// each endpoint from time to time elsewhere. What is written to it, such as a log, goes
// above the bars. It is safe for concurrent use.
type screen struct {
	to       io.Writer
	terminal bool
	every    time.Duration // Between lines where there is no terminal.

	mtx   sync.Mutex
	drawn int // Lines that are on the terminal.
	last  []string
	told  time.Time
}

// Write implements io.Writer for lines that stay.
func (s *screen) Write(b []byte) (int, error) {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	if !s.terminal {
		return s.to.Write(b)
	}
	var out bytes.Buffer
	s.erase(&out)
	out.Write(b)
	s.draw(&out)
	if _, err := s.to.Write(out.Bytes()); err != nil {
		return 0, err
	}
	return len(b), nil
}

// show shows the state of things, one line each. final has it shown in any case, and
// leaves it there.
func (s *screen) show(lines []string, now time.Time, final bool) {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	var out bytes.Buffer
	switch {
	case s.terminal:
		s.erase(&out)
		s.last = lines
		s.draw(&out)
		if final {
			s.drawn, s.last = 0, nil
		}
	case final || now.Sub(s.told) >= s.every:
		s.told = now
		for _, l := range lines {
			fmt.Fprintln(&out, l)
		}
	}
	_, _ = s.to.Write(out.Bytes()) // An error of printing has no reader.
}

func (s *screen) erase(out *bytes.Buffer) {
	for ; s.drawn > 0; s.drawn-- {
		out.WriteString("\x1b[1A\x1b[2K") // One line up, and clear it.
	}
}

func (s *screen) draw(out *bytes.Buffer) {
	for _, l := range s.last {
		out.WriteString(l + "\n")
	}
	s.drawn = len(s.last)
}

// bar draws a share.
func bar(share float64, width int) string {
	full := int(share * float64(width))
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", width-full) + "]"
}

// rate is how fast something falls, over the last while.
type rate struct {
	at   []time.Time
	left []int64
}

// rateOver is the while.
const rateOver = 15 * time.Second

// note takes what is left now, and returns how much less it becomes in a second.
func (r *rate) note(now time.Time, left int64) (perSecond float64) {
	r.at, r.left = append(r.at, now), append(r.left, left)
	for len(r.at) > 2 && now.Sub(r.at[0]) > rateOver {
		r.at, r.left = r.at[1:], r.left[1:]
	}
	took := now.Sub(r.at[0]).Seconds()
	if took <= 0 {
		return 0
	}
	return max(0, float64(r.left[0]-left)/took)
}

// progressLine says how far an endpoint is, of so many bytes at first.
func progressLine(name string, total, left int64, perSecond float64, bars bool) string {
	share := 1.0
	if total > 0 {
		share = min(max(float64(total-left)/float64(total), 0), 1)
	}
	var b strings.Builder
	b.WriteString(printable(name) + ": ")
	if bars {
		b.WriteString(bar(share, 30) + " ")
	}
	fmt.Fprintf(&b, "%.1f%% of %s", 100*share, size(total))
	switch {
	case left == 0:
		b.WriteString(", done")
	case perSecond > 0:
		fmt.Fprintf(&b, ", %s/s, %s left", size(int64(perSecond)), time.Duration(float64(left)/perSecond*float64(time.Second)).Round(time.Second))
	default:
		b.WriteString(", waiting")
	}
	return b.String()
}
