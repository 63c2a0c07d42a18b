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
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grafana/regexp"
	"github.com/stretchr/testify/require"
)

var logKey = regexp.MustCompile(`(?:^| )([a-zA-Z_]+)=(?:"(?:[^"\\]|\\.)*"|\S*)`)

// keys are the level and the keys of the last log line with a message, with
// the values that say where it comes from.
func (a *agent) keys(message string) (keys []string) {
	for line := range strings.Lines(a.output()) {
		if !strings.Contains(line, `msg="`+message+`"`) {
			continue
		}
		keys = nil
		for _, m := range logKey.FindAllStringSubmatch(line, -1) {
			key := m[1]
			if slices.Contains([]string{"level", "remote_name", "url", "component"}, key) {
				key = strings.TrimSpace(m[0])
			}
			keys = append(keys, key)
		}
	}
	return keys
}

// TestLogs compares the log lines that people search for when an endpoint does
// not take what it is sent: message, level and keys. Ours may have more keys.
func TestLogs(t *testing.T) {
	stock, ours := engines(t)
	messages := []string{"Failed to send batch, retrying", "non-recoverable error"}
	lines := map[string][]string{}
	mux := http.NewServeMux()
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", plainText)
		fmt.Fprint(w, "some 1\n")
	})
	mux.HandleFunc("/write", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Header.Get("Retry-Attempt") == "" {
			http.Error(w, "later", http.StatusServiceUnavailable)
			return
		}
		http.Error(w, "never", http.StatusUnauthorized)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	for _, protocol := range []string{messageV1, messageV2} {
		config := fmt.Sprintf(`
global: {scrape_interval: 200ms, scrape_timeout: 200ms}
scrape_configs: [{job_name: self, static_configs: [{targets: [%q]}]}]
remote_write: [{name: one, url: "%s/write", protobuf_message: %s, metadata_config: {send: false}, queue_config: {batch_send_deadline: 100ms}}]
`, strings.TrimPrefix(server.URL, "http://"), server.URL, protocol)
		for _, e := range []engine{stock, ours} {
			var flags []string
			if e.name == ours.name {
				flags = append(flags, "--storage.agent.delivery.drop-denied")
			}
			a := e.start(t, config, flags...)
			for _, message := range messages {
				require.Eventually(t, func() bool { return len(a.keys(message)) > 0 }, timeout, 50*time.Millisecond, "%s delivery says %q", e.name, message)
				lines[e.name+" "+message+protocol] = a.keys(message)
			}
		}
		for _, message := range messages {
			require.Subset(t, lines[ours.name+" "+message+protocol], lines[stock.name+" "+message+protocol], message)
		}
	}
}
