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
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// delivery is what the agent tells of its endpoints, of which there is one; the fields
// are described in docs/delivery-api.md.
type delivery struct {
	Time      time.Time
	Endpoints []endpoint
	Log       struct {
		RefusedSamples int64 `json:"refused_samples"`
	}
}

type endpoint struct {
	Name, State   string
	BehindSeconds *float64 `json:"behind_seconds"`
	UnackedBytes  float64  `json:"unacked_bytes"`
	Rate          *float64 `json:"acked_samples_per_second"`
	CatchUp       *float64 `json:"catch_up_seconds"`
	Drops         []struct {
		Kind                           string
		Samples, Histograms, Exemplars int64
	}
}

// ask reads the status of delivery.
func (d *delivery) ask(ctx context.Context, addr string) (err error) {
	if *d, err = get[delivery](ctx, "http://"+addr+"/api/v1/status/delivery"); err != nil {
		return fmt.Errorf("status of the agent: %w", err)
	}
	return nil
}

// lost counts what no endpoint, or one of them, will ever get. What the configuration
// leaves out is not lost.
func (d *delivery) lost() int64 {
	sum := d.Log.RefusedSamples
	for _, e := range d.Endpoints {
		sum += e.lost()
	}
	return sum
}

func (e *endpoint) lost() (sum int64) {
	for _, drop := range e.Drops {
		if drop.Kind != "left_out" {
			sum += drop.Samples + drop.Histograms + drop.Exemplars
		}
	}
	return sum
}

const columns = "%-10s%-10s%-13s%9s%12s%14s%15s%7s\n"

// heading is the line above those of show.
func heading(out io.Writer) {
	fmt.Fprintf(out, columns, "time", "endpoint", "state", "behind", "backlog", "acknowledged", "caught up in", "lost")
}

// show prints a line per endpoint.
func (d *delivery) show(out io.Writer) {
	for _, e := range d.Endpoints {
		fmt.Fprintf(out, columns, d.Time.Local().Format(time.TimeOnly), e.Name, strings.ReplaceAll(e.State, "_", " "),
			known("%.0f s", e.BehindSeconds), fmt.Sprintf("%.1f KB", e.UnackedBytes/1000), known("%.0f/s", e.Rate),
			known("%.1f s", e.CatchUp), strconv.FormatInt(e.lost(), 10))
	}
}

// known formats a value that is absent as long as it is not known.
func known(format string, value *float64) string {
	if value == nil {
		return "-"
	}
	return fmt.Sprintf(format, *value)
}
