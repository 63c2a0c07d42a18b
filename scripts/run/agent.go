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
	"net/http"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// delivery is what the agent tells of its endpoint in its metrics.
type delivery struct {
	at        time.Time
	newest    time.Time // The newest sample that was delivered; zero if none was.
	backlog   float64   // Bytes of the log that are not acknowledged.
	delivered float64   // Samples, since the agent started.
	lost      float64   // The same.
	failed    float64   // Samples of requests that failed and are sent again.
	refusing  bool
}

// ask reads the agent's metrics.
func (d *delivery) ask(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return d.read(resp.Body, time.Now())
}

// read takes over what a page of metrics says.
func (d *delivery) read(page io.Reader, at time.Time) error {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(page)
	if err != nil {
		return fmt.Errorf("metrics of the agent: %w", err)
	}
	sum := func(name string) float64 { return total(families["prometheus_remote_storage_"+name]) }
	*d = delivery{
		at: at, backlog: sum("unacked_bytes"),
		failed: sum("samples_retried_total"), refusing: sum("refusing_seconds") > 0,
		lost: sum("samples_failed_total") + sum("samples_expired_total") + sum("unreadable_total"),
	}
	d.delivered = sum("samples_total") - d.failed - sum("samples_failed_total")
	if s := sum("queue_highest_sent_timestamp_seconds"); s > 0 {
		d.newest = time.UnixMilli(int64(s * 1000))
	}
	return nil
}

// total adds up the metrics of a family, of which there may be none.
func total(f *dto.MetricFamily) (sum float64) {
	for _, m := range f.GetMetric() {
		sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return sum
}

// line says how delivery is since an earlier look.
func (d *delivery) line(before *delivery) string {
	seconds := d.at.Sub(before.at).Seconds()
	rate := max(d.delivered-before.delivered, 0) / seconds
	state, left := "delivering", "-"
	late := d.newest.IsZero() || d.at.Sub(d.newest) > 3*scrapeInterval
	switch {
	case d.refusing:
		state = "refused"
	case d.newest.IsZero():
		state = "waiting"
	case late && d.newest.Equal(before.newest):
		state, rate = "retrying", 0 // What is under way is no rate.
	case late:
		state = "catching up"
	}
	if drained := (before.backlog - d.backlog) / seconds; late && drained > 0 {
		left = (time.Duration(d.backlog/drained*10) * time.Second / 10).String()
	}
	newest := "none"
	if !d.newest.IsZero() {
		newest = fmt.Sprintf("%.0f s ago", d.at.Sub(d.newest).Seconds())
	}
	return strings.TrimRight(fmt.Sprintf(columns, d.at.Format(time.TimeOnly), state, newest,
		fmt.Sprintf("%.1f KB", d.backlog/1000), fmt.Sprintf("%.0f/s", rate), left, fmt.Sprintf("%.0f", d.lost)), " ")
}

const columns = "%-10s%-13s%-15s%12s%14s%15s%7s"

// heading is the line above those of line.
func heading() string {
	return fmt.Sprintf(columns, "time", "receiver is", "newest sample", "backlog", "delivered", "caught up in", "lost")
}
