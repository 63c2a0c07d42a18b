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

package savepoint

import (
	"encoding/json"
	"math"
	"math/rand"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

// freshExample is the second example of docs/format/savepoint.md.
func freshExample() File {
	f := example()
	f.Segments[9] = 2596069104
	e := &f.Endpoints[0]
	e.Floor = mark(9, 4096, 305419896, 0)
	e.Fresh = &Fresh{
		From:              point(14, 65536, 2596996162),
		Dispatched:        e.Dispatched,
		Acked:             e.Acked,
		BacklogDispatched: cursor.Position{Segment: 9, Offset: 8392704},
	}
	e.Acked = nil
	for p := range partitions {
		m := mark(9, 4096, 305419896, 0)
		if p == 0 {
			m.Skip = 30
		}
		e.Acked = append(e.Acked, m)
	}
	f.Endpoints = f.Endpoints[:1]
	delete(f.Segments, 12)
	return f
}

const (
	freshExampleCRC   = "fa538788"
	freshExampleBytes = `{"version":1,"crc32c":"@CRC@","body":{` +
		`"run":"01M330EBW09RD0Q8ATQY5WM9KZ","segment":14,"checkpoint":11,"clean":false,"written":"2026-09-21T22:13:21.25Z",` +
		`"partitions":64,"fingerprints":{"14":305419896,"9":2596069104},` +
		`"points":[[9,4096,305419896],[14,65536,2596996162],[14,98304,4261412864]],` +
		`"endpoints":[{"id":"01M330EBW0K4T9ZJ2D4X0G6V8Q","identity":{"name":"central","url":"a3f1c0de5b7e4c1f9d2a86b4e0c7135f"},` +
		`"floor":[9,4096,305419896],"dispatched":[15,0],"acked":[[0,1,30],[0,63]],` +
		`"fresh":{"from":[14,65536,2596996162],"dispatched":[15,0],"acked":[[2,7],[1,1,120],[2,56]],"backlog_dispatched":[9,8392704]}}]}}` + "\n"
)

// The format is final: this test has to fail on any change of its bytes.
func TestFreshExampleBytes(t *testing.T) {
	f := freshExample()
	data, err := Encode(f)
	require.NoError(t, err)
	require.Equal(t, []byte(strings.Replace(freshExampleBytes, "@CRC@", freshExampleCRC, 1)), data) //nolint:testifylint // The very bytes are the format.
	got, err := Decode(data)
	require.NoError(t, err)
	require.Equal(t, f, got)
	require.Equal(t, []int{9, 13, 14}, f.Referenced(), "points of the fresh range need fingerprints too")
}

// withFresh gives some endpoints of a valid file a fresh range.
func withFresh(rnd *rand.Rand, f File) File {
	for i := range f.Endpoints {
		e := &f.Endpoints[i]
		if rnd.Intn(2) == 0 {
			continue
		}
		from := point(e.Floor.Segment+rnd.Intn(4), rnd.Int63n(5), rnd.Uint32())
		for p, m := range e.Acked {
			if !m.Before(from.Position) {
				e.Acked[p] = Mark{Point: from}
			}
		}
		r := &Fresh{From: from, Dispatched: cursor.Position{Segment: from.Segment + rnd.Intn(2), Offset: from.Offset + rnd.Int63n(3)}, BacklogDispatched: from.Position}
		for p := range e.Acked {
			m := mark(from.Segment+1+rnd.Intn(3), rnd.Int63n(4), rnd.Uint32(), 0)
			if p%3 == 0 {
				m = Mark{Point: from, Skip: rnd.Intn(5)}
			}
			r.Acked = append(r.Acked, m)
		}
		if e.Dispatched.Before(r.Dispatched) {
			e.Dispatched = r.Dispatched
		}
		e.Fresh = r
	}
	for _, s := range f.Referenced() {
		if _, ok := f.Segments[s]; !ok {
			f.Segments[s] = rnd.Uint32()
		}
	}
	return f
}

// Defends I8: what is loaded is what was saved, with two ranges too; and I9: no
// part of a file is taken for a whole one.
func TestFreshRoundTrip(t *testing.T) {
	some := 0
	for seed := range int64(300) {
		rnd := rand.New(rand.NewSource(seed))
		f := withFresh(rnd, randomFile(rnd))
		data, err := Encode(f)
		require.NoError(t, err, "seed %d", seed)
		got, err := Decode(data)
		require.NoError(t, err, "seed %d", seed)
		read := map[int]bool{}
		for _, s := range f.Referenced() {
			read[s] = true
		}
		for s := range f.Segments {
			if !read[s] {
				delete(f.Segments, s)
			}
		}
		require.Equal(t, f, got, "seed %d", seed)
		for i := range f.Endpoints {
			if f.Endpoints[i].Fresh != nil {
				some++
			}
		}
	}
	require.Greater(t, some, 100)
}

// without returns a file after something was dropped from each endpoint's entry.
func without(t *testing.T, data []byte, drop func(e map[string]any)) []byte {
	t.Helper()
	var file struct{ Body map[string]any }
	dec := json.NewDecoder(strings.NewReader(string(data)))
	dec.UseNumber()
	require.NoError(t, dec.Decode(&file))
	for _, e := range file.Body["endpoints"].([]any) {
		drop(e.(map[string]any))
	}
	content, err := json.Marshal(file.Body)
	require.NoError(t, err)
	return withBody(1, string(content))
}

// Defends I2 and I8 for a release that ignores the fresh range: it goes on with
// the backlog, so that nothing is lost, and everything of the fresh range counts
// as perhaps sent.
func TestOldReaderIgnoresFresh(t *testing.T) {
	for seed := range int64(100) {
		rnd := rand.New(rand.NewSource(seed))
		f := withFresh(rnd, randomFile(rnd))
		data, err := Encode(f)
		require.NoError(t, err)
		old, err := Decode(without(t, data, func(e map[string]any) { delete(e, "fresh") }))
		require.NoError(t, err)
		for i := range f.Endpoints {
			now, then := &f.Endpoints[i], &old.Endpoints[i]
			require.Nil(t, then.Fresh)
			require.Equal(t, now.Floor, then.Floor)
			require.Equal(t, now.Acked, then.Acked)
			require.Equal(t, now.Dispatched, then.Dispatched)
			if now.Fresh == nil {
				continue
			}
			for _, m := range then.Acked {
				require.False(t, now.Fresh.From.Before(m.Position), "it would skip what is fresh")
			}
			require.False(t, then.Dispatched.Before(now.Fresh.Dispatched), "it would take what was sent for new")
		}
	}
}

// A file with a right checksum and wrong content comes from a faulty writer.
func TestFreshDecodeRefuses(t *testing.T) {
	data, err := Encode(freshExample())
	require.NoError(t, err)
	_, content, ok := strings.Cut(string(data), `"body":`)
	require.True(t, ok)
	content = strings.TrimSuffix(content, "}\n")
	for _, tc := range []struct{ name, from, to, want string }{
		{"no from", `"from"`, `"Xfrom"`, "not 3"},
		{"short from", `"from":[14,65536,2596996162]`, `"from":[14,65536]`, "not 3"},
		{"no dispatch watermark", `"fresh":{"from":[14,65536,2596996162],"dispatched":[15,0],`, `"fresh":{"from":[14,65536,2596996162],`, "not 2"},
		{"no marks", `"acked":[[2,7],[1,1,120],[2,56]],`, ``, "0 marks"},
		{"too few marks", `[2,56]]`, `[2,55]]`, "63 marks"},
		{"too many marks", `[2,56]]`, `[2,57]]`, "out of range"},
		{"no such point", `[2,56]]`, `[3,56]]`, "no point 3"},
		{"mark before the beginning", `[2,56]]`, `[0,56]]`, "is before the beginning"},
		{"no dispatch watermark of the backlog", `,"backlog_dispatched":[9,8392704]`, ``, "not 2"},
		{"bad dispatch watermark of the backlog", `[9,8392704]`, `[9,-1]`, "out of range"},
		{"dispatch watermark of the backlog behind its end", `[9,8392704]`, `[14,65537]`, "is after its end"},
		{"dispatch watermark before the beginning", `"dispatched":[15,0],"acked":[[2,7]`, `"dispatched":[14,65535],"acked":[[2,7]`, "is before the beginning"},
		{"dispatch watermark that an old reader would pass", `"dispatched":[15,0],"acked":[[0`, `"dispatched":[14,99999],"acked":[[0`, "is before that of the fresh range"},
		{"mark of the backlog behind its end", `[[0,1,30],`, `[[2,1],`, "is after its end"},
		{"skip behind its end", `[[0,1,30],`, `[[1,1,30],`, "skips items after its end"},
		{"a tuple", `"fresh":{`, `"fresh":[],"X":{`, "body"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Contains(t, content, tc.from)
			f, err := Decode(withBody(1, strings.Replace(content, tc.from, tc.to, 1)))
			require.ErrorContains(t, err, tc.want)
			require.Equal(t, File{}, f)
		})
	}
	f, err := Decode(withBody(1, strings.Replace(content, `"fresh":{`, `"fresh":{"future":[1],`, 1)))
	require.NoError(t, err, "it may grow, too")
	require.Equal(t, freshExample(), f)
	f, err = Decode(withBody(1, strings.Replace(content, `"fresh":{`, `"fresh":null,"X":{`, 1)))
	require.NoError(t, err)
	require.Nil(t, f.Endpoints[0].Fresh)
}

