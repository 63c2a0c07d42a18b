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
	"fmt"
	"maps"
	"math"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

// partitions is how many the write side has.
const partitions = 64

func point(segment int, offset int64, crc uint32) cursor.Point {
	return cursor.Point{Position: cursor.Position{Segment: segment, Offset: offset}, CRC: crc}
}

func mark(segment int, offset int64, crc uint32, skip int) Mark {
	return Mark{Point: point(segment, offset, crc), Skip: skip}
}

func testID(rnd *rand.Rand) string {
	return ulid.MustNew(uint64(1_790_000_000_000+rnd.Int63n(1_000_000_000)), rnd).String()
}

// example is the worked example of docs/format/savepoint.md.
func example() File {
	removed := time.Date(2026, 9, 21, 22, 13, 5, 0, time.UTC)
	f := File{
		Version:    Version,
		Run:        "01M330EBW09RD0Q8ATQY5WM9KZ",
		Segment:    14,
		Checkpoint: 11,
		Partitions: partitions,
		Written:    time.Date(2026, 9, 21, 22, 13, 21, 250_000_000, time.UTC),
		Segments:   map[int]uint32{12: 3735928559, 14: 305419896},
		Endpoints: []Endpoint{
			{
				ID:         "01M330EBW0K4T9ZJ2D4X0G6V8Q",
				Identity:   Identity{Name: "central", URLHash: "a3f1c0de5b7e4c1f9d2a86b4e0c7135f"},
				Floor:      mark(14, 65536, 2596996162, 0),
				Dispatched: cursor.Position{Segment: 15},
			},
			{
				ID:         "01M330EBW0Q7R5N3H8Y1C2B4WD",
				Identity:   Identity{URLHash: "5d41402abc4b2a76b9719d911017c592", RulesHash: "7d793037a0760186574b0282f2f435e7", TenantHash: "9e107d9d372bb6826bd81d3542a419d6"},
				Floor:      mark(12, 4096, 1164413355, 0),
				Dispatched: cursor.Position{Segment: 13},
				Removed:    &removed,
			},
		},
	}
	for p := range partitions {
		ahead := mark(14, 98304, 4261412864, 0)
		if p == 7 {
			ahead = mark(14, 65536, 2596996162, 120)
		}
		f.Endpoints[0].Acked = append(f.Endpoints[0].Acked, ahead)
		f.Endpoints[1].Acked = append(f.Endpoints[1].Acked, mark(12, 4096, 1164413355, 0))
	}
	return f
}

const exampleCRC = "b0d6a8f6"

const exampleBytes = `{"version":1,"crc32c":"@CRC@","body":{` +
	`"run":"01M330EBW09RD0Q8ATQY5WM9KZ","segment":14,"checkpoint":11,"clean":false,"written":"2026-09-21T22:13:21.25Z",` +
	`"partitions":64,"fingerprints":{"12":3735928559,"14":305419896},` +
	`"points":[[12,4096,1164413355],[14,65536,2596996162],[14,98304,4261412864]],` +
	`"endpoints":[{"id":"01M330EBW0K4T9ZJ2D4X0G6V8Q","identity":{"name":"central","url":"a3f1c0de5b7e4c1f9d2a86b4e0c7135f"},` +
	`"floor":[14,65536,2596996162],"dispatched":[15,0],"acked":[[2,7],[1,1,120],[2,56]]},` +
	`{"id":"01M330EBW0Q7R5N3H8Y1C2B4WD","identity":{"url":"5d41402abc4b2a76b9719d911017c592","rules":"7d793037a0760186574b0282f2f435e7",` +
	`"tenant":"9e107d9d372bb6826bd81d3542a419d6"},"removed":"2026-09-21T22:13:05Z","floor":[12,4096,1164413355],"dispatched":[13,0],"acked":[[0,64]]}]}}` + "\n"

