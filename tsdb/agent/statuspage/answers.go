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
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/tsdb/agent/durable"
)

// lossSoon is how near a loss is that somebody should look at.
const lossSoon = 6 * time.Hour

// viewOf returns what the page shows of a status.
func viewOf(s *Status) view {
	v := view{Log: logFacts(s), Ran: startFacts(s)}
	if n := s.Log.Refused; n > 0 {
		v.Losses = append(v.Losses, loss{Endpoint: "all", What: unwritten, Why: "the log could not be written to", Level: bad, Count: countText(n) + " samples", Bytes: unknown, Last: unknown})
	}
	for _, e := range s.Endpoints {
		v.Rows = append(v.Rows, rowOf(e, s.Time))
		for _, d := range e.Drops {
			v.Losses = append(v.Losses, lossOf(e.EndpointStatus.Name, d, s.Time))
		}
	}
	v.Answers = []answer{health(s), behind(s), pins(s), danger(s), lost(s)}
	return v
}

// health answers whether all is well.
func health(s *Status) answer {
	a := answer{Question: "Is it healthy?", Level: good}
	count, n := map[delivery.State]int{}, 0
	for i := range s.Endpoints {
		st := s.Endpoints[i].State
		if st == delivery.StateGone {
			continue
		}
		n++
		count[st]++
		a.Level = a.Level.worse(levelOf(st))
	}
	switch {
	case s.Log.Broken != "":
		return answer{a.Question, bad, "No", "The log cannot be written to: " + s.Log.Broken}
	case n == 0:
		return answer{a.Question, warn, "No endpoint", "The configuration has no remote_write."}
	}
	a.Short = map[level]string{good: "Yes", busy: "Catching up", warn: "Not quite", bad: "No"}[a.Level]
	if a.Level == busy && count[delivery.StateCatchingUp] == 0 {
		a.Short = "Starting"
	}
	a.Long = fmt.Sprintf("%d of %d endpoints keep up", count[delivery.StateDelivering], n)
	if n == 1 && a.Level == good {
		a.Long = "the endpoint keeps up"
	}
	delete(count, delivery.StateDelivering)
	for _, st := range slices.Sorted(maps.Keys(count)) {
		a.Long += fmt.Sprintf(", %d %s", count[st], strings.ReplaceAll(string(st), "_", " "))
	}
	if name, _ := losing(s); name != "" {
		a.Level, a.Short, a.Long = bad, "No", a.Long+", "+name+" loses samples"
	}
	return a
}

// behind answers how far behind the worst endpoint is.
func behind(s *Status) answer {
	a := answer{Question: "How far behind?", Level: good, Short: "Nothing to send"}
	var most *Endpoint
	for i := range s.Endpoints {
		if e := &s.Endpoints[i]; e.Behind != nil && (most == nil || *e.Behind > *most.Behind) {
			most = e
		}
	}
	if most == nil {
		a.Short = unknown
		for _, e := range s.Endpoints {
			if e.State == delivery.StateStarting {
				a.Short, a.Level = "Not known yet", busy
				a.Long = fmt.Sprintf("%s, %s to be sent", e.EndpointStatus.Name, bytesText(e.UnackedBytes))
			}
		}
		return a
	}
	name := most.EndpointStatus.Name
	if *most.Behind > 0 {
		a.Short, a.Level = secondsText(most.Behind), levelOf(most.State)
		a.Long = fmt.Sprintf("%s, %s to be sent", name, bytesText(most.UnackedBytes))
	} else if a.Long = "all is acknowledged"; most.State == delivery.StateRefusing {
		a.Long = "all is refused"
	}
	switch {
	case most.CatchUp != nil:
		a.Long += ", caught up in " + secondsText(most.CatchUp)
	case most.State == delivery.StateCatchingUp:
		a.Long += ", the rate is too low to catch up"
	}
	return a
}

// pins answers what keeps the oldest segment.
func pins(s *Status) answer {
	a := answer{Question: "What pins the disk?", Level: good, Short: "Nothing", Long: sizeText(s)}
	var names []string
	for _, e := range s.Endpoints {
		name, l := e.EndpointStatus.Name, levelOf(e.State)
		if slices.Contains(s.Removal.Endpoints, name) || (len(s.Removal.Endpoints) == 0 && (l == warn || l == bad)) {
			names, a.Level = append(names, name), a.Level.worse(l)
			if e.Holding != nil && e.Alone > 0 {
				a.Long = fmt.Sprintf("%s, %s of it alone", bytesText(e.Bytes), bytesText(e.Alone))
			}
		}
	}
	switch {
	case len(names) > 0:
		a.Short = strings.Join(names, ", ")
	case s.Removal.WaitsFor == durable.WaitsForConfiguration:
		a.Short, a.Level = "The start", busy
	case s.Removal.WaitsFor == durable.WaitsForAge:
		a.Long += ", kept by age without an endpoint"
	}
	if s.Disk != nil && s.Disk.Low {
		a.Level, a.Long = bad, a.Long+"; the disk is nearly full"
	}
	return a
}

