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
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestCatchUpIsTold: an operator who waits for an endpoint is told that it answers again,
// how a backlog goes and that it is delivered. Moments are not worth a line.
func TestCatchUpIsTold(t *testing.T) {
	var (
		log syncedBuffer
		c   catchUpLog
	)
	l := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
			return slog.Attr{}
		}
		return a
	}}))
	is := catchUpMark{at: time.Now()}
	// The log grows by a kilobyte a second.
	look := func(after time.Duration, failing bool, left int64) {
		is.at = is.at.Add(after)
		is.acked += int64(after.Seconds())<<10 + is.left - left
		is.left = left
		c.look(l, is, failing)
	}
	look(0, false, 0)
	look(time.Second, true, 10)
	look(time.Second, false, 0)
	require.Empty(t, log.String())
	look(time.Second, true, 10)
	look(time.Hour, true, 100<<20)
	look(time.Second, false, 100<<20)
	require.Equal(t, "msg=\"The endpoint answers again\" failed_for=1h0m1s backlog_bytes=104857600\n", log.String())
	look(30*time.Second, false, 70<<20)
	look(30*time.Second, false, 40<<20)
	look(30*time.Second, false, 0)
	look(30*time.Second, false, 0)
	told := "msg=\"The endpoint answers again\" failed_for=1h0m1s backlog_bytes=104857600\n" +
		"msg=\"The endpoint is catching up\" acked_bytes=62976000 acked_bytes_per_second=1049600 left_bytes=41943040 time_left=40s\n" +
		"msg=\"The endpoint has caught up\" acked_bytes=104949760 acked_bytes_per_second=1166108 took=1m30s left_bytes=0\n"
	require.Equal(t, told, log.String())

	// A backlog that is there although the endpoint answers, as after a start, and one that
	// is gone in a moment.
	look(time.Second, false, 5<<20)
	look(5*time.Second, false, 5<<20)
	look(time.Second, false, 0)
	require.Equal(t, told, log.String())
	look(time.Second, false, 8<<20)
	look(10*time.Second, false, 10<<20)
	is.acked += 2 << 20 // While more was written.
	look(time.Minute, false, 12<<20)
	look(10*time.Second, true, 12<<20)
	look(5*time.Second, false, 11<<20)
	look(time.Minute, false, 6<<20)
	look(time.Second, false, 0)
	require.Equal(t, told+"msg=\"The endpoint has a backlog to catch up with\" backlog_bytes=10485760\n"+
		"msg=\"The endpoint has a backlog that grows\" acked_bytes=61440 acked_bytes_per_second=1024 left_bytes=12582912\n"+
		"msg=\"The endpoint is catching up\" acked_bytes=6368256 acked_bytes_per_second=84910 left_bytes=6291456 time_left=1m15s\n"+
		"msg=\"The endpoint has caught up\" acked_bytes=10635264 acked_bytes_per_second=72844 took=2m26s left_bytes=0\n", log.String())
}
