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
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace/noop"
)

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(q *http.Request) (*http.Response, error) { return f(q) }

// through returns a client whose requests go to a function.
func through(t testing.TB, f transportFunc, change ...func(*Config)) *Client {
	c := dialled(t, "http://receiver.invalid/push", change...)
	c.http.Transport.(*tracing).plain = f
	return c
}

func response(status int, body io.ReadCloser) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: body}
}

// TestAttemptsServeAgain defends invariants 3 and 4: an attempt is used again
// only if nobody can wait for its context or read its body any more.
func TestAttemptsServeAgain(t *testing.T) {
	some := func() io.ReadCloser { return io.NopCloser(strings.NewReader("stored")) }
	for name, tc := range map[string]struct {
		answer transportFunc
		again  bool
	}{
		"taken": {func(q *http.Request) (*http.Response, error) {
			_, _ = io.Copy(io.Discard, q.Body)
			return response(204, http.NoBody), nil
		}, true},
		"refused": {func(q *http.Request) (*http.Response, error) {
			_, _ = io.Copy(io.Discard, q.Body)
			return response(503, http.NoBody), nil
		}, true},
		"with a body": {func(q *http.Request) (*http.Response, error) {
			_, _ = io.Copy(io.Discard, q.Body)
			return response(200, some()), nil
		}, false},
		"answered early": {func(q *http.Request) (*http.Response, error) {
			_, _ = q.Body.Read(make([]byte, 3))
			return response(204, http.NoBody), nil
		}, false},
		"sent twice": {func(q *http.Request) (*http.Response, error) {
			second, _ := q.GetBody()
			_, _ = io.Copy(io.Discard, second)
			return response(204, http.NoBody), nil
		}, false},
		"failed": {func(q *http.Request) (*http.Response, error) {
			_, _ = io.Copy(io.Discard, q.Body)
			return nil, io.ErrUnexpectedEOF
		}, false},
		"redirected": {func(q *http.Request) (*http.Response, error) {
			_, _ = io.Copy(io.Discard, q.Body)
			if q.URL.Path == "/new" {
				return response(204, http.NoBody), nil
			}
			r := response(307, http.NoBody)
			r.Header.Set("Location", "/new")
			return r, nil
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := through(t, tc.answer)
			first := store(t, c)
			if tc.again {
				require.Len(t, c.usage.spare, 1)
			} else {
				require.Empty(t, c.usage.spare)
			}
			require.Equal(t, first, store(t, c))

			// Another caller's context ends that of another attempt.
			ctx, cancel := context.WithCancel(context.Background())
			require.Equal(t, first, c.Store(ctx, []byte("samples"), 0))
			cancel()
			require.Equal(t, first, store(t, c))

			spare := c.usage.spare
			c.Close()
			require.Empty(t, c.usage.spare)
			for _, a := range spare {
				require.ErrorIs(t, a.Err(), context.Canceled, "it would stay known to the caller's context")
			}
			require.Equal(t, first, store(t, c), "still usable")
			require.Empty(t, c.usage.spare)
		})
	}
}

// TestEarlierReaders defends invariant 4: whoever still has the body of an
// earlier request gets nothing of a later one.
func TestEarlierReaders(t *testing.T) {
	var kept []io.ReadCloser
	partly := false
	c := through(t, func(q *http.Request) (*http.Response, error) {
		for _, body := range kept {
			got, _ := io.ReadAll(body)
			require.Empty(t, got)
		}
		kept = append(kept, q.Body)
		if partly {
			_, _ = q.Body.Read(make([]byte, 2))
			return response(204, http.NoBody), nil
		}
		_, _ = io.ReadFull(q.Body, make([]byte, q.ContentLength)) // Does not see the end.
		return response(204, http.NoBody), nil
	})
	for range 5 {
		require.Equal(t, Delivered, store(t, c).Outcome)
	}
	require.Len(t, c.usage.spare, 1)
	partly = true
	for range 5 {
		require.Equal(t, Delivered, store(t, c).Outcome)
	}
	require.Empty(t, c.usage.spare)
}

// TestAttemptContext: what looks at an attempt's context sees what it would see
// of one with a deadline (invariant 3), also if it served before.
func TestAttemptContext(t *testing.T) {
	limit, stop := context.WithTimeout(context.Background(), 2*generous)
	defer stop()
	a := newAttempt(limit, time.Hour)
	outer, _ := limit.Deadline()
	got, ok := a.Deadline()
	require.True(t, ok)
	require.Equal(t, outer, got, "the earlier one counts")
	require.NoError(t, a.Err())
	require.False(t, a.end(true), "nothing was read")
	require.ErrorIs(t, a.Err(), context.Canceled)

	a = newAttempt(context.Background(), time.Hour)
	a.lent.lend([]byte("a"))
	_, _ = io.ReadAll(opened(&a.lent))
	require.True(t, a.lent.end())
	require.True(t, a.end(true))
	before := time.Now()
	a.renew(time.Nanosecond)
	got, ok = a.Deadline()
	require.True(t, ok)
	require.WithinRange(t, got, before, time.Now())
	child, cancel := context.WithCancel(a)
	defer cancel()
	<-child.Done()
	require.ErrorIs(t, a.Err(), context.DeadlineExceeded)
	require.ErrorIs(t, context.Cause(child), context.DeadlineExceeded)
	require.False(t, a.end(true), "its time was over")
}

