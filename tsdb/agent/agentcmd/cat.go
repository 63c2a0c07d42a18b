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

package agentcmd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/alecthomas/kingpin/v2"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/tsdb/agent/inspect"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// line is an item as JSON.
type line struct {
	Labels    labels.Labels  `json:"labels"`
	Timestamp int64          `json:"timestamp_ms"`
	Start     int64          `json:"start_timestamp_ms,omitempty"`
	Value     string         `json:"value,omitempty"` // As in the HTTP API, since JSON has no NaN.
	Histogram string         `json:"histogram,omitempty"`
	Exemplar  *labels.Labels `json:"exemplar_labels,omitempty"`
}

func (c *Commands) cat(agent *kingpin.CmdClause) {
	var (
		format, from, to *string
		match            *[]string
		limit            *int
	)
	cmd := c.command(agent, "cat", "Print the samples, histograms and exemplars of a data directory, in the order of its log. Reads only, and needs no lock.", func(ctx context.Context, dir string) (int, error) {
		sets, err := parser.NewParser(parser.Options{}).ParseMetricSelectors(*match)
		if err != nil {
			return exitFailed, fmt.Errorf("%w; --match takes a selector such as '{job=\"node\"}'", err)
		}
		mint, err := timeOf("min-time", *from, math.MinInt64)
		if err != nil {
			return exitFailed, err
		}
		maxt, err := timeOf("max-time", *to, math.MaxInt64)
		if err != nil {
			return exitFailed, err
		}
		w := bufio.NewWriterSize(c.out, 1<<16)
		printed := 0
		err = look(dir, func(d *inspect.Directory) error {
			return d.Each(ctx, func(it delivery.LoggedItem) error {
				if it.T < mint || it.T > maxt || !matches(sets, it.Labels) {
					return nil
				}
				printed++
				if *limit > 0 && printed > *limit {
					return inspect.ErrEnough
				}
				if *format == formatJSON {
					return json.NewEncoder(w).Encode(lineOf(it))
				}
				_, err := fmt.Fprintln(w, textOf(it))
				return err
			})
		})
		return exitOK, errors.Join(err, w.Flush())
	})
	match = cmd.Flag("match", "Series selector. Can be given several times; then series that match any of them are printed.").Strings()
	from = cmd.Flag("min-time", "Only of this time or later: RFC 3339, or ms since the epoch.").String()
	to = cmd.Flag("max-time", "Only of this time or earlier.").String()
	limit = cmd.Flag("limit", "How many to print at most, 0 for all.").Default("0").Int()
	format = formatOf(cmd)
}

func timeOf(flag, s string, none int64) (int64, error) {
	if s == "" {
		return none, nil
	}
	t, err := inspect.ParseTime(s)
	if err != nil {
		return 0, fmt.Errorf("--%s: %w", flag, err)
	}
	return t.UnixMilli(), nil
}

func matches(sets [][]*labels.Matcher, lset labels.Labels) bool {
	for _, set := range sets {
		all := true
		for _, m := range set {
			all = all && m.Matches(lset.Get(m.Name))
		}
		if all {
			return true
		}
	}
	return len(sets) == 0
}

func histogramOf(it delivery.LoggedItem) string {
	switch {
	case it.Histogram != nil:
		return it.Histogram.String()
	case it.FloatHistogram != nil:
		return it.FloatHistogram.String()
	}
	return ""
}

func lineOf(it delivery.LoggedItem) line {
	l := line{Labels: it.Labels, Timestamp: it.T, Start: it.ST, Histogram: histogramOf(it)}
	if l.Histogram == "" {
		l.Value = strconv.FormatFloat(it.V, 'g', -1, 64)
	}
	if it.Exemplar != nil {
		l.Exemplar = &it.Exemplar.Labels
	}
	return l
}

// textOf renders an item as upstream's dumps do: series, value, time in ms. An
// exemplar's labels and value follow a number sign.
func textOf(it delivery.LoggedItem) string {
	value := histogramOf(it)
	if value == "" {
		value = strconv.FormatFloat(it.V, 'g', -1, 64)
	}
	if it.Exemplar != nil {
		value = "# " + it.Exemplar.Labels.String() + " " + value
	}
	return it.Labels.String() + " " + value + " " + strconv.FormatInt(it.T, 10)
}
