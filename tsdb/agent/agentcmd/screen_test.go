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
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestScreen defends that a terminal ends up with what was logged and the last state
// of the bars below it, and that other outputs get lines, and not too many.
func TestScreen(t *testing.T) {
	begin := time.Unix(1_700_000_000, 0)
	var tty bytes.Buffer
	s := &screen{to: &tty, terminal: true}
	s.show([]string{"a 1", "b 1"}, begin, false)
	_, err := s.Write([]byte("a warning\n"))
	require.NoError(t, err)
	s.show([]string{"a 2", "b 2"}, begin, true)
	_, err = s.Write([]byte("the end\n"))
	require.NoError(t, err)
	const up = "\x1b[1A\x1b[2K"
	require.Equal(t, "a 1\nb 1\n"+up+up+"a warning\na 1\nb 1\n"+up+up+"a 2\nb 2\nthe end\n", tty.String())

	var file bytes.Buffer
	s = &screen{to: &file, every: 10 * time.Second}
	for i := range 25 {
		s.show([]string{"line"}, begin.Add(time.Duration(i)*time.Second), false)
	}
	s.show([]string{"last"}, begin.Add(25*time.Second), true)
	require.Equal(t, "line\nline\nline\nlast\n", file.String())
}

// TestProgressLine defends that a line says how far an endpoint is, how fast, and how long
// it will take, and that it claims no end where nothing moves.
func TestProgressLine(t *testing.T) {
	begin := time.Unix(1_700_000_000, 0)
	r := &rate{}
	require.Equal(t, "main: 0.0% of 8.0 MiB, waiting", progressLine("main", 8<<20, 8<<20, r.note(begin, 8<<20), false))
	perSecond := r.note(begin.Add(2*time.Second), 6<<20)
	require.Equal(t, "main: [#######.......................] 25.0% of 8.0 MiB, 1.0 MiB/s, 6s left", progressLine("main", 8<<20, 6<<20, perSecond, true))
	require.Equal(t, "main: 100.0% of 8.0 MiB, done", progressLine("main", 8<<20, 0, perSecond, false))
	for i := range 30 {
		perSecond = r.note(begin.Add(time.Duration(3+i)*time.Second), 6<<20)
	}
	require.Zero(t, perSecond, "what was long ago says nothing of now")
	require.Equal(t, "main: 100.0% of 0 B, done", progressLine("main", 0, 0, 0, false))
	require.Equal(t, `"a\x1b[2J\nb": 100.0% of 0 B, done`, progressLine("a\x1b[2J\nb", 0, 0, 0, false), "a name is no command to the terminal")
}
