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

package encoder

// symbols is the string table of a V2 request: each string once, in the order
// of first use, with the empty string as number 0.
type symbols struct {
	refs   map[string]uint32
	wire   wire // The strings as fields of the request.
	recent []recent
}

// recent is what a place in a list of labels held in the series before. The
// names of one job's series are the same place by place, and most values too,
// and comparing two strings is several times cheaper than a look-up.
type recent struct {
	text string
	ref  uint32
}

func (s *symbols) reset() {
	if s.refs == nil {
		s.refs = make(map[string]uint32)
	}
	clear(s.refs)
	clear(s.recent)
	s.wire.buf = s.wire.buf[:0]
	s.ref("")
}

func (s *symbols) ref(text string) uint32 {
	if ref, ok := s.refs[text]; ok {
		return ref
	}
	ref := uint32(len(s.refs))
	s.refs[text] = ref
	s.wire.element(requestSymbols, text)
	return ref
}

// at returns the reference of a string that stands at the given place.
func (s *symbols) at(place int, text string) uint32 {
	if place >= len(s.recent) {
		s.recent = append(s.recent, make([]recent, place+1-len(s.recent))...)
	}
	// A place never used holds the empty string and its reference, 0.
	r := &s.recent[place]
	if r.text != text {
		*r = recent{text: text, ref: s.ref(text)}
	}
	return r.ref
}