// The format is final: this test has to fail on any change of its bytes.
func TestExampleBytes(t *testing.T) {
	data, err := Encode(example())
	require.NoError(t, err)
	require.Equal(t, []byte(strings.Replace(exampleBytes, "@CRC@", exampleCRC, 1)), data) //nolint:testifylint // The very bytes are the format.

	f, err := Decode(data)
	require.NoError(t, err)
	require.Equal(t, example(), f)
}

// randomFile makes a valid file in the form that Decode returns, so that it
// has to survive a round trip as it is.
func randomFile(rnd *rand.Rand) File {
	f := File{
		Version:    Version,
		Run:        testID(rnd),
		Segment:    rnd.Intn(100) - 1,
		Checkpoint: rnd.Intn(100) - 1,
		Partitions: 1 + rnd.Intn(70),
		Written:    time.Unix(rnd.Int63n(1<<33), rnd.Int63n(1e9)).UTC(),
		Clean:      rnd.Intn(2) == 0,
		Segments:   map[int]uint32{},
		Endpoints:  make([]Endpoint, rnd.Intn(5)),
	}
	for i := range f.Endpoints {
		e := &f.Endpoints[i]
		e.ID = testID(rnd)
		e.Identity = Identity{Name: []string{"", "a", "ä \"<&>\u2028\\", "0"}[rnd.Intn(4)], URLHash: "0f", RulesHash: []string{"", "1f"}[rnd.Intn(2)]}
		base := rnd.Intn(1000)
		e.Floor = mark(base, 0, 0, 0)
		e.Dispatched = cursor.Position{Segment: rnd.Intn(1 << 20), Offset: rnd.Int63n(maxOffset)}
		for len(e.Acked) < f.Partitions {
			m := mark(base+rnd.Intn(3), rnd.Int63n(4), rnd.Uint32(), 0)
			if rnd.Intn(3) == 0 {
				m.Skip = rnd.Intn(maxSkip)
			}
			for n := 1 + rnd.Intn(5); n > 0 && len(e.Acked) < f.Partitions; n-- {
				e.Acked = append(e.Acked, m)
			}
		}
		if rnd.Intn(3) == 0 {
			removed := time.Unix(rnd.Int63n(1<<33), 0).UTC()
			e.Removed = &removed
			e.RemovedAt = cursor.Position{Segment: rnd.Intn(1 << 20), Offset: rnd.Int63n(maxOffset)}
		}
	}
	for _, s := range f.Referenced() {
		f.Segments[s] = rnd.Uint32()
	}
	return f
}

// Defends I8: what is loaded is what was saved.
func TestRoundTrip(t *testing.T) {
	for seed := range int64(300) {
		rnd := rand.New(rand.NewSource(seed))
		f := randomFile(rnd)
		data, err := Encode(f)
		require.NoError(t, err, "seed %d", seed)
		got, err := Decode(data)
		require.NoError(t, err, "seed %d", seed)
		require.Equal(t, f, got, "seed %d", seed)

		again, err := Encode(got)
		require.NoError(t, err)
		require.Equal(t, data, again, "seed %d: equal files have equal bytes", seed)
	}
}

// What has no meaning is not stored: the skip of a floor, fingerprints that
// nothing refers to, time zones.
func TestEncodeNormalises(t *testing.T) {
	f := example()
	f.Version = 0
	f.Endpoints[0].Floor.Skip = 99
	f.Segments[7] = 1
	f.Segments[-4] = 1
	f.Written = f.Written.In(time.FixedZone("elsewhere", 7200))
	data, err := Encode(f)
	require.NoError(t, err)
	got, err := Decode(data)
	require.NoError(t, err)
	require.Equal(t, example(), got)
	require.Equal(t, []int{12, 13, 14}, f.Referenced())
}

