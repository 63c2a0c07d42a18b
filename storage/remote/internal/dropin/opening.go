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

package dropin

import (
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/prometheus/common/promslog"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/interlock"
	"github.com/ackwal/ackwal/tsdb/wlog/repair"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs"
)

func init() { interlock.BeforeOpening(repairFirst) }

// repairFirst takes damage out of a log that was delivered from before, when its writer is
// about to open it. A writer that finds damage calls stock's repair, which deletes every
// later segment, delivered or not. What is repaired costs only what was damaged, and
// endpoints count that when they come to it.
func repairFirst(walDir string, logger *slog.Logger) {
	dir := filepath.Dir(walDir)
	if os.Getenv(EnvDelivery) == BestEffort || isServers(dir) {
		return
	}
	f := saved(dir)
	if !f.Followed || f.Segment < 0 {
		return // An engine repairs its own.
	}
	if logger == nil {
		logger = promslog.NewNopLogger()
	}
	_, err := repair.Directory(walDir, repair.Options{Logger: logger})
	if err == nil {
		err = fillEnd(f, walDir, logger)
	}
	if err != nil {
		logger.Error("The write-ahead log cannot be repaired before it is opened; if its writer finds damage, it may delete what comes after that", "err", err)
	}
}

// fillEnd puts stand-ins in the place of the newest segments, if some that there were at
// the last savepoint are gone: their numbers must not be given again, for positions are
// told by them, and readers that find them missing count what they held.
func fillEnd(f savepoint.File, walDir string, logger *slog.Logger) error {
	last := -1
	if _, err := os.Stat(walDir); err == nil {
		if _, last, err = cursor.SegmentRange(walDir); err != nil {
			return err
		}
	} else if err := os.MkdirAll(walDir, 0o777); err != nil {
		return err
	}
	known := last < 0
	for segment, saved := range f.Segments {
		now, err := cursor.Fingerprint(walDir, segment)
		known = known || err == nil && now == saved
	}
	if !known {
		return nil // It may be the savepoint of another log.
	}
	made, err := repair.SegmentsTo(vfs.OS, walDir, f.Segment, logger)
	if err == nil && len(made) > 0 { // If there was none at all, there has to be a checkpoint now.
		_, err = repair.Directory(walDir, repair.Options{Logger: logger, Whole: func(string, fs.FileInfo) bool { return true }})
	}
	return err
}

// saved returns the newest savepoint that can be read, and leaves everything as it is.
func saved(dir string) (f savepoint.File) {
	for _, name := range []string{savepoint.CurrentName, savepoint.PreviousName} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		if f, err = savepoint.Decode(data); err == nil {
			return f
		}
	}
	return savepoint.File{}
}

// delivered reports whether there are positions of an earlier run.
func delivered(dir string) bool {
	for _, name := range []string{savepoint.CurrentName, savepoint.PreviousName} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

// isServers reports whether a directory is that of a server's database.
func isServers(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "chunks_head"))
	return err == nil || interlock.IsServer(dir)
}
