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
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/tsdb/agent/durable"
)

// level is how good a thing is; its names are classes of the page.
type level string

const (
	good level = "good"
	busy level = "busy" // It passes by itself, most likely.
	warn level = "warn" // Somebody should look.
	bad  level = "bad"  // Something is lost, or will be.

	plain level = "plain" // It is none of these.
)

// worse returns the worse of two levels.
func (l level) worse(o level) level {
	order := []level{good, busy, warn, bad}
	if slices.Index(order, o) > slices.Index(order, l) {
		return o
	}
	return l
}

// answer is one of the questions that the page answers.
type answer struct {
	Question string
	Level    level
	Short    string
	Long     string
}

// row is an endpoint on the page.
type row struct {
	Name, URL, Protocol string
	Level               level
	State, Why          string
	Since, Until        string
	Error, ErrorAt      string
	Behind, Newest      string
	Left, LeftSamples   string
	Out, Samples        string
	CatchUp             string
	Held, Alone         string
	Loss, LossLimit     string
	Senders             string
}

// loss is a line of what was not sent.
type loss struct {
	Endpoint, What, Why string
	Level               level
	Count, Bytes, Last  string
}

// fact is a line of what else there is to know.
type fact struct {
	Name, Value string
	Level       level
}

// view is what the page shows.
type view struct {
	Answers  []answer
	Rows     []row
	Losses   []loss
	Log, Ran []fact
}

// levelOf says how good a state is.
func levelOf(s delivery.State) level {
	switch s {
	case delivery.StateDelivering:
		return good
	case delivery.StateStarting, delivery.StateCatchingUp:
		return busy
	case delivery.StateGone:
		return plain // What it has lost is among the losses.
	case delivery.StateOverLimit, delivery.StateHeld, delivery.StateRefusing:
		return bad
	}
	return warn
}

// unwritten is what became of samples that were scraped while the log was broken.
const unwritten = "never written"

// errorShown is how long an error is shown of an endpoint that keeps up again.
const errorShown = 10 * time.Minute

func rowOf(e Endpoint, now time.Time) row {
	st := &e.EndpointStatus
	r := row{
		Name: st.Name, URL: st.URL, Protocol: protocolText(st.Protocol), Level: levelOf(st.State),
		Behind: secondsText(st.Behind), Newest: timeText(st.NewestDelivered, now),
		Left: bytesText(st.UnackedBytes), LeftSamples: "about " + countText(st.UnackedSamples) + " samples",
		Out: rateText(st.Acked), Held: unknown, Loss: unknown,
	}
	r.State, r.Why, _ = strings.Cut(st.Description, ": ")
	if st.UnackedBytes == 0 {
		r.Left, r.LeftSamples = "nothing", ""
	}
	if st.Sent != nil {
		r.Samples = countText(int64(*st.Sent)) + " samples/s"
	}
	if st.CatchUp != nil {
		r.CatchUp = secondsText(st.CatchUp)
	}
	if st.Since != nil {
		r.Since = "for " + spanText(now.Sub(*st.Since))
	}
	if st.Until != nil {
		r.Until = "kept until " + timeText(st.Until, now)
	}
	if f := st.LastError; f != nil && (st.State != delivery.StateDelivering || now.Sub(f.Time) < errorShown) {
		r.Error, r.ErrorAt = f.Message, agoText(f.Time, now)
	}
	if st.Senders > 0 {
		r.Senders = fmt.Sprintf("%d of %d senders", st.Senders, st.MostSenders)
	}
	if h := e.Holding; h != nil {
		r.Held, r.Loss = bytesText(h.Bytes), "not foreseen"
		if lossUnknown(&e, now) {
			r.Loss = "not known yet"
		}
		if h.Alone > 0 {
			r.Alone = bytesText(h.Alone) + " alone"
		}
		if h.UntilLoss != nil {
			r.Loss, r.LossLimit = "in "+secondsText(h.UntilLoss), limitText(h.LossLimit)
			if *h.UntilLoss <= 0 {
				r.Loss = "now"
			}
		}
	}
	return r
}

// protocolText shortens the name of a protocol.
func protocolText(message string) string {
	switch message {
	case "prometheus.WriteRequest":
		return "remote write 1.0"
	case "io.prometheus.write.v2.Request":
		return "remote write 2.0"
	}
	return message
}

// foreseenAfter is how long an endpoint has to stand still before it is known when a limit
// takes something from it.
const foreseenAfter = time.Minute

// lossUnknown reports whether it is too early to say.
func lossUnknown(e *Endpoint, now time.Time) bool {
	behind := e.State != delivery.StateDelivering && e.State != delivery.StateGone
	return behind && (e.Holding == nil || e.UntilLoss == nil) && e.UnackedBytes > 0 && (e.Since == nil || now.Sub(*e.Since) < foreseenAfter)
}

// limitText says which limit it is, as flags do.
func limitText(reason string) string {
	if reason == delivery.ReasonRemoved {
		return "by its removal from the configuration"
	}
	return "by " + strings.ReplaceAll(reason, "_", "-")
}

