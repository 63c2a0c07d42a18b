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

package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	commonconfig "github.com/prometheus/common/config"
	"github.com/prometheus/sigv4"
	"github.com/stretchr/testify/require"
	"go.uber.org/atomic"
)

// large does not fit into the buffers between two ends of a local connection.
const large = 64 << 20

// listen runs a receiver that deals with connections itself.
func listen(t *testing.T, handle func(conn *net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				handle(conn.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	return "http://" + l.Addr().String()
}

// reset closes a connection in the way of a process that was killed.
func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	_ = conn.Close()
}

func requireNoResponse(t *testing.T, r Result, ambiguous bool) {
	t.Helper()
	require.Error(t, r.Err)
	require.Zero(t, r.Status)
	require.Equal(t, Retry, r.Outcome)
	require.Equal(t, ambiguous, r.Ambiguous)
	require.Zero(t, r.RetryAfter)
	require.False(t, r.Written.Confirmed)
}

// unused returns the URL of a port on which nothing listens.
func unused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return "http://" + l.Addr().String()
}

func TestConnectionRefused(t *testing.T) {
	c := dialled(t, unused(t))
	r := store(t, c)
	requireNoResponse(t, r, false)
	var op *net.OpError
	require.ErrorAs(t, r.Err, &op)
	require.ErrorContains(t, r.Err, "sending to "+c.Endpoint())
	require.Equal(t, 1, strings.Count(r.Err.Error(), "http://"), "the URL is said once")

	// A signer reads the body before there is a connection; that is not sending.
	signed := dialled(t, unused(t), func(c *Config) { c.SigV4 = staticSigV4() })
	requireNoResponse(t, store(t, signed), false)
}

func staticSigV4() *sigv4.SigV4Config {
	return &sigv4.SigV4Config{Region: "eu-west-1", AccessKey: "id", SecretKey: "key"}
}

// TestResetBeforeBodyWasRead: the receiver cannot have applied what the
// transport could not hand over (invariant 2).
func TestResetBeforeBodyWasRead(t *testing.T) {
	c := dialled(t, listen(t, func(conn *net.TCPConn) {
		_, _ = conn.Read(make([]byte, 100))
		reset(conn)
	}))
	requireNoResponse(t, c.Store(context.Background(), make([]byte, large), 0), false)
}

func TestResetAfterBodyWasRead(t *testing.T) {
	c := dialled(t, listen(t, func(conn *net.TCPConn) {
		request, err := http.ReadRequest(bufio.NewReader(conn))
		if err == nil {
			_, _ = io.Copy(io.Discard, request.Body)
		}
		reset(conn)
	}))
	requireNoResponse(t, store(t, c), true)
	requireNoResponse(t, c.Store(context.Background(), make([]byte, 3<<20), 0), true)
}

func TestNonsenseInsteadOfHTTP(t *testing.T) {
	c := dialled(t, listen(t, func(conn *net.TCPConn) {
		_, _ = http.ReadRequest(bufio.NewReader(conn))
		_, _ = conn.Write([]byte("220 mail.example.org ESMTP\r\n\r\n"))
	}))
	requireNoResponse(t, store(t, c), true)
}

// TestHang defends invariant 3 (I5): a receiver that says nothing is left alone
// after the timeout.
func TestHang(t *testing.T) {
	short := func(c *Config) { c.Timeout = 50 * time.Millisecond }

	t.Run("after reading", func(t *testing.T) {
		over := make(chan struct{})
		c := dialled(t, serve(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-over
		}).URL, short)
		t.Cleanup(func() { close(over) })
		r := store(t, c)
		requireNoResponse(t, r, true)
		require.ErrorIs(t, r.Err, context.DeadlineExceeded)
		require.ErrorContains(t, r.Err, "no response within the remote_timeout of 50ms")
	})
	t.Run("before reading", func(t *testing.T) {
		over := make(chan struct{})
		c := dialled(t, listen(t, func(*net.TCPConn) { <-over }), short)
		t.Cleanup(func() { close(over) })
		r := c.Store(context.Background(), make([]byte, large), 0)
		requireNoResponse(t, r, false)
		require.ErrorIs(t, r.Err, context.DeadlineExceeded)
	})
	t.Run("in the body of a success", func(t *testing.T) {
		over := make(chan struct{})
		c := dialled(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "a")
			w.(http.Flusher).Flush()
			<-over
		}).URL) // Without a short timeout: the limit is the one for bodies.
		t.Cleanup(func() { close(over) })
		r := store(t, c)
		require.Equal(t, Delivered, r.Outcome)
		require.NoError(t, r.Err)
	})
	t.Run("in the body of a refusal", func(t *testing.T) {
		over := make(chan struct{})
		c := dialled(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, "out of order")
			w.(http.Flusher).Flush()
			<-over
		}).URL, short)
		t.Cleanup(func() { close(over) })
		r := store(t, c)
		require.Equal(t, Refused, r.Outcome)
		require.ErrorContains(t, r.Err, "400 Bad Request: out of order")
	})
}

