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
	"slices"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/common/promslog"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/epoch"
	"github.com/ackwal/ackwal/tsdb/wlog/hold"
	"github.com/ackwal/ackwal/tsdb/wlog/repair"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs"
)

func init() { hold.BeforeOpening(makeWhole) }

// makeWhole takes damage out of a log that was delivered from before, when its writer is
// about to open it. A writer that finds damage calls stock's repair, which deletes every
// later segment, delivered or not. What is made whole costs only what was damaged, and
// endpoints count that when they come to it.
func makeWhole(walDir string, logger *slog.Logger) {
	dir := filepath.Dir(walDir)
	if os.Getenv(EnvDelivery) == BestEffort || isServers(dir) || !delivered(dir) {
		return
	}
	segments, _ := epoch.Scan(walDir) // What cannot be listed, package repair tells of.
	for _, seg := range slices.Backward(segments) {
		if seg.Run != (ulid.ULID{}) {
			return // The engine that wrote it has done so.
		}
		if !seg.Damaged && !seg.Empty {
			break
		}
	}
	if logger == nil {
		logger = promslog.NewNopLogger()
	}
	_, err := repair.Directory(walDir, repair.Options{Logger: logger})
	if err == nil {
		err = fillEnd(dir, walDir, logger)
	}
	if err != nil {
		logger.Error("The write-ahead log cannot be made whole before it is opened; if its writer finds damage, it may delete what comes after that", "err", err)
	}
}

// mostFilled is how many segments fillEnd takes to be gone.
const mostFilled = 100

// fillEnd puts segments in the place of the newest ones, where those are gone that there
// were at the last savepoint: their numbers must not be given again, for positions are
// told by them, and what they held is counted by who reads that they are missing.
func fillEnd(dir, walDir string, logger *slog.Logger) error {
	f, _, err := savepoint.NewStore(dir).Load()
	if err != nil || f.Segment < 0 {
		return nil //nolint:nilerr // Who follows the log says what is wrong with it.
	}
	_, last, err := cursor.SegmentRange(walDir)
	if err != nil || last >= 0 && f.Segment-last > mostFilled {
		return err // It must be the savepoint of another log.
	}
	for segment, saved := range f.Segments {
		if now, err := cursor.Fingerprint(walDir, segment); err == nil && now != 0 && now != saved {
			return nil // It is.
		}
	}
	made, err := repair.SegmentsTo(vfs.OS, walDir, f.Segment, logger)
	if err == nil && len(made) > 0 { // If there was none at all, there has to be a checkpoint now.
		_, err = repair.Directory(walDir, repair.Options{Logger: logger, Whole: func(string, fs.FileInfo) bool { return true }})
	}
	return err
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
	return err == nil || hold.IsServer(dir)
}
