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
	require.False(t, complete(rows))
	for i := range rows {
		rows[i].up, rows[i].scrapes = true, enough
	}
	require.True(t, complete(rows))

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
			require.False(t, complete(rows))
		})
	}
}

func TestMissingBinary(t *testing.T) {
	err := demonstrate(t.Context(), filepath.Join(t.TempDir(), "none"), t.TempDir(), true, io.Discard)
	require.ErrorIs(t, err, os.ErrNotExist)
}
