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
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	commonconfig "github.com/prometheus/common/config"
	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/util/testutil"
)

func TestMain(m *testing.M) { testutil.TolerantVerifyLeak(m) }

// generous is a timeout that no test waits for.
const generous = 5 * time.Minute

func serve(t testing.TB, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

// dialled returns a client for the URL; change may alter the configuration.
func dialled(t testing.TB, to string, change ...func(*Config)) *Client {
	t.Helper()
	c, err := New(configFor(t, to, change...))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func configFor(t testing.TB, to string, change ...func(*Config)) Config {
	t.Helper()
	parsed, err := url.Parse(to)
	require.NoError(t, err)
	cfg := Config{
		Name:             "test",
		URL:              &commonconfig.URL{URL: parsed},
		Timeout:          generous,
		HTTPClientConfig: commonconfig.DefaultHTTPClientConfig,
	}
	for _, f := range change {
		f(&cfg)
	}
	return cfg
}

// answer reads the request and returns the status with a body.
func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func store(t testing.TB, c *Client) Result {
	t.Helper()
	return c.Store(context.Background(), []byte("samples"), 0)
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(q *http.Request) (*http.Response, error) { return f(q) }

// through returns a client whose requests go to a function.
func through(t testing.TB, f transportFunc, change ...func(*Config)) *Client {
	c := dialled(t, "http://receiver.invalid/push", change...)
	c.http.Transport = f
	return c
}

func response(status int, body io.ReadCloser) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: body}
}
