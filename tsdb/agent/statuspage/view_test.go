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

package statuspage

import (
	"encoding/json"
	"testing"
	"time"

	jsoniter "github.com/json-iterator/go"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/tsdb/agent/durable"
)

var now = time.Date(2026, 5, 4, 12, 30, 0, 0, time.UTC)

// ago returns a time before now.
func ago(d time.Duration) *time.Time {
	t := now.Add(-d)
	return &t
}

func to[T any](v T) *T { return &v }

// example is the status of an agent with one endpoint that is well.
func example() *Status {
	return join(
		delivery.Status{
			NewestSample: ago(time.Second), SavepointAge: 0.5, Resumed: map[string]int64{"exact": 2, "oldest": 0},
			Endpoints: []delivery.EndpointStatus{{
				Name: "main", URL: "http://receiver/write", MetricURL: "http://user:xxxxx@receiver/write", Protocol: "prometheus.WriteRequest",
				State: delivery.StateDelivering, Description: "delivering", Since: ago(time.Hour), Behind: to(0.0), Senders: 1, MostSenders: 50,
			}},
		},
		durable.Status{
			Log:      durable.LogStatus{Bytes: 3 << 20, Segments: 2, First: 4, Last: 5, Checkpoint: -1, Series: 1200, OldestSample: ago(26 * time.Hour)},
			Removal:  durable.RemovalStatus{WaitsFor: durable.WaitsForTruncation},
			Limits:   durable.LimitsStatus{MaxBytes: 10 << 30, BySpace: true},
			Disk:     &durable.DiskStatus{Free: 11 << 30, Total: 100 << 30},
			Snapshot: durable.SnapshotStatus{Covered: -1},
			Start:    durable.StartStatus{Time: *ago(2 * time.Hour), Took: 0.25},
			Holdings: []durable.Holding{
				{Name: "main", URL: "http://elsewhere", Bytes: 1}, // Of another endpoint of that name.
				{Name: "main", URL: "http://user:xxxxx@receiver/write", Bytes: 1 << 20, Alone: 512},
			},
		}, now,
	)
}