func lossOf(name string, d delivery.Drop, now time.Time) loss {
	l := loss{Endpoint: name, Why: strings.ReplaceAll(d.Reason, "_", " "), Level: bad, Last: agoText(d.Last, now)}
	switch d.Kind {
	case delivery.DropExpired:
		l.What = "taken by a limit"
		switch d.Reason {
		case "other_engine":
			l.What = "removed by another engine"
		case delivery.ReasonRemoved:
			l.What, l.Why = "lost by its removal", "it was removed from the configuration, and did not come back in time"
		}
	case delivery.DropRefused:
		l.What, l.Why = "refused by the receiver", "status "+d.Reason
		if strings.HasPrefix(d.Reason, "2") {
			l.What = "accepted and not stored"
		}
	case delivery.DropUnreadable:
		l.What = "not readable"
	default:
		l.What, l.Level = "left out", plain
		if d.Reason == "other_engine" {
			l.What, l.Why = "passed over", "another engine wrote it in between, and is taken to have delivered it"
		}
	}
	var parts []string
	for _, p := range []struct {
		n    int64
		what string
	}{{d.Samples, "samples"}, {d.Histograms, "histograms"}, {d.Exemplars, "exemplars"}} {
		if p.n > 0 {
			parts = append(parts, countText(p.n)+" "+p.what)
		}
	}
	l.Count, l.Bytes = strings.Join(parts, ", "), unknown
	if d.Bytes > 0 {
		l.Bytes = bytesText(d.Bytes)
	}
	return l
}

// waitsText says what the removal of the oldest segment waits for.
func waitsText(r durable.RemovalStatus) string {
	switch r.WaitsFor {
	case durable.WaitsForEndpoints:
		return strings.Join(r.Endpoints, ", ")
	case durable.WaitsForTruncation:
		return "the next truncation; no endpoint needs the oldest segment"
	case durable.WaitsForConfiguration:
		return "the first configuration"
	case durable.WaitsForAge:
		return "age; there is no endpoint"
	}
	return "a segment to be finished; there is only the one in use"
}

func logFacts(s *Status) []fact {
	limit := "none"
	if n := s.Limits.MaxBytes; n > 0 {
		limit = bytesText(n)
		if s.Limits.BySpace {
			limit += ", by the free space of the disk"
		}
	}
	for _, more := range []struct {
		set  bool
		text string
	}{
		{s.Limits.MaxSeconds > 0, spanText(seconds(s.Limits.MaxSeconds)) + " of age"},
		{s.Limits.EndpointBytes > 0, bytesText(s.Limits.EndpointBytes) + " for each endpoint"},
		{s.Limits.EndpointSeconds > 0, spanText(seconds(s.Limits.EndpointSeconds)) + " for each endpoint"},
	} {
		if more.set {
			limit += "; " + more.text
		}
	}
	growth := s.Log.Growth
	for _, e := range s.Endpoints {
		if e.Written != nil {
			growth = *e.Written // As it is now.
		}
	}
	facts := []fact{
		{"Size", fmt.Sprintf("%s, %d to %d", sizeText(s), s.Log.First, s.Log.Last), good},
		{"Limit", limit, good},
		{"Samples", timeText(s.Log.OldestSample, s.Time) + " to " + timeText(s.Log.NewestSample, s.Time), good},
		{"Grows", rateText(&growth) + " with " + countText(int64(s.Log.Series)) + " series", good},
		{"Removal waits for", waitsText(s.Removal), good},
	}
	if s.Log.Broken != "" {
		facts = append(facts, fact{"Cannot be written to", s.Log.Broken, bad})
	}
	if d := s.Disk; d != nil {
		f := fact{"Disk", bytesText(d.Free) + " free of " + bytesText(d.Total), good}
		if d.Low {
			f.Level = bad
		}
		facts = append(facts, f)
	}
	checkpoint := "none yet"
	if s.Log.Checkpoint >= 0 {
		checkpoint = fmt.Sprintf("up to segment %d", s.Log.Checkpoint)
	}
	covered := "none yet"
	if s.Snapshot.Present {
		covered = fmt.Sprintf("up to segment %d, %s series, %s", s.Snapshot.Covered, countText(int64(s.Snapshot.Series)), bytesText(s.Snapshot.Bytes))
	}
	return append(facts, fact{"Checkpoint", checkpoint, good}, withFailures("Snapshot of series", covered, s.Snapshot.Failures))
}

// withFailures adds how often something could not be written.
func withFailures(name, value string, n int64) fact {
	if n == 0 {
		return fact{name, value, good}
	}
	return fact{name, fmt.Sprintf("%s; could not be written %d times", value, n), warn}
}

func startFacts(s *Status) []fact {
	facts := []fact{
		{"Started", timeText(&s.Start.Time, s.Time) + ", the log was read in " + spanText(seconds(s.Start.Took)), good},
		{"Resumed positions", countsText(s.Start.Resumed, "none"), good},
		{"Repaired", countsText(s.Start.Repairs, "nothing"), good},
	}
	if len(s.Start.SnapshotProblems) > 0 {
		facts = append(facts, fact{"Snapshot made anew", countsText(s.Start.SnapshotProblems, ""), good})
	}
	if n := s.Start.UnknownRefs; n > 0 {
		facts = append(facts, fact{"Without series", countText(n) + " samples of the log", bad})
	}
	var again, left int64
	for _, e := range s.Endpoints {
		again += e.Resent
		left += e.ReplayBytes
	}
	repeated := countText(again) + " samples"
	if left > 0 {
		repeated += ", " + bytesText(left) + " may follow"
	}
	return append(facts, fact{"Sent again", repeated, good}, withFailures("Savepoint", spanText(seconds(s.Savepoint.Age))+" old", s.Savepoint.Failures))
}

// countsText lists numbers by what they count.
func countsText(counts map[string]int64, none string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if n := counts[name]; n > 0 {
			all = append(all, fmt.Sprintf("%s %s", countText(n), strings.ReplaceAll(name, "_", " ")))
		}
	}
	if len(all) == 0 {
		return none
	}
	return strings.Join(all, ", ")
}