// TestTimeoutOfAServedAttempt: the time counts from the beginning of each.
func TestTimeoutOfAServedAttempt(t *testing.T) {
	hang := false
	c := through(t, func(q *http.Request) (*http.Response, error) {
		_, _ = io.Copy(io.Discard, q.Body)
		if hang {
			<-q.Context().Done()
			return nil, context.Cause(q.Context())
		}
		return response(204, http.NoBody), nil
	})
	require.Equal(t, Delivered, store(t, c).Outcome)
	require.Len(t, c.usage.spare, 1)
	hang, c.timeout = true, 10*time.Millisecond
	r := store(t, c)
	requireNoResponse(t, r, false) // There was no connection.
	require.ErrorIs(t, r.Err, context.DeadlineExceeded)
	require.ErrorContains(t, r.Err, "no response within the remote_timeout of 10ms")
	require.Empty(t, c.usage.spare)
}

// TestAllocations: a request that is simply taken costs one allocation, so that
// nothing is lost of it unnoticed. The transport has its own.
func TestAllocations(t *testing.T) {
	taken, buf := response(204, http.NoBody), make([]byte, 1000)
	c := through(t, func(q *http.Request) (*http.Response, error) {
		for {
			if _, err := q.Body.Read(buf); err != nil {
				return taken, nil
			}
		}
	}, func(c *Config) { c.URL.User = url.UserPassword("u", "p") })
	body, ctx := make([]byte, 64<<10), context.Background()
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() {
		if c.Store(ctx, body, 0).Outcome != Delivered {
			t.Fail()
		}
	}), 1.0)
}

// TestRedirectsEqualStock: the request that follows a redirect has the headers
// stock sends then, and the one before is sent once.
func TestRedirectsEqualStock(t *testing.T) {
	handler, requests := recorder()
	final := serve(t, handler)
	for name, to := range map[string]string{
		"a path":       "/new",
		"same host":    "SELF/new",
		"another host": final.URL + "/new",
	} {
		t.Run(name, func(t *testing.T) {
			var self string
			from := serve(t, func(w http.ResponseWriter, q *http.Request) {
				handler(w, q)
				if q.URL.Path == "/old" {
					http.Redirect(w, q, strings.Replace(to, "SELF", self, 1), http.StatusPermanentRedirect)
				}
			})
			self = from.URL
			cfg := configFor(t, from.URL+"/old", func(c *Config) {
				c.URL.User = url.UserPassword("u", "p")
				c.Headers = map[string]string{"X-Scope-OrgID": "a"}
			})
			stock, ours := observed(t, from, requests, cfg, []byte("samples"), 2)
			require.Equal(t, "/old", stock.target)
			require.Equal(t, "/new", ours.target, "the channel has the second of stock's before ours")
			next := <-requests
			require.Equal(t, stock, next)
			require.Equal(t, ours, <-requests)
			require.Empty(t, requests)
		})
	}
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

// TestTracingComesAndGoes: a provider of tracers may be set after the client was
// made, and taken away again.
func TestTracingComesAndGoes(t *testing.T) {
	before := otel.GetTracerProvider()
	t.Cleanup(func() { otel.SetTracerProvider(before) })
	c := dialled(t, serve(t, answer(204, "")).URL)
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	t.Cleanup(func() { require.NoError(t, provider.Shutdown(context.Background())) })

	require.Equal(t, Delivered, store(t, c).Outcome)
	require.Empty(t, exporter.GetSpans())
	otel.SetTracerProvider(provider)
	require.Equal(t, Delivered, store(t, c).Outcome)
	require.Len(t, exporter.GetSpans(), 2, "ours and that of net/http")
	require.Empty(t, c.usage.spare, "a span was in its context")

	otel.SetTracerProvider(noop.NewTracerProvider())
	require.False(t, traced(context.Background()))
	ctx, span := provider.Tracer("").Start(context.Background(), "the caller's")
	require.True(t, traced(ctx))
	span.End()
	require.Equal(t, Delivered, store(t, c).Outcome)
	require.Len(t, exporter.GetSpans(), 3)
}