// The five answers follow from the states.
func TestAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Status)
		want   []answer
	}{
		"well": {func(*Status) {}, []answer{
			{"Is it healthy?", good, "Yes", "the endpoint keeps up"},
			{"How far behind?", good, "Nothing to send", "all is acknowledged"},
			{"What pins the disk?", good, "Nothing", "3.0 MiB in 2 segments"},
			{"When is something lost?", good, "Not foreseen", "the log has 3.0 MiB of 10.0 GiB"},
			{"What was lost?", good, "Nothing", "since the start 2 h 0 min ago"},
		}},
		"dead": {func(s *Status) {
			e := &s.Endpoints[0]
			e.State, e.Description, e.Behind, e.UnackedBytes = delivery.StateRetrying, "retrying: no answer", to(4000.0), 1<<20
			e.UntilLoss, e.LossLimit = to(5400.0), "max_size"
			s.Removal = durable.RemovalStatus{WaitsFor: durable.WaitsForEndpoints, Endpoints: []string{"main"}}
		}, []answer{
			{"Is it healthy?", warn, "Not quite", "0 of 1 endpoints keep up, 1 retrying"},
			{"How far behind?", warn, "66 min 40 s", "main, 1.0 MiB to be sent"},
			{"What pins the disk?", warn, "main", "1.0 MiB, 512 B of it alone"},
			{"When is something lost?", warn, "In 90 min 0 s", "main, by max-size, if nothing is delivered"},
			{"What was lost?", good, "Nothing", "since the start 2 h 0 min ago"},
		}},
		"over its limit": {func(s *Status) {
			e := &s.Endpoints[0]
			e.State, e.Behind, e.UntilLoss, e.LossLimit = delivery.StateOverLimit, to(60.0), to(0.0), "endpoint_max_size"
			e.Drops = []delivery.Drop{
				{Kind: delivery.DropExpired, Reason: "endpoint_max_size", Samples: 123_456, Bytes: 2 << 20, Last: *ago(3 * time.Second)},
				{Kind: delivery.DropRefused, Reason: "400", Samples: 1, Last: *ago(time.Minute)},
				{Kind: delivery.DropLeftOut, Reason: "dropped_series", Samples: 1e9, Last: now},
			}
		}, []answer{
			{"Is it healthy?", bad, "No", "0 of 1 endpoints keep up, 1 over limit"},
			{"How far behind?", bad, "60 s", "main, 0 B to be sent"},
			{"What pins the disk?", bad, "main", "1.0 MiB, 512 B of it alone"},
			{"When is something lost?", bad, "Now", "main, by endpoint-max-size, if nothing is delivered"},
			{"What was lost?", bad, "123 k samples", "mostly taken by a limit, last 3.0 s ago"},
		}},
		"refused, held": {func(s *Status) {
			e := &s.Endpoints[0]
			e.State, e.Behind, e.UntilLoss, e.LossLimit = delivery.StateHeld, to(60.0), to(30.0), delivery.ReasonRefused
		}, []answer{
			{"Is it healthy?", bad, "No", "0 of 1 endpoints keep up, 1 held"},
			{"How far behind?", bad, "60 s", "main, 0 B to be sent"},
			{"What pins the disk?", bad, "main", "1.0 MiB, 512 B of it alone"},
			{"When is something lost?", warn, "In 30 s", "main, by refused-hold, if the receiver goes on refusing"},
			{"What was lost?", good, "Nothing", "since the start 2 h 0 min ago"},
		}},
		"a series refused": {func(s *Status) {
			s.Endpoints[0].Drops = []delivery.Drop{{Kind: delivery.DropRefused, Reason: "400", Samples: 5, Last: *ago(time.Second)}}
		}, []answer{
			{"Is it healthy?", bad, "No", "the endpoint keeps up, main loses samples"},
			{"How far behind?", good, "Nothing to send", "all is acknowledged"},
			{"What pins the disk?", good, "Nothing", "3.0 MiB in 2 segments"},
			{"When is something lost?", bad, "Now", "main, refused by the receiver"},
			{"What was lost?", bad, "5 samples", "refused by the receiver, last 1.0 s ago"},
		}},
		"starting": {func(s *Status) {
			e := &s.Endpoints[0]
			e.State, e.Behind, e.UnackedBytes, e.Since = delivery.StateStarting, nil, 5<<20, ago(time.Second)
		}, []answer{
			{"Is it healthy?", busy, "Starting", "0 of 1 endpoints keep up, 1 starting"},
			{"How far behind?", busy, "Not known yet", "main, 5.0 MiB to be sent"},
			{"What pins the disk?", good, "Nothing", "3.0 MiB in 2 segments"},
			{"When is something lost?", busy, "Not known yet", "the log has 3.0 MiB of 10.0 GiB"},
			{"What was lost?", good, "Nothing", "since the start 2 h 0 min ago"},
		}},
		"the disk fills up": {func(s *Status) { s.Disk.Low = true }, []answer{
			{"Is it healthy?", good, "Yes", "the endpoint keeps up"},
			{"How far behind?", good, "Nothing to send", "all is acknowledged"},
			{"What pins the disk?", bad, "Nothing", "3.0 MiB in 2 segments; the disk is nearly full"},
			{"When is something lost?", warn, "Soon", "the disk is nearly full: what is scraped is lost when it is"},
			{"What was lost?", good, "Nothing", "since the start 2 h 0 min ago"},
		}},
		"removed": {func(s *Status) {
			e := &s.Endpoints[0]
			e.State, e.UntilLoss, e.LossLimit = delivery.StateRemoved, to(300.0), "endpoint_removed"
			e.Behind = nil
			s.Endpoints = append(s.Endpoints, Endpoint{EndpointStatus: delivery.EndpointStatus{Name: "old", State: delivery.StateGone, Drops: []delivery.Drop{
				{Kind: delivery.DropExpired, Reason: "endpoint_removed", Samples: 7, Last: *ago(3 * time.Second)},
			}}})
		}, []answer{
			{"Is it healthy?", warn, "Not quite", "0 of 1 endpoints keep up, 1 removed"},
			{"How far behind?", good, unknown, ""},
			{"What pins the disk?", warn, "main", "1.0 MiB, 512 B of it alone"},
			{"When is something lost?", warn, "In 5 min 0 s", "main, by its removal from the configuration, if it does not come back"},
			{"What was lost?", bad, "7 samples", "lost by its removal, last 3.0 s ago"},
		}},
		"catching up": {func(s *Status) {
			e := &s.Endpoints[0]
			e.State, e.Behind, e.CatchUp, e.UnackedBytes = delivery.StateCatchingUp, to(90.0), to(12.0), 5<<20
		}, []answer{
			{"Is it healthy?", busy, "Catching up", "0 of 1 endpoints keep up, 1 catching up"},
			{"How far behind?", busy, "90 s", "main, 5.0 MiB to be sent, caught up in 12 s"},
			{"What pins the disk?", good, "Nothing", "3.0 MiB in 2 segments"},
			{"When is something lost?", good, "Not foreseen", "the log has 3.0 MiB of 10.0 GiB"},
			{"What was lost?", good, "Nothing", "since the start 2 h 0 min ago"},
		}},
		"a full disk, no endpoint": {func(s *Status) {
			s.Endpoints, s.Log.Broken, s.Disk.Low, s.Limits.MaxBytes = nil, "no space left on device", true, 0
			s.Removal = durable.RemovalStatus{WaitsFor: durable.WaitsForAge}
		}, []answer{
			{"Is it healthy?", bad, "No", "The log cannot be written to: no space left on device"},
			{"How far behind?", good, unknown, ""},
			{"What pins the disk?", bad, "Nothing", "3.0 MiB in 2 segments, kept by age without an endpoint; the disk is nearly full"},
			{"When is something lost?", bad, "Now", "the log cannot be written to: what is scraped is lost"},
			{"What was lost?", good, "Nothing", "since the start 2 h 0 min ago"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := example()
			tc.change(s)
			require.Equal(t, tc.want, viewOf(s).Answers)
		})
	}
}

