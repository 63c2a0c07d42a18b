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
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"
)

// enough scrapes of a job make it one that arrives.
const enough = 3

// row is what the receiver has of one job since the start.
type row struct {
	job             string
	series, scrapes int
	// missing counts the scrapes that should be between the first and the last.
	missing int
	newest  time.Time
	up      bool
}

// view asks the receiver.
type view struct {
	api   string
	began time.Time
}

// answer is a query's result: one value per job, or its values over time.
type answer struct {
	Metric struct{ Job string }
	Value  sample
	Values []sample
}

// query returns one row per job, also for those of which nothing is there.
func (v view) query(ctx context.Context) ([]row, error) {
	counts, err := v.ask(ctx, `count by (job) ({job!=""})`)
	if err != nil {
		return nil, err
	}
	scrapes, err := v.ask(ctx, fmt.Sprintf("up[%ds]", max(int(time.Since(v.began).Seconds()), 1)))
	if err != nil {
		return nil, err
	}
	rows := make([]row, len(jobs))
	for i, job := range jobs {
		rows[i].job = job
		for _, a := range counts {
			if a.Metric.Job == job {
				rows[i].series = int(a.Value.value)
			}
		}
		for _, a := range scrapes {
			if a.Metric.Job == job {
				rows[i].count(a.Values)
			}
		}
	}
	return rows, nil
}

// count takes over the scrapes of one target, in the order of time.
func (r *row) count(scrapes []sample) {
	for i, s := range scrapes {
		if i > 0 {
			r.missing += int(s.time.Sub(r.newest).Round(scrapeInterval)/scrapeInterval) - 1
		}
		r.newest, r.up = s.time, s.value == 1
	}
	r.scrapes += len(scrapes)
}

// ask evaluates an expression now.
func (v view) ask(ctx context.Context, expr string) ([]answer, error) {
	found, err := get[struct{ Result []answer }](ctx, v.api+"/api/v1/query?query="+url.QueryEscape(expr))
	if err != nil {
		return nil, fmt.Errorf("query %s: %w", expr, err)
	}
	return found.Result, nil
}

// get returns the data of an answer of the API, which both processes have.
func get[T any](ctx context.Context, from string) (data T, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, http.NoBody)
	if err != nil {
		return data, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return data, err
	}
	defer resp.Body.Close()
	var body struct {
		Error string
		Data  T
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		return data, err
	}
	if body.Error != "" {
		return data, errors.New(body.Error)
	}
	return body.Data, nil
}

// sample is written as a pair of seconds and a quoted number.
type sample struct {
	time  time.Time
	value float64
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *sample) UnmarshalJSON(text []byte) error {
	var seconds float64
	var quoted string
	if err := json.Unmarshal(text, &[2]any{&seconds, &quoted}); err != nil {
		return err
	}
	s.time = time.UnixMilli(int64(seconds * 1000))
	var err error
	s.value, err = strconv.ParseFloat(quoted, 64)
	return err
}

// complete tells whether every job arrives, and has arrived until now.
func complete(rows []row, now time.Time) bool {
	for _, r := range rows {
		if !r.up || r.scrapes < enough || now.Sub(r.newest) > 3*scrapeInterval {
			return false
		}
	}
	return len(rows) == len(jobs)
}

// show prints the rows as a table.
func show(out io.Writer, rows []row) error {
	t := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "in the receiver\tseries\tscrapes since start\tmissing between\tnewest sample\t")
	for _, r := range rows {
		age := "none"
		if r.scrapes > 0 {
			age = fmt.Sprintf("%.1f s ago", time.Since(r.newest).Seconds())
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%s\t\n", r.job, r.series, r.scrapes, r.missing, age)
	}
	fmt.Fprintln(t)
	return t.Flush()
}
