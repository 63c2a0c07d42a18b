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
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	commonconfig "github.com/prometheus/common/config"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// StoreByStock sends a request with stock's client. A test of package client_test sets
// it, because in the fork stock's package imports this one.
var StoreByStock func(ctx context.Context, cfg Config, body []byte, attempt int) error

// seen is what a receiver sees of a request.
type seen struct {
	method, target, host, proto string
	length                      int64
	encoding                    []string
	header                      http.Header
	body                        string
}

// observed asks stock's client and ours for the same request.
func observed(t *testing.T, server *httptest.Server, requests chan seen, cfg Config, body []byte, attempt int) (stock, ours seen) {
	t.Helper()
	require.NoError(t, StoreByStock(context.Background(), cfg, body, attempt))
	stock = <-requests
	server.CloseClientConnections()

	c, err := New(cfg)
	require.NoError(t, err)
	defer c.Close()
	r := c.Store(context.Background(), body, attempt)
	require.NoError(t, r.Err)
	require.Equal(t, Delivered, r.Outcome)
	return stock, <-requests
}

func recorder() (http.HandlerFunc, chan seen) {
	requests := make(chan seen, 10)
	return func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests <- seen{r.Method, r.RequestURI, r.Host, r.Proto, r.ContentLength, r.TransferEncoding, r.Header, string(body)}
	}, requests
}

// TestRequestsEqualStock: a receiver, and every proxy before it, sees the same
// requests as from stock.
func TestRequestsEqualStock(t *testing.T) {
	handler, requests := recorder()
	server := serve(t, handler)
	secure := httptest.NewUnstartedServer(handler)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	t.Cleanup(secure.Close)
	authority := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))

	tokens := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token": "granted", "token_type": "bearer", "expires_in": 3600}`)
	})
	bearer := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(bearer, []byte("from a file\n"), 0o600))

	for name, tc := range map[string]struct {
		server  *httptest.Server
		change  func(c *Config)
		attempt int
		body    string
		varying []string // Headers that depend on the time or on chance.
	}{
		"remote write 1.0":     {},
		"explicit 1.0":         {change: func(c *Config) { c.Protocol = remoteapi.WriteV1MessageType }},
		"remote write 2.0":     {change: func(c *Config) { c.Protocol = remoteapi.WriteV2MessageType }},
		"third attempt":        {attempt: 2},
		"empty body":           {body: "-"},
		"large body":           {body: string(make([]byte, 1<<20))},
		"custom headers":       {change: func(c *Config) { c.Headers = map[string]string{"x-scope-orgid": "team a", "X-Other": ""} }},
		"path and query":       {change: func(c *Config) { c.URL = reparse(t, server.URL+"/api/v1/push%2Fx?tenant=a&b=c") }},
		"basic auth":           {change: func(c *Config) { c.HTTPClientConfig.BasicAuth = &commonconfig.BasicAuth{Username: "u", Password: "p"} }},
		"user info in the URL": {change: func(c *Config) { c.URL.User = url.UserPassword("us:er", "p@ss/word") }},
		"user name in the URL": {change: func(c *Config) { c.URL.User = url.User("user") }},
		"authorization": {change: func(c *Config) {
			c.HTTPClientConfig.Authorization = &commonconfig.Authorization{Type: "Token", Credentials: "abc"}
		}},
		"bearer token":           {change: func(c *Config) { c.HTTPClientConfig.BearerToken = "abc" }},
		"bearer token in a file": {change: func(c *Config) { c.HTTPClientConfig.BearerTokenFile = bearer }},
		"round-robin DNS":        {change: func(c *Config) { c.RoundRobinDNS = true }},
		"http headers": {change: func(c *Config) {
			c.HTTPClientConfig.HTTPHeaders = &commonconfig.Headers{Headers: map[string]commonconfig.Header{"X-In-Http": {Values: []string{"1", "2"}}}}
		}},
		"sigv4": {change: func(c *Config) { c.SigV4, c.Headers = staticSigV4(), map[string]string{"X-Unsigned": "1"} }, varying: []string{"Authorization", "X-Amz-Date"}},
		"oauth2": {change: func(c *Config) {
			c.HTTPClientConfig.OAuth2 = &commonconfig.OAuth2{ClientID: "id", ClientSecret: "secret", TokenURL: tokens.URL, Scopes: []string{"write"}}
		}},
		"proxy": {change: func(c *Config) {
			c.URL = reparse(t, "http://receiver.invalid/api/v1/write")
			c.HTTPClientConfig.ProxyConfig = commonconfig.ProxyConfig{
				ProxyURL:           commonconfig.URL{URL: reparse(t, server.URL).URL},
				ProxyConnectHeader: commonconfig.ProxyHeader{"X-Connect": {"1"}},
			}
		}},
		"tls and http/2": {server: secure, change: func(c *Config) { c.HTTPClientConfig.TLSConfig = commonconfig.TLSConfig{CA: authority} }},
		"tls, no check":  {server: secure, change: func(c *Config) { c.HTTPClientConfig.TLSConfig = commonconfig.TLSConfig{InsecureSkipVerify: true} }},
		"tls and http/1.1": {server: secure, change: func(c *Config) {
			c.HTTPClientConfig.TLSConfig, c.HTTPClientConfig.EnableHTTP2 = commonconfig.TLSConfig{CA: authority}, false
		}},
	} {
		t.Run(name, func(t *testing.T) {
			on := server
			if tc.server != nil {
				on = tc.server
			}
			cfg := configFor(t, on.URL+"/api/v1/write")
			if tc.change != nil {
				tc.change(&cfg)
			}
			body := []byte("some samples")
			if tc.body != "" {
				body = []byte(tc.body)
			}
			if tc.body == "-" {
				body = nil
			}
			stock, ours := observed(t, on, requests, cfg, body, tc.attempt)
			for _, h := range tc.varying {
				require.NotEmpty(t, stock.header.Get(h))
				require.NotEmpty(t, ours.header.Get(h))
				stock.header.Del(h)
				ours.header.Del(h)
			}
			require.Equal(t, stock, ours)
		})
	}
}

