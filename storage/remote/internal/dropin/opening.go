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
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/common/promslog"

	"github.com/ackwal/ackwal/tsdb/wlog/epoch"
	"github.com/ackwal/ackwal/tsdb/wlog/hold"
	"github.com/ackwal/ackwal/tsdb/wlog/repair"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
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
	if _, err := repair.Directory(walDir, repair.Options{Logger: logger}); err != nil {
		logger.Error("The write-ahead log cannot be made whole before it is opened; if its writer finds damage, it may delete what comes after that", "err", err)
	}
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