// What an endpoint keeps is that of its name and URL; what is not known is a dash.
func TestRows(t *testing.T) {
	s := example()
	v := viewOf(s)
	require.Len(t, v.Rows, 1)
	require.Equal(t, row{
		Name: "main", URL: "http://receiver/write", Protocol: "remote write 1.0", Level: good, State: "delivering", Since: "for 60 min 0 s",
		Behind: "0.0 s", Newest: unknown, Left: "nothing", Out: unknown, Held: "1.0 MiB", Alone: "512 B alone",
		Loss: "not foreseen", Senders: "1 of 50 senders",
	}, v.Rows[0])
	require.Contains(t, v.Log, fact{"Samples", "2026-05-03 10:30:00 to 12:29:59", good})
	require.Contains(t, v.Log, fact{"Grows", "0 B/s with 1,200 series", good})
	require.Contains(t, v.Ran, fact{"Resumed positions", "2 exact", good})
	require.Contains(t, v.Ran, fact{"Repaired", "nothing", good})

	s.Endpoints[0].Written = to(10_240.0)
	s.Endpoints[0].Drops = []delivery.Drop{{Kind: delivery.DropRefused, Reason: "204", Samples: 1, Exemplars: 2, Last: now}}
	v = viewOf(s)
	require.Contains(t, v.Log, fact{"Grows", "10.0 KiB/s with 1,200 series", good})
	require.Equal(t, []loss{{"main", "accepted and not stored", "status 204", bad, "1 samples, 2 exemplars", unknown, "0.0 s ago"}}, v.Losses)

	// What could not be written is lost to all.
	s.Log.Refused = 7
	v = viewOf(s)
	require.Equal(t, loss{"all", "never written", "the log could not be written to", bad, "7 samples", unknown, unknown}, v.Losses[0])
	require.Equal(t, answer{"What was lost?", bad, "10 samples", "mostly never written, last 0.0 s ago"}, v.Answers[4])

	// An error is shown as long as it may matter.
	e := &s.Endpoints[0]
	e.LastError = &delivery.Failure{Time: *ago(time.Minute), Message: "gone"}
	require.Equal(t, "gone", viewOf(s).Rows[0].Error)
	e.LastError.Time = *ago(errorShown)
	require.Empty(t, viewOf(s).Rows[0].Error)
	e.State, e.Until = delivery.StateRemoved, ago(-time.Minute)
	require.Equal(t, "gone", viewOf(s).Rows[0].Error)
	require.Equal(t, "kept until 12:31:00", viewOf(s).Rows[0].Until)

	e.UntilLoss, e.LossLimit = to(0.0), "endpoint_max_size"
	require.Equal(t, "now", viewOf(s).Rows[0].Loss)
	require.Equal(t, "by endpoint-max-size", viewOf(s).Rows[0].LossLimit)
}

// The form in JSON is flat, has no user of a URL, and leaves out what is not known. The
// encoder of the API makes the same of it as the one of the language.
func TestJSON(t *testing.T) {
	s := example()
	text, err := json.Marshal(s)
	require.NoError(t, err)
	again, err := jsoniter.ConfigCompatibleWithStandardLibrary.Marshal(s)
	require.NoError(t, err)
	require.JSONEq(t, string(text), string(again))
	require.NotContains(t, string(text), "user")
	var got map[string]any
	require.NoError(t, json.Unmarshal(text, &got))
	e := got["endpoints"].([]any)[0].(map[string]any)
	require.Equal(t, "main", e["name"])
	require.EqualValues(t, 1<<20, e["held_bytes"])
	require.Equal(t, []any{}, e["drops"])
	require.NotContains(t, e, "seconds_until_loss")
	require.NotContains(t, e, "until")
	require.NotContains(t, got["log"], "broken")
	require.EqualValues(t, 2, got["start"].(map[string]any)["resumed_positions"].(map[string]any)["exact"])
}

func TestTexts(t *testing.T) {
	for text, want := range map[string]string{
		bytesText(0): "0 B", bytesText(1023): "1023 B", bytesText(1536): "1.5 KiB", bytesText(200 << 20): "200 MiB", bytesText(5 << 60): "5120 PiB",
		countText(7): "7", countText(1234): "1,234", countText(99_999): "99,999", countText(-1234): "-1,234", countText(1_234_567): "1.2 M",
		spanText(-time.Second): "0.0 s", spanText(1500 * time.Millisecond): "1.5 s", spanText(61 * time.Second): "61 s",
		spanText(3 * time.Hour): "3 h 0 min", spanText(50 * time.Hour): "2 d 2 h", secondsText(nil): unknown, spanText(seconds(1e300)): "36500 d 0 h",
		timeText(nil, now): unknown, timeText(&time.Time{}, now): unknown, rateText(to(2048.4)): "2.0 KiB/s",
		protocolText("io.prometheus.write.v2.Request"): "remote write 2.0", protocolText("other"): "other",
	} {
		require.Equal(t, want, text)
	}
	for _, s := range []string{durable.WaitsForSegment, durable.WaitsForTruncation, durable.WaitsForConfiguration, durable.WaitsForAge} {
		require.NotEmpty(t, waitsText(durable.RemovalStatus{WaitsFor: s}))
	}
}
