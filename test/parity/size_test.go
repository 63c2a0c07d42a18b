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

package parity

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/atomic"
)

// BenchmarkLogSize measures what a sample costs in the log while an endpoint
// does not take it, for the table in docs/operations.md. An agent scrapes a
// number of series every second, its endpoint is down. Run it with
//
//	go test -run '^$' -bench LogSize -benchtime 1x ./test/parity
//
// The first scrape, which writes the labels, is reported apart.
func BenchmarkLogSize(b *testing.B) {
	const series = 5000
	loads := []struct {
		name  string
		value func(rng *rand.Rand, i, n int, last float64) float64
	}{
		{name: "still", value: func(_ *rand.Rand, i, _ int, _ float64) float64 { return float64(i % 10) }},
		{name: "mixed", value: func(rng *rand.Rand, i, _ int, last float64) float64 {
			switch i % 10 {
			case 0, 1, 2, 3: // A counter or gauge at rest.
				return float64(i)
			case 4, 5, 6, 7: // A counter at work.
				return last + float64(rng.Intn(1000))
			case 8: // A sum of seconds.
				return last + rng.Float64()
			}
			return rng.NormFloat64()
		}},
		{name: "random", value: func(rng *rand.Rand, _, _ int, _ float64) float64 { return rng.NormFloat64() }},
	}
	for _, l := range loads {
		for _, compression := range []string{"snappy", "zstd", "none"} {
			b.Run(fmt.Sprintf("%s/%s", l.name, compression), func(b *testing.B) {
				rng := rand.New(rand.NewSource(1))
				values := make([]float64, series)
				scrapes := atomic.NewInt64(0)
				mux := http.NewServeMux()
				mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
					n := int(scrapes.Inc())
					var page bytes.Buffer
					for i := range values {
						values[i] = l.value(rng, i, n, values[i])
						fmt.Fprintf(&page, "http_server_requests_seconds_bucket{method=\"GET\",path=\"/api/v1/things/%d\",status=\"200\"} %v\n", i, values[i])
					}
					w.Header().Set("Content-Type", plainText)
					_, _ = w.Write(page.Bytes())
				})
				mux.HandleFunc("/write", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
				server := httptest.NewServer(mux)
				defer server.Close()
				config := fmt.Sprintf(`
global: {scrape_interval: 1s}
scrape_configs: [{job_name: size, static_configs: [{targets: [%q]}]}]
remote_write: [{url: "%s/write"}]
`, strings.TrimPrefix(server.URL, "http://"), server.URL)
				_, ours := engines(b)
				flag := "--no-storage.agent.wal-compression"
				if compression != "none" {
					flag = "--storage.agent.wal-compression-type=" + compression
				}
				a := ours.start(b, config, flag)

				size := func() (bytes int64) {
					require.NoError(b, filepath.WalkDir(filepath.Join(a.dir, "data", "wal"), func(_ string, d fs.DirEntry, err error) error {
						if err != nil || d.IsDir() {
							return err
						}
						info, err := d.Info()
						bytes += info.Size()
						return err
					}))
					return bytes
				}
				appended := func() float64 {
					families, err := a.metrics()
					require.NoError(b, err)
					return total(families, "prometheus_agent_samples_appended_total")
				}
				require.Eventually(b, func() bool { return appended() >= series }, timeout, 20*time.Millisecond)
				samples, first := appended(), size()
				require.Eventually(b, func() bool { return appended() >= samples+10*series }, timeout, 100*time.Millisecond)
				b.ReportMetric(float64(first)/samples, "B/series")
				b.ReportMetric(float64(size()-first)/(appended()-samples), "B/sample")
			})
		}
	}
}
