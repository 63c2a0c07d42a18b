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

import (
	"bytes"
	"time"

	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// lastSave is the newest savepoint. It tells that nothing has changed since, which
// four times a second is mostly so. It is guarded by saveMtx.
type lastSave struct {
	data []byte // Nil if what there is on disk is not known.

	written    time.Time
	segment    int
	end        int64
	checkpoint int
}

// holds reports whether a savepoint with that content would be the same but for the
// time. What is compared is what would be written, so that nothing is forgotten.
func (l *lastSave) holds(f savepoint.File) bool {
	if l.data == nil || f.Segment != l.segment || f.End != l.end {
		return false // The log has grown: it takes no second encoding to know.
	}
	f.Written = l.written
	data, err := savepoint.Encode(f)
	return err == nil && bytes.Equal(data, l.data)
}

// checkpoint returns the number of the newest checkpoint, -1 for none. To list
// the directory costs as much as to write the file, so it is done for durable
// savepoints, which go with every truncation, and for new segments.
func (s *Storage) checkpoint(segment int, durable bool) int {
	if s.last.data != nil && !durable && segment == s.last.segment {
		return s.last.checkpoint
	}
	if _, n, err := wlog.LastCheckpoint(s.src.WALDir); err == nil {
		return n
	}
	return -1
}