// Write refuses what Load would.
func TestFreshEncodeRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Fresh){
		"from":                          func(f *Fresh) { f.From.Segment = -1 },
		"from ahead":                    func(f *Fresh) { f.From.Segment = 15 },
		"from behind":                   func(f *Fresh) { f.From.Segment = 8 },
		"dispatch watermark":            func(f *Fresh) { f.Dispatched.Offset = math.MaxInt64 },
		"dispatch watermark ahead":      func(f *Fresh) { f.Dispatched.Segment = 16 },
		"marks":                         func(f *Fresh) { f.Acked = f.Acked[1:] },
		"mark":                          func(f *Fresh) { f.Acked[0].Offset = -1 },
		"skip":                          func(f *Fresh) { f.Acked[0].Skip = -1 },
		"dispatch watermark of backlog": func(f *Fresh) { f.BacklogDispatched.Segment = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			f := freshExample()
			spoil(f.Endpoints[0].Fresh)
			_, err := Encode(f)
			require.ErrorContains(t, err, "fresh range")
		})
	}
}

// Defends I2: with another number of partitions the end of the backlog is of no
// use, and everything is sent again from the floor.
func TestFreshFor(t *testing.T) {
	f := freshExample()
	e := &f.Endpoints[0]
	r := e.FreshFor(partitions)
	require.Equal(t, e.Fresh, r)
	r.Acked[0].Skip = 7
	require.Zero(t, e.Fresh.Acked[0].Skip, "the result is the caller's own")
	e.Isolated = []Isolated{{Series: 1, Mark: e.Acked[1]}}
	e.Fresh.Isolated = []Isolated{{Series: 2, Mark: r.Acked[2]}}
	own, second := e.IsolatedFor(partitions), e.FreshFor(partitions).Isolated
	require.Equal(t, e.Isolated, own)
	require.Equal(t, e.Fresh.Isolated, second)
	own[0].Series, second[0].Series = 7, 7
	require.EqualValues(t, 1, e.Isolated[0].Series)
	require.EqualValues(t, 2, e.Fresh.Isolated[0].Series)
	require.Nil(t, e.IsolatedFor(128))
	require.Nil(t, e.FreshFor(128))
	for _, m := range e.MarksFor(128) {
		require.Equal(t, e.Floor.Point, m.Point)
	}
	e.Fresh = nil
	require.Nil(t, e.FreshFor(partitions))
}
