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

package delivery

import "github.com/ackwal/ackwal/tsdb/wlog/cursor"

// Progress is how far an endpoint that is at work has come.
type Progress struct {
	ID, Name string
	// Floor is what it has acknowledged everything before, and Head the end of the log.
	Floor, Head cursor.Position
	// Bytes of the log are between the two.
	Bytes int64
}

// Done reports whether everything was acknowledged.
func (p Progress) Done() bool { return !p.Floor.Before(p.Head) }

// Progress returns it for each endpoint that is at work.
func (s *Storage) Progress() (out []Progress) {
	s.listMtx.Lock()
	running := s.running
	s.listMtx.Unlock()
	for _, e := range running {
		p := Progress{ID: e.id, Name: e.settings.Load().name, Floor: e.floor(), Head: e.src.Head()}
		if !p.Done() {
			p.Bytes = e.src.bytes(p.Floor, p.Head)
		}
		out = append(out, p)
	}
	return out
}
