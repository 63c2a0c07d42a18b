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

package durable

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// An operator who waits for a start or a removal is told once a minute how far it is, and of what
// takes less nothing.
func TestProgressIsTold(t *testing.T) {
	var log bytes.Buffer
	clock := newTestClock()
	l := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
			return slog.Attr{}
		}
		return a
	}}))
	p := newProgress(l, clock.now, "Reading goes on", "bytes")
	for range 5 {
		clock.add(20 * time.Second)
		p.at(100, 1000)
	}
	clock.add(40 * time.Second)
	p.at(400, 1000)
	clock.add(20 * time.Second)
	p.at(1000, 1000)
	require.Equal(t, "msg=\"Reading goes on\" done_bytes=100 left_bytes=900 bytes_per_second=1.7 time_left=9m0s\n"+
		"msg=\"Reading goes on\" done_bytes=400 left_bytes=600 bytes_per_second=3.8 time_left=2m40s\n", log.String())
}
