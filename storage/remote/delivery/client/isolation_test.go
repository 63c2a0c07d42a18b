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
	"encoding/binary"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	commonconfig "github.com/prometheus/common/config"
	"github.com/stretchr/testify/require"
)

// written returns the name of a new file with a text.
func written(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

// manyHeaders configures headers in every way there is. "headers" may be left
// out, because the layer that sets them can hide what the layers below do.
func manyHeaders(t testing.TB, plain bool) func(*Config) {
	file := written(t, "from a file\n")
	return func(c *Config) {
		if plain {
			c.Headers = map[string]string{"X-Plain": "a header"}
		}
		c.HTTPClientConfig.BasicAuth = &commonconfig.BasicAuth{Username: "u", Password: "p"}
		c.HTTPClientConfig.HTTPHeaders = &commonconfig.Headers{Headers: map[string]commonconfig.Header{
			"X-Scope-OrgID": {Values: []string{"t1"}},
			"X-Secret":      {Secrets: []commonconfig.Secret{"hush"}},
			"X-File":        {Files: []string{file}},
			"X-Two":         {Values: []string{"1", "2"}},
		}}
	}
}

// requireHeaders requires what manyHeaders configures, each once.
func requireHeaders(t testing.TB, h http.Header, plain bool) {
	t.Helper()
	if plain {
		require.Equal(t, []string{"a header"}, h["X-Plain"])
	}
	require.Equal(t, []string{"t1"}, h["X-Scope-Orgid"])
	require.Equal(t, []string{"hush"}, h["X-Secret"])
	require.Equal(t, []string{"from a file"}, h["X-File"])
	require.Equal(t, []string{"1", "2"}, h["X-Two"])
	require.Equal(t, []string{"Basic dTpw"}, h["Authorization"])
	require.Len(t, h["User-Agent"], 1)
}

// TestHeadersDoNotPileUp: the thousandth request looks like the first.
func TestHeadersDoNotPileUp(t *testing.T) {
	for _, plain := range []bool{false, true} {
		handler, requests := recorder()
		c := dialled(t, serve(t, handler).URL, manyHeaders(t, plain))
		var first seen
		for n := 1; n <= 1000; n++ {
			require.Equal(t, Delivered, store(t, c).Outcome)
			got := <-requests
			switch n {
			case 1:
				first = got
				requireHeaders(t, got.header, plain)
			case 2, 50, 1000:
				require.Equal(t, first, got, "request %d", n)
			}
		}
	}
}

// TestSendersShareNothing: requests that are under way at the same time have
// headers and bodies of their own. The race detector watches as well.
func TestSendersShareNothing(t *testing.T) {
	for _, plain := range []bool{false, true} {
		sendersShareNothing(t, plain)
	}
}

func sendersShareNothing(t *testing.T, plain bool) {
	type request struct {
		header http.Header
		body   []byte
	}
	const senders, each = 32, 20
	received := make(chan request, senders*each)
	c := dialled(t, serve(t, func(_ http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		received <- request{q.Header, body}
	}).URL, manyHeaders(t, plain))
	var running sync.WaitGroup
	for i := range senders {
		running.Go(func() {
			body := make([]byte, 4096)
			for n := range each {
				// Every word of a body names its sender and its number, so that
				// bytes of another request show.
				for at := 0; at < len(body); at += 8 {
					binary.LittleEndian.PutUint64(body[at:], uint64(i*each+n))
				}
				if r := c.Store(context.Background(), body, n%2); r.Outcome != Delivered {
					t.Error(r.Err)
				}
			}
		})
	}
	running.Wait()
	close(received)
	seenNumbers := map[uint64]bool{}
	for q := range received {
		requireHeaders(t, q.header, plain)
		require.Len(t, q.body, 4096)
		number := binary.LittleEndian.Uint64(q.body)
		for at := 0; at < len(q.body); at += 8 {
			require.Equal(t, number, binary.LittleEndian.Uint64(q.body[at:]))
		}
		require.False(t, seenNumbers[number], "sent twice")
		seenNumbers[number] = true
		tries := ""
		if number%each%2 > 0 {
			tries = "1"
		}
		require.Equal(t, tries, q.header.Get("Retry-Attempt"))
	}
	require.Len(t, seenNumbers, senders*each)
}

// TestSecretFilesAreReadAgain: what is in a file when a request is made is
// what goes with it.
func TestSecretFilesAreReadAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(c *Config, file string)
		header string
		want   func(secret string) string
	}{
		"credentials_file": {
			func(c *Config, file string) {
				c.HTTPClientConfig.Authorization = &commonconfig.Authorization{Type: "Bearer", CredentialsFile: file}
			}, "Authorization", func(s string) string { return "Bearer " + s },
		},
		"bearer_token_file": {
			func(c *Config, file string) { c.HTTPClientConfig.BearerTokenFile = file },
			"Authorization", func(s string) string { return "Bearer " + s },
		},
		"password_file": {
			func(c *Config, file string) {
				c.HTTPClientConfig.BasicAuth = &commonconfig.BasicAuth{Username: "u", PasswordFile: file}
			}, "Authorization", func(s string) string { return basic("u", s) },
		},
		"username_file": {
			func(c *Config, file string) {
				c.HTTPClientConfig.BasicAuth = &commonconfig.BasicAuth{UsernameFile: file, Password: "p"}
			}, "Authorization", func(s string) string { return basic(s, "p") },
		},
		"http_headers": {
			func(c *Config, file string) {
				c.HTTPClientConfig.HTTPHeaders = &commonconfig.Headers{Headers: map[string]commonconfig.Header{"X-Token": {Files: []string{file}}}}
			}, "X-Token", func(s string) string { return s },
		},
	} {
		t.Run(name, func(t *testing.T) {
			handler, requests := recorder()
			file := written(t, "old")
			c := dialled(t, serve(t, handler).URL, func(c *Config) { tc.change(c, file) })
			for _, secret := range []string{"old", "old", "new", "newer"} {
				require.NoError(t, os.WriteFile(file, []byte(secret+"\n"), 0o600))
				require.Equal(t, Delivered, store(t, c).Outcome)
				require.Equal(t, []string{tc.want(secret)}, (<-requests).header[tc.header])
			}
		})
	}
}

func basic(user, password string) string {
	q := http.Request{Header: http.Header{}}
	q.SetBasicAuth(user, password)
	return q.Header.Get("Authorization")
}
