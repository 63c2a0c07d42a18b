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
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ackwal/ackwal/conformance"
)

// Results are everything that the page tells.
type Results struct {
	Date    string `json:"date"`
	Machine string `json:"machine"`
	// Versions of the programs, by their names.
	Versions map[string]string `json:"versions"`
	Series   int               `json:"series"`
	Interval string            `json:"interval"` // Between scrapes.
	Senders  []SenderResults   `json:"senders"`
	// Late are receivers of a late backlog, two of each: in order, and with fresh first.
	Late []SenderResults `json:"late,omitempty"`
	// LeftOut are the senders whose program was not there.
	LeftOut []string `json:"leftOut,omitempty"`
}

// SenderResults are what one sender showed.
type SenderResults struct {
	Name   string               `json:"name"`
	Cases  []conformance.Result `json:"cases"`
	Curves map[string]Curve     `json:"curves,omitempty"` // By case, of those that are drawn.
}

// Curve is what of the samples that had been scraped a receiver had not stored, over
// the time of a case.
type Curve struct {
	Seconds     []float64 `json:"seconds"` // Since the first scrape.
	Outstanding []int     `json:"outstanding"`
	Events      []Moment  `json:"events"`
}

// Moment is an event of the case.
type Moment struct {
	Seconds float64               `json:"seconds"`
	What    conformance.Happening `json:"what"`
}

func (r *Results) save(path string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o666)
}

func load(path string) (*Results, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &Results{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s is not a file of results: %w", path, err)
	}
	return r, nil
}

// grain is how far the points of a curve are apart.
const grain = 200 * time.Millisecond

// curve reads the logs that a case left in its directory. A sample counts when it is
// first stored, in whatever order.
func curve(dir, receiver string, series int) (c Curve, err error) {
	scrapes, err := lines[conformance.Scrape](filepath.Join(dir, "target.jsonl"))
	if err != nil {
		return c, err
	}
	requests, err := lines[conformance.Request](filepath.Join(dir, "receiver-"+receiver+".jsonl"))
	if err != nil {
		return c, err
	}
	events, err := lines[conformance.Event](filepath.Join(dir, "events.jsonl"))
	if err != nil {
		return c, err
	}
	if len(scrapes) == 0 {
		return c, fmt.Errorf("nothing was scraped in %s", dir)
	}
	start, end := scrapes[0].Served, scrapes[len(scrapes)-1].Served
	if len(requests) > 0 && requests[len(requests)-1].At.After(end) {
		end = requests[len(requests)-1].At.Add(grain)
	}
	away := false
	for _, e := range events {
		if e.Receiver != "" && e.Receiver != receiver || e.What == conformance.ReceiverBack && !away {
			continue
		}
		away = e.What == conformance.ReceiverAway || away && e.What != conformance.ReceiverBack
		if at := e.At.Sub(start).Seconds(); at > 0 {
			c.Events = append(c.Events, Moment{Seconds: hundredths(at), What: e.What})
		}
	}
	stored := map[[2]int64]bool{}
	for t, i, j := start, 0, 0; !t.After(end); t = t.Add(grain) {
		for ; i < len(scrapes) && !scrapes[i].Served.After(t); i++ {
		}
		for ; j < len(requests) && !requests[j].At.After(t); j++ {
			for _, a := range requests[j].Arrivals {
				if a.Fate == conformance.Stored || a.Fate == conformance.Overtaken && requests[j].Status/100 == 2 {
					stored[[2]int64{int64(a.Series), a.Number}] = true
				}
			}
		}
		c.Seconds = append(c.Seconds, hundredths(t.Sub(start).Seconds()))
		c.Outstanding = append(c.Outstanding, max(i*series-len(stored), 0))
	}
	return c, nil
}

func hundredths(seconds float64) float64 { return float64(int(seconds*100+0.5)) / 100 }

// lines reads a file of one JSON value a line.
func lines[T any](path string) (all []T, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	scanner := bufio.NewScanner(bytes.NewReader(text))
	scanner.Buffer(nil, len(text)+1)
	for scanner.Scan() {
		var x T
		if err := json.Unmarshal(scanner.Bytes(), &x); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, x)
	}
	return all, scanner.Err()
}