// Defends I9: a flipped bit anywhere either changes nothing or is found. In
// particular no bit of the version makes a damaged file look like one of a
// later release, which would be an error to start on.
func TestEveryFlippedBitIsFound(t *testing.T) {
	data, err := Encode(example())
	require.NoError(t, err)
	for i := range data {
		for bit := range 8 {
			data[i] ^= 1 << bit
			if f, err := Decode(data); err == nil {
				require.Equal(t, example(), f, "byte %d bit %d", i, bit)
			} else {
				require.Equal(t, File{}, f)
				var newer *VersionError
				require.NotErrorAs(t, err, &newer, "byte %d bit %d", i, bit)
			}
			data[i] ^= 1 << bit
		}
	}
}

// Defends I9: a torn file is never taken for a whole one.
func TestEveryPrefixIsFound(t *testing.T) {
	data, err := Encode(example())
	require.NoError(t, err)
	for n := range len(data) - 1 { // The last byte is a line feed after the object.
		f, err := Decode(data[:n])
		require.Error(t, err, "%d of %d bytes", n, len(data))
		require.Equal(t, File{}, f)
	}
}

func withBody(version int, content string) []byte {
	return fmt.Appendf(nil, `{"version":%d,"crc32c":"%s","body":%s}`, version, checksum(version, []byte(content)), content)
}

func exampleBody(t testing.TB) string {
	data, err := Encode(example())
	require.NoError(t, err)
	_, content, ok := strings.Cut(string(data), `"body":`)
	require.True(t, ok)
	return strings.TrimSuffix(content, "}\n")
}

// Forward compatibility: fields that a later writer of this version added are
// ignored, in all three objects. A body of another version is not looked at.
func TestUnknownFieldsAndVersions(t *testing.T) {
	content := exampleBody(t)
	for _, change := range [][2]string{
		{`{"run":`, `{"future":{"a":[1,null]},"run":`},
		{`{"id":`, `{"future":"x","id":`},
		{`"identity":{`, `"identity":{"future":3.5,`},
	} {
		f, err := Decode(withBody(1, strings.ReplaceAll(content, change[0], change[1])))
		require.NoError(t, err)
		require.Equal(t, example(), f)
	}
	data := strings.Replace(string(withBody(1, content)), `{"version"`, `{"future":1, "version"`, 1)
	_, err := Decode([]byte(data))
	require.NoError(t, err, "the envelope may grow, too")

	for _, foreign := range []string{content, `{}`, `"text"`, `null`, `[1]`} {
		_, err := Decode(withBody(2, foreign))
		var newer *VersionError
		require.ErrorAs(t, err, &newer, foreign)
		require.Equal(t, 2, newer.Version)
		require.Equal(t, Version, newer.Supported)
	}
	for _, version := range []int{0, -1} {
		_, err := Decode(withBody(version, content))
		require.ErrorContains(t, err, "does not exist")
	}
}

