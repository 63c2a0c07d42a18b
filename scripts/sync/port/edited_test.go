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

package port

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/scripts/sync/hook"
	"github.com/ackwal/ackwal/scripts/sync/series"
	"github.com/ackwal/ackwal/scripts/sync/tree"
)

// A file of upstream with a function that the entry changes, among others.
const closing = `package db

func (p *Pump) Open() error {
	p.halt = make(chan struct{})
	go p.run()
	return nil
}

func (p *Pump) Close() error {
	p.gate.Lock()
	defer p.gate.Unlock()

	close(p.halt)
	<-p.idle

	return p.pipe.Close()
}

func (p *Pump) run() {
	defer close(p.idle)
	for range p.ticks {
		p.drain()
	}
}
`

func closeEntry() series.Entry {
	return series.Entry{Name: "0004-close", Hooks: []hook.Hook{
		{File: "db.go", In: "func (*Pump) Close", Anchor: "close(p.halt)", Matches: 1, Delete: true},
		{File: "db.go", In: "func (*Pump) Close", Anchor: "<-p.idle", Matches: 1, Delete: true},
		{File: "db.go", In: "func (*Pump) Close", Anchor: "p.gate.Lock()", Matches: 1, Replace: "// What truncates needs the lock to end.\nclose(p.halt)\n<-p.idle\np.gate.Lock()\nif p.closed {\nreturn errClosed\n}\np.closed = true\n"},
	}}
}

func TestMergedWithEdits(t *testing.T) {
	replaced := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(closing) }
	const unlock = "\tdefer p.gate.Unlock()\n\n\tclose(p.halt)\n\t<-p.idle\n"
	tests := map[string]struct {
		now  string
		want State
		note string
	}{
		"untouched": {now: closing, want: Clean},
		"upstream changed the function for another purpose": {
			now:  replaced("return p.pipe.Close()", "err := p.pipe.Close()\n\tp.metrics.unregister()\n\tp.log.Info(\"closed\")\n\treturn err"),
			want: Clean,
		},
		"upstream changed the rest of the file": {
			now:  replaced("p.drain()", "if err := p.drain(); err != nil {\n\t\t\tp.log.Error(\"truncate\", \"err\", err)\n\t\t\tp.metrics.failed.Inc()\n\t\t}", "func (p *Pump) run()", "func (p *Pump) loop()"),
			want: Clean,
		},
		"merged with another comment and another name": {
			now:  replaced("\tp.gate.Lock()\n"+unlock, "\tclose(p.halt)\n\t<-p.idle\n\n\tp.gate.Lock()\n\tdefer p.gate.Unlock()\n\tif p.closed {\n\t\treturn ErrClosed\n\t}\n\tp.closed = true\n"),
			want: Obsolete,
			note: "upstream has it in db.go with edits",
		},
		"only the order was taken": {
			now:  replaced("\tp.gate.Lock()\n"+unlock, "\tclose(p.halt)\n\t<-p.idle\n\n\tp.gate.Lock()\n\tdefer p.gate.Unlock()\n"),
			want: Conflict,
			note: "upstream may have a part of it in db.go",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			was, now := tree.Tree{}, tree.Tree{}
			was.Set("db.go", []byte(closing))
			now.Set("db.go", []byte(tc.now))
			r, err := Series(t.Context(), was, now, []series.Entry{closeEntry()}, series.Ours{})
			require.NoError(t, err)
			require.Equal(t, tc.want, r.Findings[0].State, r.Findings[0].Notes)
			require.Contains(t, strings.Join(r.Findings[0].Notes, "\n"), tc.note)
			// Nothing is ever done twice.
			if tc.want != Conflict {
				require.Equal(t, 1, strings.Count(string(r.Tree["db.go"].Data), "p.closed = true"))
			}
		})
	}
}

// A file of ours that upstream took under another name.
func TestMergedUnderAnotherName(t *testing.T) {
	ours := series.Ours{Files: tree.Tree{}}
	ours.Files.Set("tsdb/wlog/repair/repair.go", []byte(strings.ReplaceAll(closing, "package db", "package repair")))
	entry := series.Entry{Name: "0040-repair", Files: []string{"tsdb/wlog/repair/"}}
	was, now := tree.Tree{}, tree.Tree{}
	was.Set("old.go", []byte(closing))
	now.Set("old.go", []byte(closing))
	r, err := Series(t.Context(), was, now, []series.Entry{entry}, ours)
	require.NoError(t, err)
	require.Equal(t, Clean, r.Findings[0].State, "a file that was there before is not taken from ours")

	now.Set("tsdb/wlog/repair.go", []byte(strings.NewReplacer("package db", "package wlog", "halt", "quit").Replace(closing)))
	r, err = Series(t.Context(), was, now, []series.Entry{entry}, ours)
	require.NoError(t, err)
	require.Equal(t, Obsolete, r.Findings[0].State)
	require.Contains(t, r.Findings[0].Notes[0], "looks like upstream's tsdb/wlog/repair.go")
}

func TestDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"a b c", "a b c", 0},
		{"a b c", "a c", 1},
		{"a b c", "c b a", 4},
		{"x.y(z)", "x.y(w)", 2},
		{"é.ü", "é.u", 2},
	} {
		require.Equal(t, tc.want, distance(wordsOf([]byte(tc.a)), wordsOf([]byte(tc.b))), "%q %q", tc.a, tc.b)
	}
}
