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

package security

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/atomic"
)

const (
	// exitPromise is how long the process may take to end after SIGTERM,
	// whatever its endpoints do.
	exitPromise = 5 * time.Second
	// memoryLimit is far above what the agent needs for this test, in bytes, and
	// below what eleven endpoints with up to 50 senders each could be made to
	// hold if answers were not bounded.
	memoryLimit = 400 << 20
)

// flood writes a beginning and then padding until the client stops reading.
func flood(begin string, padding []byte, pause time.Duration) func(net.Conn) {
	return func(conn net.Conn) {
		if !skipRequest(conn) {
			return
		}
		_, err := io.WriteString(conn, begin)
		for err == nil {
			_, err = conn.Write(padding)
			time.Sleep(pause)
		}
	}
}

// say answers every request on a connection alike.
func say(answer string) func(net.Conn) {
	return func(conn net.Conn) {
		in := bufio.NewReader(conn)
		for {
			q, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, q.Body); err != nil {
				return
			}
			if _, err := io.WriteString(conn, answer); err != nil {
				return
			}
		}
	}
}

func skipRequest(conn net.Conn) bool {
	q, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, q.Body)
	return err == nil
}

func bomb(t *testing.T) string {
	t.Helper()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	for range 32 {
		_, err := z.Write(make([]byte, 1<<20))
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	return fmt.Sprintf("HTTP/1.1 503 No\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", packed.Len(), packed.String())
}

// TestHostileEndpoints: endpoints that answer without end, slowly, or with
// nonsense take no memory, do not keep a well-behaved one waiting, and do not
// hold up the end of the process.
func TestHostileEndpoints(t *testing.T) {
	padding := bytes.Repeat([]byte("x"), 32<<10)
	nines := strings.Repeat("9", 100<<10)
	const slow = 50 * time.Millisecond
	hostile := map[string]func(net.Conn){
		"endless_body":     flood("HTTP/1.1 503 No\r\n\r\n", padding, 0),
		"endless_success":  flood("HTTP/1.1 200 OK\r\n\r\n", padding, 0),
		"endless_status":   flood("HTTP/1.1 503 ", padding, 0),
		"endless_header":   flood("HTTP/1.1 200 OK\r\nX-Long: ", padding, 0),
		"endless_interim":  flood("", []byte("HTTP/1.1 103 Early Hints\r\n\r\n"), time.Millisecond),
		"dripping_body":    flood("HTTP/1.1 503 No\r\nContent-Length: 1000000\r\n\r\n", []byte("x"), slow),
		"dripping_header":  flood("HTTP/1.1 200 OK\r\nX-Slow: ", []byte("x"), slow),
		"never_reading":    func(net.Conn) { time.Sleep(time.Minute) },
		"bomb":             say(bomb(t)),
		"later":            say("HTTP/1.1 503 No\r\nRetry-After: " + nines[:18] + "\r\nContent-Length: 0\r\n\r\n"),
		"much_later":       say("HTTP/1.1 429 No\r\nRetry-After: " + nines + "\r\nContent-Length: 0\r\n\r\n"),
		"in_a_thousand_yr": say("HTTP/1.1 503 No\r\nRetry-After: Fri, 01 Jan 3027 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n"),
		"statistics":       say("HTTP/1.1 200 OK\r\nX-Prometheus-Remote-Write-Samples-Written: " + nines + "\r\nContent-Length: 0\r\n\r\n"),
	}
	var healthy, scrapes atomic.Int64
	good := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/metrics" {
			n := scrapes.Inc()
			for i := range 500 {
				fmt.Fprintf(w, "x{i=\"%d\"} %d\n", i, n)
			}
			return
		}
		_, _ = io.Copy(io.Discard, q.Body)
		healthy.Inc()
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(good.Close)

	config := strings.Builder{}
	fmt.Fprintf(&config, "global: {scrape_interval: 100ms, scrape_timeout: 100ms}\nscrape_configs:\n- job_name: x\n  static_configs: [{targets: ['%s']}]\nremote_write:\n- {name: good, url: '%s/write', queue_config: {batch_send_deadline: 100ms}}\n",
		strings.TrimPrefix(good.URL, "http://"), good.URL)
	for name, handle := range hostile {
		fmt.Fprintf(&config, "- {name: %s, url: 'http://%s/write', remote_timeout: 30s, queue_config: {min_shards: 8, max_samples_per_send: 100, batch_send_deadline: 100ms, min_backoff: 10ms, max_backoff: 50ms}}\n",
			name, address(t, handle))
	}
	a := start(t, t.TempDir(), "durable", config.String())
	for range 4 {
		// The good endpoint keeps getting what is scraped.
		from, sent := scrapes.Load(), healthy.Load()
		a.until("twenty scrapes", func() bool { return scrapes.Load() >= from+20 })
		a.until("requests reach the good endpoint", func() bool { return healthy.Load() > sent })
	}
	memory := a.metric("go_memstats_sys_bytes")
	require.Less(t, memory, float64(memoryLimit))
	a.reload(strings.Replace(config.String(), "min_backoff: 10ms", "min_backoff: 11ms", 1))
	took, err := a.Terminate()
	require.NoError(t, err)
	require.Less(t, took, exitPromise)
	for line := range strings.SplitSeq(a.everything()["log"], "\n") {
		require.Less(t, len(line), 16<<10, "a line of the log is as long as the endpoint likes: %.300s…", line)
	}
}

func (a *agent) metric(name string) float64 {
	a.t.Helper()
	_, text := a.get("/metrics")
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			require.NoError(a.t, err)
			return v
		}
	}
	require.FailNow(a.t, "the agent has no metric "+name)
	return 0
}