// A file with a right checksum and wrong content comes from a faulty writer.
// It is refused as a whole.
func TestDecodeRefuses(t *testing.T) {
	content := exampleBody(t)
	for _, tc := range []struct{ name, from, to, want string }{
		{"no run", `"run"`, `"Xrun"`, "required field"},
		{"bad run", `01M330EBW09RD0Q8ATQY5WM9KZ`, `run`, "not a ULID"},
		{"no segment", `"segment"`, `"Xsegment"`, "required field"},
		{"bad segment", `"segment":14`, `"segment":-2`, "out of range"},
		{"no checkpoint", `"checkpoint"`, `"Xcheckpoint"`, "required field"},
		{"bad checkpoint", `"checkpoint":11`, `"checkpoint":-2`, "out of range"},
		{"no clean", `"clean"`, `"Xclean"`, "required field"},
		{"no written", `"written"`, `"Xwritten"`, "required field"},
		{"bad written", `2026-09-21T22:13:21.25Z`, `yesterday`, "body"},
		{"no partitions", `"partitions"`, `"Xpartitions"`, "required field"},
		{"too few partitions", `"partitions":64`, `"partitions":0`, "out of range"},
		{"too many partitions", `"partitions":64`, `"partitions":1000000000`, "out of range"},
		{"other partitions", `"partitions":64`, `"partitions":65`, "64 marks for 65 partitions"},
		{"no fingerprints", `"fingerprints"`, `"Xfingerprints"`, "required field"},
		{"bad fingerprint", `3735928559`, `4294967296`, "body"},
		{"fingerprint of nothing", `"12":`, `"x":`, "not a segment"},
		{"fingerprint of another spelling", `"12":`, `"012":`, "not a segment"},
		{"no points", `"points"`, `"Xpoints"`, "required field"},
		{"short point", `[12,4096,1164413355],`, `[12,4096],`, "not 3"},
		{"long point", `[12,4096,1164413355],`, `[12,4096,1164413355,0],`, "not 3"},
		{"point with a fraction", `[12,4096,1164413355],`, `[12,4096.5,1164413355],`, "body"},
		{"negative segment", `[12,4096,1164413355],`, `[-1,4096,1164413355],`, "out of range"},
		{"negative offset", `[12,4096,1164413355],`, `[12,-1,1164413355],`, "out of range"},
		{"huge checksum", `[12,4096,1164413355],`, `[12,4096,4294967296],`, "out of range"},
		{"no endpoints", `"endpoints"`, `"Xendpoints"`, "required field"},
		{"no id", `"id"`, `"Xid"`, "missing"},
		{"bad id", `01M330EBW0K4T9ZJ2D4X0G6V8Q`, `1`, "not a ULID"},
		{"id twice", `01M330EBW0K4T9ZJ2D4X0G6V8Q`, `01M330EBW0Q7R5N3H8Y1C2B4WD`, "used twice"},
		{"no identity", `"identity"`, `"Xidentity"`, "missing"},
		{"empty identity", `{"name":"central","url":"a3f1c0de5b7e4c1f9d2a86b4e0c7135f"}`, `{"url":""}`, "identifies it"},
		{"no floor", `"floor"`, `"Xfloor"`, "not 3"},
		{"null for a floor", `"floor":[12,4096,1164413355]`, `"floor":null`, "not 3"},
		{"null for a dispatch watermark", `"dispatched":[13,0]`, `"dispatched":null`, "not 2"},
		{"null for a point", `[12,4096,1164413355],[14,65536`, `null,[14,65536`, "not 3"},
		{"null for the endpoints", `"endpoints":[`, `"endpoints":null,"X":[`, "required field"},
		{"null for an endpoint", `"endpoints":[`, `"endpoints":[null,`, "not 3"},
		{"short counted part", `"floor":[12,`, `"counted":[[12,0]],"floor":[12,`, "no part of a segment"},
		{"null for a counted part", `"floor":[12,`, `"counted":[null],"floor":[12,`, "no part of a segment"},
		{"empty counted part", `"floor":[12,`, `"counted":[[12,9,9]],"floor":[12,`, "out of range"},
		{"negative count in memory", `"floor":[12,`, `"memory":[0,-1,0],"floor":[12,`, "out of range"},
		{"floor after a mark", `"floor":[12,4096,`, `"floor":[12,4097,`, "is after the mark"},
		{"no dispatch watermark", `"dispatched"`, `"Xdispatched"`, "not 2"},
		{"bad dispatch watermark", `[15,0]`, `[15,-1]`, "out of range"},
		{"zero removal", `2026-09-21T22:13:05Z`, `0001-01-01T00:00:00Z`, "time of removal"},
		{"no marks", `"acked"`, `"Xacked"`, "0 marks"},
		{"empty run", `[2,7]`, `[]`, "1 to 3"},
		{"long run", `[2,7]`, `[2,7,0,0]`, "1 to 3"},
		{"no such point", `[2,7]`, `[3,7]`, "no point 3"},
		{"negative point", `[2,7]`, `[-1,7]`, "no point -1"},
		{"empty count", `[2,7]`, `[2,0]`, "out of range"},
		{"too many marks", `[2,7]`, `[2,9]`, "out of range"},
		{"enormous count", `[2,7]`, `[2,9223372036854775807]`, "out of range"},
		{"negative skip", `[1,1,120]`, `[1,1,-1]`, "skip"},
		{"enormous skip", `[1,1,120]`, `[1,1,2147483648]`, "skip"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Contains(t, content, tc.from)
			f, err := Decode(withBody(1, strings.ReplaceAll(content, tc.from, tc.to)))
			require.ErrorContains(t, err, tc.want)
			require.Equal(t, File{}, f)
		})
	}
	for _, junk := range []string{"", "{}", "null", "[]", "\x00\x00\x00", `{"version":1}`, `{"version":"1"}`, `{"version":1,"crc32c":"0","body":{}} {}`} {
		_, err := Decode([]byte(junk))
		require.Error(t, err, "%q", junk)
	}
	_, err := Decode(make([]byte, maxFileSize+1))
	require.ErrorContains(t, err, "larger")
}

