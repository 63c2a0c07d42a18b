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
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/config"
)

func TestConfigurationIsValid(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, addresses{receiver: "127.0.0.1:1", agent: "127.0.0.1:2", example: "127.0.0.1:3"}.configure(dir))
	conf, err := config.LoadFile(filepath.Join(dir, "agent.yml"), true, promslog.NewNopLogger())
	require.NoError(t, err)
	require.Len(t, conf.ScrapeConfigs, len(jobs))
	require.Equal(t, "receiver", conf.RemoteWriteConfigs[0].Name)
	_, err = config.LoadFile(filepath.Join(dir, "receiver.yml"), false, promslog.NewNopLogger())
	require.NoError(t, err)
}

func TestTarget(t *testing.T) {
	target, err := startTarget()
	require.NoError(t, err)
	defer target.Close()
	resp, err := http.Get("http://" + target.Addr + "/metrics")
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	for _, name := range []string{"example_orders_total", "example_stock_items", "example_packing_seconds_bucket"} {
		require.Contains(t, string(text), name)
	}
}

func TestView(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		result := `{"metric":{"job":"agent"},"value":[9.5,"7"]},{"metric":{"job":"example"},"value":[9.5,"3"]}`
		if strings.HasPrefix(r.FormValue("query"), "up[") {
			// One scrape of the agent is missing, and they are never exactly on time.
			result = `{"metric":{"job":"agent"},"values":[[10,"1"],[12.01,"0"],[16.003,"1"]]},{"metric":{"job":"example"},"values":[[11,"0"]]}`
		}
		_, _ = io.WriteString(w, `{"status":"success","data":{"result":[`+result+`]}}`)
	}))
	defer s.Close()
	rows, err := view{api: s.URL, began: time.Now()}.query(t.Context())
	require.NoError(t, err)
	require.Equal(t, []row{
		{job: "agent", series: 7, scrapes: 3, missing: 1, newest: time.UnixMilli(16_003), up: true},
		{job: "receiver"},
		{job: "example", series: 3, scrapes: 1, newest: time.UnixMilli(11_000)},
	}, rows)
	require.False(t, complete(rows, time.UnixMilli(16_003)))
	for i := range rows {
		rows[i].up, rows[i].scrapes, rows[i].newest = true, enough, time.UnixMilli(16_000)
	}
	require.True(t, complete(rows, time.UnixMilli(16_003)))
	require.False(t, complete(rows, time.UnixMilli(26_003)), "a backlog may have begun to arrive only")

	rows[1].scrapes = 0
	rows[0].newest = time.Now().Add(-time.Hour)
	var out strings.Builder
	require.NoError(t, show(&out, rows))
	require.Contains(t, out.String(), "3600.")
	require.Contains(t, out.String(), "none")
}

func TestViewErrors(t *testing.T) {
	for name, body := range map[string]string{"refused": `{"status":"error","error":"bad query"}`, "no JSON": "x"} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
			defer s.Close()
			rows, err := view{api: s.URL, began: time.Now()}.query(t.Context())
			require.ErrorContains(t, err, "query")
			require.False(t, complete(rows, time.Now()))
		})
	}
}

func TestMissingBinary(t *testing.T) {
	err := demonstrate(t.Context(), options{binary: filepath.Join(t.TempDir(), "none"), data: t.TempDir(), once: true}, nil, io.Discard)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestDeliveryLines: what is not known yet is a dash, and what the configuration leaves
// out is not lost.
func TestDeliveryLines(t *testing.T) {
	body := `{"status":"success","data":{"time":"2026-01-02T03:04:05Z","log":{"refused_samples":2},"endpoints":[
{"name":"one","state":"catching_up","behind_seconds":20.4,"unacked_bytes":5040,"acked_samples_per_second":99.7,"catch_up_seconds":2.5,
 "drops":[{"kind":"expired","samples":3,"histograms":4,"exemplars":5},{"kind":"left_out","samples":100}]},
{"name":"two","state":"retrying","unacked_bytes":0,"drops":[]}]}}`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/status/delivery" {
			_, _ = io.WriteString(w, body)
		}
	}))
	defer s.Close()
	var d delivery
	require.NoError(t, d.ask(t.Context(), s.Listener.Addr().String()))
	var out strings.Builder
	d.show(&out)
	clock := d.Time.Local().Format(time.TimeOnly)
	require.Equal(t, clock+"  one       catching up       20 s      5.0 KB         100/s          2.5 s     12\n"+
		clock+"  two       retrying             -      0.0 KB             -              -      0\n", out.String())
	require.Equal(t, int64(14), d.lost(), "with what the log could not take")

	body = `{"status":"error","error":"the log is not open"}`
	require.ErrorContains(t, d.ask(t.Context(), s.Listener.Addr().String()), "status of the agent: the log is not open")
}
