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

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
)

// TestEachEndpointIsNamed: a line about an endpoint does not keep another one from being
// named, whether it is the logger or the line that names it; what is repeated is left out.
func TestEachEndpointIsNamed(t *testing.T) {
	var log syncedBuffer
	l := slog.New(newSparse(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
			return slog.Attr{}
		}
		return a
	}})))
	for range 2 {
		l.Info("begins", "remote_name", "a")
		l.Info("begins", "remote_name", "b")
		l.With("remote_name", "a").WithGroup("g").Warn("fails", "n", 1)
		l.With("remote_name", "b").Warn("fails")
		l.With("remote_name", "b").Warn("fails")
		l.Info("begins")
	}
	require.Equal(t, "msg=begins remote_name=a\nmsg=begins remote_name=b\nmsg=fails remote_name=a g.n=1\nmsg=fails remote_name=b\nmsg=begins\n", log.String())

	s := &said{at: map[saidOf]time.Time{}}
	now := time.Now()
	for i := range 3 * mostMessages {
		require.True(t, s.again(saidOf{message: string(rune(i))}, now))
	}
	require.LessOrEqual(t, len(s.at), mostMessages)
	require.False(t, s.again(saidOf{message: string(rune(1))}, now))
	require.True(t, s.again(saidOf{message: string(rune(1))}, now.Add(sayEvery)))
}

// TestLossesAreSummedUp: what is refused for good is an error line for each status, with what
// and how much it was and from when, and none of it is left out.
func TestLossesAreSummedUp(t *testing.T) {
	var (
		log syncedBuffer
		r   lossLog
	)
	l, set := slog.New(slog.NewTextHandler(&log, nil)), &settings{name: "a", shown: "http://b"}
	r.tell(l, set, true)
	require.Empty(t, log.String())
	r.refused(queue.Counts{queue.Samples: 3}, "400", false, timeSpan{1000, 2000})
	r.tell(l, set, false)
	require.Regexp(t, `level=ERROR msg="Samples are lost[^\n]* remote_name=a url=http://b reason=refused status=400 samples=3 histograms=0 exemplars=0 oldest=1970-01-01T00:00:01.000Z newest=1970-01-01T00:00:02.000Z\n$`, log.String())
	before := log.String()
	r.refused(queue.Counts{queue.Samples: 1, queue.Exemplars: 1}, "400", false, timeSpan{500, 500})
	r.refused(queue.Counts{queue.Samples: 1}, "404", false, timeSpan{3000, 4000})
	r.tell(l, set, false)
	require.Equal(t, before, log.String(), "a minute has not passed")
	r.tell(l, set, true)
	require.Regexp(t, `status=400 samples=1 histograms=0 exemplars=1 oldest=1970-01-01T00:00:00.500Z newest=1970-01-01T00:00:00.500Z
[^\n]* status=404 samples=1 histograms=0 exemplars=0 oldest=1970-01-01T00:00:03.000Z newest=1970-01-01T00:00:04.000Z
$`, log.String())

	// What the endpoint most likely has is no loss, and does not hide one.
	r.refused(queue.Counts{queue.Samples: 5}, "400", true, timeSpan{1000, 2000})
	r.refused(queue.Counts{queue.Samples: 6}, "400", false, timeSpan{1000, 2000})
	r.tell(l, set, true)
	require.Regexp(t, `level=WARN msg="The endpoint refused samples that it most likely has[^\n]* samples=5 `, log.String())
	require.Regexp(t, `level=ERROR msg="Samples are lost[^\n]* samples=6 `, log.String())
}

// TestUnreadableIsTold: what cannot be read is an error line too, with what stands around it.
func TestUnreadableIsTold(t *testing.T) {
	var (
		log syncedBuffer
		r   lossLog
	)
	l, set := slog.New(slog.NewTextHandler(&log, nil)), &settings{name: "a", shown: "http://b"}
	r.unread(100, 7, timeSpan{1000, 2000})
	r.unread(50, 3, timeSpan{2000, 3000})
	r.unread(0, 0, timeSpan{4000, 4000})
	r.tell(l, set, false)
	require.Regexp(t, `level=ERROR msg="Samples are lost: a part of the log cannot be read" remote_name=a url=http://b reason=unreadable bytes=150 samples_estimated=10 oldest=1970-01-01T00:00:01.000Z newest=1970-01-01T00:00:03.000Z\n$`, log.String())
}
