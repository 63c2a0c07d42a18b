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
	"fmt"
	"os"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// replace writes a file anew under its old name, so that links to the old one,
// such as the shadow's, keep the undamaged content.
func replace(path string, content []byte) error {
	if err := os.WriteFile(path+".damaged", content, 0o666); err != nil {
		return err
	}
	return os.Rename(path+".damaged", path)
}

// Damage flips bits in the middle of a segment, which must have content.
func Damage(walDir string, segment int) error {
	path := wlog.SegmentName(walDir, segment)
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("damaging segment %d: %w", segment, err)
	}
	if len(content) < 100 {
		return fmt.Errorf("segment %d has only %d bytes, too few to damage it in the middle", segment, len(content))
	}
	for i := range 10 {
		content[len(content)/2+i] ^= 0xa5
	}
	return replace(path, content)
}

// Tear appends the beginning of a record to a segment, as a kill between the
// writes of a record that spans pages does.
func Tear(walDir string, segment int) error {
	path := wlog.SegmentName(walDir, segment)
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("tearing segment %d: %w", segment, err)
	}
	// The header of a whole record of 512 bytes, of which some are there.
	torn := append([]byte{1, 2, 0, 1, 2, 3, 4}, make([]byte, 100)...)
	return replace(path, append(content, torn...))
}
