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

package statuspage

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery"
)

// show returns what a browser gets.
func show(t *testing.T, source Source, o Options) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	Page(source, o)(w, httptest.NewRequest(http.MethodGet, "/delivery", http.NoBody))
	require.Equal(t, "text/html; charset=utf-8", w.Header().Get("Content-Type"))
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	return w.Code, w.Body.String()
}

func always(s *Status) Source { return func() (*Status, error) { return s, nil } }

// What receivers and configurations say is shown as text, whatever is in it.
func TestPageEscapes(t *testing.T) {
	s := example()
	e := &s.Endpoints[0]
	e.EndpointStatus.Name = `<script>alert("name")</script>`
	e.EndpointStatus.URL = `http://x/"><img src=x>`
	e.State, e.Description = delivery.StateRetrying, "retrying"
	e.LastError = &delivery.Failure{Time: now, Message: `<b onclick='x'>&`}
	e.Drops = []delivery.Drop{{Kind: delivery.DropRefused, Reason: "<i>", Samples: 1, Last: now}}
	s.Log.Broken = "<u>"
	code, text := show(t, always(s), Options{Title: "<title>", App: "<app>"})
	require.Equal(t, http.StatusOK, code)
	for _, raw := range []string{"<script", "<img", "<b onclick", "<i>", "<u>", "<app>", "javascript:"} {
		require.NotContains(t, text, raw)
	}
	require.Contains(t, text, "&lt;script&gt;alert(&#34;name&#34;)&lt;/script&gt;")
	require.Contains(t, text, `<meta http-equiv="refresh" content="5">`)
	require.Contains(t, text, "prefers-color-scheme: dark")
}

// Links have the prefix that the browser needs, and lead to pages that there are.
func TestPageLinks(t *testing.T) {
	for prefix, before := range map[string]string{"": "", "/": "", "/a/b": "/a/b", "/a/": "/a"} {
		_, text := show(t, always(example()), Options{Prefix: prefix, Agent: true})
		for _, to := range []string{"/delivery", "/metrics", "/api/v1/status/delivery"} {
			require.Contains(t, text, `href="`+before+to+`"`)
		}
		require.NotContains(t, text, "/agent")
		require.NotContains(t, text, "/favicon.svg")
		require.Contains(t, text, "make ui")
		_, text = show(t, always(example()), Options{Prefix: prefix, Agent: true, HasUI: true})
		for _, to := range []string{"/delivery", "/agent", "/targets", "/config", "/favicon.svg"} {
			require.Contains(t, text, `href="`+before+to+`"`)
		}
		require.NotContains(t, text, "make ui")
	}
}

// Where there is nothing to show the page says why.
func TestPageWithoutStatus(t *testing.T) {
	fails := func(err error) Source { return func() (*Status, error) { return nil, err } }
	for name, tc := range map[string]struct {
		source Source
		agent  bool
		code   int
		text   string
	}{
		"server":      {nil, false, http.StatusOK, "This is a server."},
		"best effort": {nil, true, http.StatusOK, "Delivery is by best effort"},
		"starting":    {fails(ErrStarting), true, http.StatusServiceUnavailable, "The agent is starting"},
		"error":       {fails(errors.New("<no>")), true, http.StatusInternalServerError, "The status is not known: &lt;no&gt;"},
	} {
		t.Run(name, func(t *testing.T) {
			code, text := show(t, tc.source, Options{Agent: tc.agent})
			require.Equal(t, tc.code, code)
			require.Contains(t, text, tc.text)
			require.NotContains(t, text, "Endpoints")
		})
	}
}

// A page of any size is small enough to be made every few seconds.
func TestPageOfManyEndpoints(t *testing.T) {
	s := example()
	for range 99 {
		s.Endpoints = append(s.Endpoints, s.Endpoints[0])
	}
	s.Endpoints[7].Until = ago(-time.Hour)
	_, text := show(t, always(s), Options{})
	require.Less(t, len(text), 200_000)
}

func TestHasUI(t *testing.T) {
	assets := http.FS(fstest.MapFS{"static/mantine-ui/index.html": &fstest.MapFile{}})
	require.True(t, HasUI(assets, false))
	require.False(t, HasUI(assets, true))
	require.False(t, HasUI(http.FS(fstest.MapFS{}), false))
}