func reparse(t *testing.T, s string) *commonconfig.URL {
	t.Helper()
	parsed, err := url.Parse(s)
	require.NoError(t, err)
	return &commonconfig.URL{URL: parsed}
}

// TestSpans: one client span per attempt under stock's name, whose context
// reaches the receiver, and no credentials in any of them.
func TestSpans(t *testing.T) {
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	before, propagators := otel.GetTracerProvider(), otel.GetTextMapPropagator()
	otel.SetTracerProvider(provider)
	otel.SetTextMapPropagator(propagation.TraceContext{})
	t.Cleanup(func() {
		otel.SetTracerProvider(before)
		otel.SetTextMapPropagator(propagators)
		require.NoError(t, provider.Shutdown(context.Background()))
	})

	var parents []string
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		parents = append(parents, r.Header.Get("Traceparent"))
		w.WriteHeader(http.StatusBadRequest)
	})
	cfg := configFor(t, server.URL, func(c *Config) { c.URL.User = url.UserPassword("theuser", "thesecret") })
	c, err := New(cfg)
	require.NoError(t, err)
	defer c.Close()
	for range 2 {
		require.Equal(t, Refused, store(t, c).Outcome)
	}

	var attempts []tracetest.SpanStub
	for _, span := range exporter.GetSpans() {
		for _, a := range span.Attributes {
			require.NotContains(t, a.Value.String(), "theuser")
			require.NotContains(t, a.Value.String(), "thesecret")
		}
		require.NotContains(t, span.Status.Description, "thesecret")
		if span.Name == "Remote Store" {
			attempts = append(attempts, span)
		}
	}
	require.Len(t, attempts, 2)
	require.Len(t, parents, 2)
	for i, span := range attempts {
		require.Equal(t, trace.SpanKindClient, span.SpanKind)
		require.Contains(t, parents[i], span.SpanContext.TraceID().String())
		require.Contains(t, span.Status.Description, "400 Bad Request")
	}
}

// TestRedirects: only a redirect that keeps the POST may be followed
// (invariant 1).
func TestRedirects(t *testing.T) {
	handler, requests := recorder()
	final := serve(t, handler)
	for status, followed := range map[int]bool{301: false, 302: false, 303: false, 307: true, 308: true} {
		for _, follow := range []bool{true, false} {
			from := serve(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				http.Redirect(w, r, final.URL+"/new", status)
			})
			c := dialled(t, from.URL, func(c *Config) {
				c.HTTPClientConfig.FollowRedirects = follow
				c.Headers = map[string]string{"X-Scope-OrgID": "a"}
			})
			r := store(t, c)
			if followed && follow {
				require.Equal(t, Delivered, r.Outcome)
				got := <-requests
				require.Equal(t, "samples", got.body)
				require.Equal(t, "a", got.header.Get("X-Scope-OrgID"))
				continue
			}
			require.Equal(t, Retry, r.Outcome)
			require.Equal(t, status, r.Status)
			require.False(t, r.Ambiguous)
			require.ErrorContains(t, r.Err, final.URL+"/new")
			require.ErrorContains(t, r.Err, "set url to the final address")
			require.Empty(t, requests)
		}
	}
}

func TestEndlessRedirects(t *testing.T) {
	var paths []string
	c := dialled(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.URL.Path)
		http.Redirect(w, r, r.URL.Path+"x", http.StatusTemporaryRedirect)
	}).URL+"/")
	r := store(t, c)
	require.Equal(t, Retry, r.Outcome)
	require.Equal(t, 307, r.Status)
	require.Len(t, paths, maxRedirects)
	require.Len(t, slices.Compact(paths), maxRedirects)
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
	otel.SetTracerProvider(noop.NewTracerProvider())
	require.Equal(t, Delivered, store(t, c).Outcome)
	require.Len(t, exporter.GetSpans(), 2)
}