func TestCancel(t *testing.T) {
	var requests atomic.Int64
	started, over := make(chan struct{}, 1), make(chan struct{})
	c := dialled(t, serve(t, func(_ http.ResponseWriter, r *http.Request) {
		requests.Inc()
		_, _ = io.Copy(io.Discard, r.Body)
		started <- struct{}{}
		<-over
	}).URL)
	t.Cleanup(func() { close(over) })

	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		<-started
		cancel(errors.New("shutting down"))
	}()
	r := c.Store(ctx, []byte("samples"), 0)
	requireNoResponse(t, r, true)
	require.ErrorContains(t, r.Err, "given up: shutting down")

	// A context that is over already does not reach the receiver.
	r = c.Store(ctx, []byte("samples"), 0)
	requireNoResponse(t, r, false)
	require.Equal(t, int64(1), requests.Load())

	plain, stop := context.WithCancel(context.Background())
	stop()
	require.ErrorIs(t, c.Store(plain, []byte("samples"), 0).Err, context.Canceled)
}

// TestEndlessBody: what is read of a body is bounded (invariant 3).
func TestEndlessBody(t *testing.T) {
	for status, outcome := range map[int]Outcome{200: Delivered, 400: Refused, 503: Retry} {
		c := dialled(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			for {
				if _, err := w.Write(bytes.Repeat([]byte("x"), 1000)); err != nil {
					return
				}
			}
		}).URL)
		r := store(t, c)
		require.Equal(t, outcome, r.Outcome)
		if outcome != Delivered {
			require.Equal(t, maxMessage, strings.Count(r.Err.Error(), "x"))
		}
	}
}

func TestHugeHeaders(t *testing.T) {
	for _, tc := range []struct {
		bytes   int
		outcome Outcome
	}{{100 << 10, Delivered}, {12 << 20, Retry}} {
		c := dialled(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("X-Huge", strings.Repeat("h", tc.bytes))
		}).URL)
		r := store(t, c)
		require.Equal(t, tc.outcome, r.Outcome)
		if tc.outcome == Retry {
			requireNoResponse(t, r, true)
			require.Less(t, len(r.Err.Error()), 1000)
		}
	}
}

// TestConnectionsAreReused: answers up to the limit are read to their end, so
// that a refusing receiver does not cost a handshake per request.
func TestConnectionsAreReused(t *testing.T) {
	for _, tc := range []struct {
		body, connections int
	}{{0, 1}, {10, 1}, {maxMessage + 1, 1}, {maxDrain - 1, 1}, {4 * maxDrain, 5}} {
		seen := map[string]bool{}
		var mtx sync.Mutex
		c := dialled(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			mtx.Lock()
			seen[r.RemoteAddr] = true
			mtx.Unlock()
			answer(503, strings.Repeat("e", tc.body))(w, r)
		}).URL)
		for range 5 {
			require.Equal(t, 503, store(t, c).Status)
		}
		require.Len(t, seen, tc.connections, "with a body of %d bytes", tc.body)
	}
}

func TestCloseDropsIdleConnections(t *testing.T) {
	seen := map[string]bool{}
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) { seen[r.RemoteAddr] = true })
	for name, change := range map[string]func(*Config){
		"plain":   func(*Config) {},
		"headers": func(c *Config) { c.Headers = map[string]string{"X-A": "b"} },
		"basic auth": func(c *Config) {
			c.HTTPClientConfig.BasicAuth = &commonconfig.BasicAuth{Username: "u", Password: "p"}
		},
		"sigv4": func(c *Config) { c.SigV4 = staticSigV4() },
	} {
		t.Run(name, func(t *testing.T) {
			clear(seen)
			// With a path, since sigv4 before 0.5 makes "." of none.
			c := dialled(t, server.URL+"/", change)
			require.Equal(t, Delivered, store(t, c).Outcome)
			require.Equal(t, Delivered, store(t, c).Outcome)
			require.Len(t, seen, 1)
			c.Close()
			require.Equal(t, Delivered, store(t, c).Outcome, "still usable")
			require.Len(t, seen, 2)
		})
	}
}

// TestConcurrentStores: a client is shared by an endpoint's senders.
func TestConcurrentStores(t *testing.T) {
	var received atomic.Int64
	c := dialled(t, serve(t, func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		received.Add(int64(len(b)))
	}).URL, func(c *Config) { c.Headers = map[string]string{"X-Scope-OrgID": "a"} })
	var senders sync.WaitGroup
	for range 8 {
		senders.Go(func() {
			body := make([]byte, 1000)
			for i := range 20 {
				body[0] = byte(i)
				if r := c.Store(context.Background(), body, i); r.Outcome != Delivered {
					t.Error(r.Err)
				}
			}
		})
	}
	senders.Wait()
	require.Equal(t, int64(8*20*1000), received.Load())
}

// TestSchemeMismatch: what net/http's client words better than the transport
// stays so.
func TestSchemeMismatch(t *testing.T) {
	c := dialled(t, strings.Replace(serve(t, answer(204, "")).URL, "http:", "https:", 1))
	r := store(t, c)
	requireNoResponse(t, r, false)
	require.ErrorIs(t, r.Err, http.ErrSchemeMismatch)
}

// TestNonsenseOfTransports: a broken round tripper is an error, not a panic.
func TestNonsenseOfTransports(t *testing.T) {
	c := through(t, func(*http.Request) (*http.Response, error) { return nil, nil })
	requireNoResponse(t, store(t, c), false)
	c = through(t, func(*http.Request) (*http.Response, error) { return response(204, nil), nil })
	require.Equal(t, Delivered, store(t, c).Outcome)
}

func BenchmarkStore(b *testing.B) {
	c := dialled(b, serve(b, answer(204, "")).URL)
	body := make([]byte, 64<<10)
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if r := c.Store(context.Background(), body, 0); r.Err != nil {
			b.Fatal(r.Err)
		}
	}
}