// Write refuses what Load would: a savepoint that cannot be read again is
// worse than the one before.
func TestEncodeRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*File){
		"version":            func(f *File) { f.Version = 2 },
		"time":               func(f *File) { f.Written = time.Time{} },
		"run":                func(f *File) { f.Run = "" },
		"partitions":         func(f *File) { f.Partitions = 63 },
		"no marks":           func(f *File) { f.Endpoints[0].Acked = nil },
		"name":               func(f *File) { f.Endpoints[0].Identity.Name = "\xff" },
		"negative skip":      func(f *File) { f.Endpoints[0].Acked[3].Skip = -1 },
		"floor":              func(f *File) { f.Endpoints[0].Floor.Segment = -1 },
		"floor ahead":        func(f *File) { f.Endpoints[0].Floor.Offset++ },
		"mark":               func(f *File) { f.Endpoints[0].Acked[3].Offset = math.MaxInt64 },
		"dispatch watermark": func(f *File) { f.Endpoints[0].Dispatched.Offset = -1 },
		"same id":            func(f *File) { f.Endpoints[0].ID = f.Endpoints[1].ID },
		"time of removal":    func(f *File) { f.Endpoints[1].Removed = &time.Time{} },
		"year out of JSON":   func(f *File) { f.Written = time.Date(10001, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		t.Run(name, func(t *testing.T) {
			f := example()
			spoil(&f)
			_, err := Encode(f)
			require.Error(t, err)
		})
	}
}

func TestMarksFor(t *testing.T) {
	f := example()
	e := &f.Endpoints[0]
	marks := e.MarksFor(partitions)
	require.Equal(t, e.Acked, marks)
	marks[0].Skip = 7
	require.Zero(t, e.Acked[0].Skip, "the result is the caller's own")

	// Defends I2: with another number of partitions nothing but the floor is
	// known, and above all no skip.
	for _, m := range e.MarksFor(128) {
		require.Equal(t, mark(14, 65536, 2596996162, 0), m)
	}
	require.Len(t, e.MarksFor(128), 128)
}

// sizes makes the files whose size docs/format/savepoint.md states.
func sizes(endpoints, distinct int) File {
	rnd := rand.New(rand.NewSource(1))
	f := example()
	f.Segments = map[int]uint32{1234: rnd.Uint32(), 1235: rnd.Uint32()}
	points := make([]cursor.Point, distinct)
	for i := range points {
		points[i] = point(1234+i%2, 100_000_000+rnd.Int63n(30_000_000), rnd.Uint32())
	}
	f.Endpoints = nil
	for i := range endpoints {
		e := Endpoint{
			ID: testID(rnd), Dispatched: cursor.Position{Segment: 1236},
			Identity: Identity{Name: fmt.Sprintf("endpoint-%02d", i), URLHash: strings.Repeat("ab", 16)},
			Floor:    mark(1234, 0, 0, 0),
		}
		for p := range partitions {
			m := Mark{Point: points[rnd.Intn(distinct)]}
			if distinct > partitions { // No two alike.
				m = Mark{Point: points[i*partitions+p], Skip: 1 + rnd.Intn(2000)}
			}
			e.Acked = append(e.Acked, m)
		}
		f.Endpoints = append(f.Endpoints, e)
	}
	return f
}

var sizeCases = []struct {
	name      string
	endpoints int
	distinct  int
	want      int
}{
	{"idle, 1 endpoint", 1, 1, 600},
	{"idle, 10 endpoints", 10, 1, 3 << 10},
	{"busy, 1 endpoint", 1, 8, 1 << 10},
	{"busy, 10 endpoints", 10, 8, 7 << 10},
	{"no two marks alike, 10 endpoints", 10, 10 * partitions, 29 << 10},
}

// The file is written every second: it has to stay small.
func TestSize(t *testing.T) {
	for _, tc := range sizeCases {
		f := sizes(tc.endpoints, tc.distinct)
		data, err := Encode(f)
		require.NoError(t, err)
		t.Logf("%s: %d bytes", tc.name, len(data))
		require.Less(t, len(data), tc.want, tc.name)
	}
}

// withIsolated gives the first endpoint of a file isolated series, no two of them
// alike.
func withIsolated(f File, n int) File {
	rnd := rand.New(rand.NewSource(2))
	for i := range n {
		f.Endpoints[0].Isolated = append(f.Endpoints[0].Isolated, Isolated{Series: rnd.Uint64(), Mark: mark(1234, 100_000_000+int64(i)*977, rnd.Uint32(), rnd.Intn(2000))})
	}
	return f
}

func BenchmarkEncode(b *testing.B) {
	files := map[string]File{
		"busy, 3 endpoints":                  sizes(3, 8),
		"no two marks alike, 3 endpoints":    sizes(3, 3*partitions),
		"3 endpoints, 10000 isolated series": withIsolated(sizes(3, 8), 10_000),
	}
	for _, tc := range sizeCases {
		files[tc.name] = sizes(tc.endpoints, tc.distinct)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		b.Run(name, func(b *testing.B) {
			f := files[name]
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Encode(f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// FuzzDecode feeds bytes as they are, and as a body whose checksum is right,
// since the fuzzer will not find that by itself. Whatever is accepted has to be
// valid and to survive being written again.
func FuzzDecode(f *testing.F) {
	seeds := []File{example(), freshExample(), {}}
	for seed := range int64(5) {
		rnd := rand.New(rand.NewSource(seed))
		seeds = append(seeds, randomFile(rnd), withFresh(rnd, randomFile(rnd)))
	}
	for _, file := range seeds {
		if data, err := Encode(file); err == nil {
			f.Add(data)
		}
	}
	f.Add([]byte(exampleBody(f)))
	f.Add([]byte(`{"version":2,"crc32c":"00000000","body":{}}`))
	f.Add([]byte(`{"endpoints":[{"acked":[[0,64]]}]}`))
	f.Add([]byte(`{"endpoints":[{"acked":[[0,64]],"fresh":{"from":[1,0,0],"dispatched":[1,0],"acked":[[0,64]],"backlog_dispatched":[1,0]}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, input := range [][]byte{data, withBody(1, string(data))} {
			file, err := Decode(input)
			if err != nil {
				require.Equal(t, File{}, file, "half a file")
				continue
			}
			require.NoError(t, file.Validate())
			again, err := Encode(file)
			if err != nil {
				// RFC 3339 allows times that Go parses and does not print.
				require.ErrorContains(t, err, "Time.MarshalJSON")
				continue
			}
			read, err := Decode(again)
			require.NoError(t, err)
			maps.DeleteFunc(file.Segments, func(segment int, _ uint32) bool {
				_, kept := read.Segments[segment]
				return !kept
			})
			require.Equal(t, file, read)
		}
	})
}