// sizeText says how large the log is.
func sizeText(s *Status) string {
	if s.Log.Segments == 1 {
		return bytesText(s.Log.Bytes) + " in one segment"
	}
	return fmt.Sprintf("%s in %d segments", bytesText(s.Log.Bytes), s.Log.Segments)
}

// danger answers when a limit takes something first.
func danger(s *Status) answer {
	a := answer{Question: "When is something lost?", Level: good, Short: "Not foreseen", Long: "limit " + unknown}
	if n := s.Limits.MaxBytes; n > 0 {
		a.Long = fmt.Sprintf("the log has %s of %s", bytesText(s.Log.Bytes), bytesText(n))
	}
	var first *Endpoint
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		if e.Holding != nil && e.UntilLoss != nil && (first == nil || *e.UntilLoss < *first.UntilLoss) {
			first = e
		}
	}
	name, what := losing(s)
	switch {
	case s.Log.Broken != "":
		return answer{a.Question, bad, "Now", "the log cannot be written to: what is scraped is lost"}
	case name != "":
		return answer{a.Question, bad, "Now", name + ", " + what}
	case first != nil:
	case s.Disk != nil && s.Disk.Low:
		return answer{a.Question, warn, "Soon", "the disk is nearly full: what is scraped is lost when it is"}
	case slices.ContainsFunc(s.Endpoints, func(e Endpoint) bool { return lossUnknown(&e, s.Time) }):
		return answer{a.Question, busy, "Not known yet", a.Long}
	default:
		return a
	}
	a.Short, a.Level = "In "+secondsText(first.UntilLoss), busy
	if *first.UntilLoss < lossSoon.Seconds() {
		a.Level = warn
	}
	if first.State == delivery.StateOverLimit || *first.UntilLoss <= 0 {
		a.Short, a.Level = "Now", bad
	}
	unless := map[string]string{delivery.ReasonRemoved: "it does not come back", delivery.ReasonRefused: "the receiver goes on refusing"}[first.LossLimit]
	a.Long = fmt.Sprintf("%s, %s, if %s", first.EndpointStatus.Name, limitText(first.LossLimit), cmp.Or(unless, "nothing is delivered"))
	return a
}

// losing names an endpoint whose receiver did not store something within the last minute, and
// says what.
func losing(s *Status) (name, what string) {
	for _, e := range s.Endpoints {
		for _, d := range e.Drops {
			if d.Kind == delivery.DropRefused && s.Time.Sub(d.Last) < time.Minute {
				return e.EndpointStatus.Name, lossOf("", d, s.Time).What
			}
		}
	}
	return "", ""
}

// lost answers what was lost since the start.
func lost(s *Status) answer {
	a := answer{Question: "What was lost?", Level: good, Short: "Nothing", Long: "since the start " + spanText(s.Time.Sub(s.Start.Time)) + " ago"}
	var (
		n    int64
		last time.Time
		by   = map[string]int64{}
	)
	for _, e := range s.Endpoints {
		for _, d := range e.Drops {
			if d.Kind == delivery.DropLeftOut {
				continue
			}
			items := d.Samples + d.Histograms + d.Exemplars
			n += items
			by[lossOf("", d, s.Time).What] += items
			if d.Last.After(last) {
				last = d.Last
			}
		}
	}
	if s.Log.Refused > 0 {
		n += s.Log.Refused
		by[unwritten] += s.Log.Refused
	}
	if n == 0 {
		return a
	}
	a.Short, a.Level = countText(n)+" samples", bad
	most := slices.MaxFunc(slices.Sorted(maps.Keys(by)), func(x, y string) int { return cmp.Compare(by[x], by[y]) })
	a.Long = most
	if len(by) > 1 {
		a.Long = "mostly " + most
	}
	if !last.IsZero() {
		a.Long += ", last " + agoText(last, s.Time)
	}
	return a
}
