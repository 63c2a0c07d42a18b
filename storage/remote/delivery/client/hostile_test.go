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
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	commonconfig "github.com/prometheus/common/config"
	"github.com/stretchr/testify/require"
)

// raw runs a receiver that reads a request and then writes parts for as long as
// it can, or all of them once if they are to end.
func raw(t *testing.T, begin string, endless []byte) string {
	t.Helper()
	return listen(t, func(conn *net.TCPConn) {
		if !readRequest(conn) {
			return
		}
		_, err := io.WriteString(conn, begin)
		for err == nil && len(endless) > 0 {
			_, err = conn.Write(endless)
		}
	})
}

// readRequest reads one request to its end: a connection that is closed with
// something unread is reset, and takes the answer with it.
func readRequest(conn net.Conn) bool {
	q, err := http.ReadRequest(bufio.NewReader(conn))
	if err == nil {
		_, err = io.Copy(io.Discard, q.Body)
	}
	return err == nil
}

// TestOversizedAnswers defends invariant 3: whatever a receiver sends without
// end, an attempt ends, takes little memory, and says little.
func TestOversizedAnswers(t *testing.T) {
	filler := bytes.Repeat([]byte("x"), 64<<10)
	header := append([]byte("X-More: "), append(bytes.Repeat([]byte("h"), 1000), "\r\n"...)...)
	for name, tc := range map[string]struct {
		begin   string
		endless []byte
		status  int
	}{
		"nothing but bytes": {"", filler, 0},
		"a status line":     {"HTTP/1.1 400 ", filler, 0},
		"one header":        {"HTTP/1.1 400 No\r\nX-Long: ", filler, 0},
		"many headers":      {"HTTP/1.1 400 No\r\n", header, 0},
		"interim answers":   {"", []byte("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"), 0},
		"a body":            {"HTTP/1.1 400 No\r\n\r\n", filler, 400},
		"one chunk":         {"HTTP/1.1 400 No\r\nTransfer-Encoding: chunked\r\n\r\n7fffffffffffff\r\n", filler, 400},
		"chunks":            {"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n", []byte("4\r\nxxxx\r\n"), 503},
		"a chunk extension": {"HTTP/1.1 400 No\r\nTransfer-Encoding: chunked\r\n\r\n1;", filler, 400},
		"trailers":          {"HTTP/1.1 400 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", header, 400},
		"a large promise":   {"HTTP/1.1 400 No\r\nContent-Length: 9223372036854775807\r\n\r\n", filler, 400},
	} {
		t.Run(name, func(t *testing.T) {
			c := dialled(t, raw(t, tc.begin, tc.endless))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r := store(t, c)
			runtime.ReadMemStats(&after)
			require.Equal(t, tc.status, r.Status)
			require.Error(t, r.Err)
			require.LessOrEqual(t, len(r.Err.Error()), maxError+len("…"))
			// All that was allocated, which is more than what was held at a time.
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(24<<20), "bytes")
			if tc.status == 0 {
				require.Equal(t, Retry, r.Outcome)
			}
		})
	}
}

// TestHostileHeaders: numbers and texts in headers that are long but not too
// long for the connection do not make long errors.
func TestHostileHeaders(t *testing.T) {
	long := strings.Repeat("9", 200<<10)
	for name, header := range map[string]string{
		"Retry-After": "Retry-After: " + long,
		"a status":    "X: y",
		"statistics":  "X-Prometheus-Remote-Write-Samples-Written: " + long,
		"Location":    "Location: /" + long,
	} {
		t.Run(name, func(t *testing.T) {
			line := "HTTP/1.1 503 No"
			switch name {
			case "a status":
				line += long
			case "Location":
				line = "HTTP/1.1 302 Found"
			}
			r := store(t, dialled(t, raw(t, line+"\r\n"+header+"\r\nContent-Length: 0\r\n\r\n", nil), func(c *Config) {
				c.Protocol = remoteapi.WriteV2MessageType
			}))
			require.Equal(t, Retry, r.Outcome)
			require.Positive(t, r.Status)
			require.LessOrEqual(t, len(r.Err.Error()), maxError+len("…"))
			require.LessOrEqual(t, r.RetryAfter, MaxRetryAfter)
			if name == "statistics" {
				require.Error(t, r.StatsErr)
				require.LessOrEqual(t, len(r.StatsErr.Error()), maxError+len("…"))
			}
		})
	}
}

// TestNothingIsDecompressed: a small answer stays small.
func TestNothingIsDecompressed(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for range 64 {
		_, err := z.Write(bytes.Repeat([]byte("A"), 1<<20))
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	r := store(t, dialled(t, serve(t, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("X-Accepts", q.Header.Get("Accept-Encoding"))
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write(bomb.Bytes())
	}).URL))
	require.Equal(t, Refused, r.Outcome)
	require.ErrorContains(t, r.Err, "\x1f\uFFFD\b", "the bytes as they came")
	require.NotContains(t, r.Err.Error(), "AAAA")
}

// TestHTTP2Flood: with HTTP/2 a receiver may send before the client reads, and
// other requests share the connection.
func TestHTTP2Flood(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.Copy(io.Discard, q.Body)
		w.WriteHeader(http.StatusBadRequest)
		for {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	c := dialled(t, server.URL, func(c *Config) {
		c.HTTPClientConfig.TLSConfig.InsecureSkipVerify = true
		c.HTTPClientConfig.EnableHTTP2 = true
	})
	for range 20 {
		r := store(t, c)
		require.Error(t, r.Err)
		require.NotEqual(t, Delivered, r.Outcome)
	}
}

// TestDrip: bytes that trickle in, in the header or in the body, end with the
// timeout or earlier.
func TestDrip(t *testing.T) {
	for name, begin := range map[string]string{
		"header":  "HTTP/1.1 200 OK\r\nX-Slow: ",
		"body":    "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",
		"interim": "",
	} {
		t.Run(name, func(t *testing.T) {
			c := dialled(t, listen(t, func(conn *net.TCPConn) {
				if !readRequest(conn) {
					return
				}
				_, err := io.WriteString(conn, begin)
				drop := "x"
				if name == "interim" {
					drop = "HTTP/1.1 103 Early Hints\r\n\r\n"
				}
				for err == nil {
					_, err = io.WriteString(conn, drop)
					time.Sleep(5 * time.Millisecond)
				}
			}), func(c *Config) {
				if name != "body" {
					c.Timeout = 200 * time.Millisecond
				}
			})
			r := store(t, c)
			if name == "body" {
				require.Equal(t, Delivered, r.Outcome, "the status has been read")
				return
			}
			requireNoResponse(t, r, true)
		})
	}
}

// TestSecretsAreNotRepeated defends invariant 5 against receivers that answer
// with what they were sent.
func TestSecretsAreNotRepeated(t *testing.T) {
	const password, token, key = "pass-w0rd-123", "t0ken-456", "k3y-789"
	echo := serve(t, func(w http.ResponseWriter, q *http.Request) {
		user, pass, _ := q.BasicAuth()
		w.Header().Set("Location", "/?was="+url.QueryEscape(q.Header.Get("X-Key")))
		w.WriteHeader(http.StatusFound)
		fmt.Fprintf(w, "no access for %s with %s to %s, you sent %v", user, pass, q.URL, q.Header)
	})
	secretHeaders := &commonconfig.Headers{Headers: map[string]commonconfig.Header{"X-Key": {Secrets: []commonconfig.Secret{key}}}}
	for name, change := range map[string]func(*Config){
		"basic auth": func(c *Config) {
			c.HTTPClientConfig.BasicAuth = &commonconfig.BasicAuth{Username: "someone", Password: password}
		},
		"user info": func(c *Config) { c.URL.User = url.UserPassword("someone", password) },
		"authorization": func(c *Config) {
			c.HTTPClientConfig.Authorization = &commonconfig.Authorization{Type: "Bearer", Credentials: token}
		},
		"bearer token": func(c *Config) { c.HTTPClientConfig.BearerToken = token },
		"http_headers": func(c *Config) { c.HTTPClientConfig.HTTPHeaders = secretHeaders },
		"headers":      func(c *Config) { c.Headers = map[string]string{"X-Key": key, "X-Scope-OrgID": "tenant-1"} },
		"parameters":   func(c *Config) { c.URL.RawQuery = "db=metrics&p=" + password + "&api_key=" + key + "&Token=" + token },
		"far into it": func(c *Config) {
			c.HTTPClientConfig.BearerToken = commonconfig.Secret(token)
			c.Headers = map[string]string{"A": strings.Repeat("long-", 180)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := dialled(t, echo.URL+"/push", change, noFollow)
			r := store(t, c)
			require.ErrorContains(t, r.Err, "no access for")
			all := r.Err.Error() + c.Endpoint()
			basic := base64.StdEncoding.EncodeToString([]byte("someone:" + password))
			for _, secret := range []string{password, token, key, basic} {
				require.NotContains(t, all, secret)
			}
			if name == "headers" {
				require.Contains(t, all, "tenant-1", "who is sending is no secret")
			}
			if name == "parameters" {
				require.Contains(t, c.Endpoint(), "/push?db=xxxxx&p=xxxxx&api_key=xxxxx&Token=xxxxx")
			}
		})
	}
}

func TestRedacted(t *testing.T) {
	for in, want := range map[string]string{
		"http://h/w?a=b;token=hidden;c=d&e=f": "http://h/w?a=b;token=xxxxx&e=f",
		"http://h/x":                          "http://h/x",
		"http://u:p@h/x?a=b":                  "http://u:xxxxx@h/x?a=b",
		"http://h/x?db=a&u=b&p=c&p2=d":        "http://h/x?db=a&u=b&p=xxxxx&p2=d",
		"http://h/x?access_token=a%26b&c=d":   "http://h/x?access_token=xxxxx&c=d",
		"http://h/x?X-Amz-Signature=a#f":      "http://h/x?X-Amz-Signature=xxxxx#f",
		"http://h/x?compress=1&keep=2&step=3": "http://h/x?compress=1&keep=2&step=3",
	} {
		u, err := url.Parse(in)
		require.NoError(t, err)
		require.Equal(t, want, Redacted(u))
	}
}

// TestSecretsOf: whatever is typed as a secret is known, nothing else is.
func TestSecretsOf(t *testing.T) {
	proxy, err := url.Parse("http://me:proxy-1@host")
	require.NoError(t, err)
	cfg := configFor(t, "http://me:url-1@host/x")
	cfg.Headers = map[string]string{"X-Key": "plain-1", "x-scope-orgid": "tenant"}
	h := &cfg.HTTPClientConfig
	h.BearerToken = "bearer-1"
	h.BasicAuth = &commonconfig.BasicAuth{Username: "me", Password: "basic-1", PasswordFile: "file"}
	h.Authorization = &commonconfig.Authorization{Type: "T", Credentials: "credentials-1"}
	h.OAuth2 = &commonconfig.OAuth2{ClientID: "id", ClientSecret: "client-1", TLSConfig: commonconfig.TLSConfig{Key: "key-2"}}
	h.TLSConfig.Key = "key-1"
	h.HTTPHeaders = &commonconfig.Headers{Headers: map[string]commonconfig.Header{"A": {Values: []string{"v"}, Secrets: []commonconfig.Secret{"header-1"}}}}
	h.ProxyURL.URL = proxy
	h.ProxyConnectHeader = commonconfig.ProxyHeader{"B": {"connect-1"}}
	cfg.SigV4 = staticSigV4()
	found := slices.DeleteFunc(secretsOf(cfg, cfg.Headers), func(s string) bool { return s == "" })
	require.ElementsMatch(t, []string{
		"basic-1", "bearer-1", base64.StdEncoding.EncodeToString([]byte("me:proxy-1")), base64.StdEncoding.EncodeToString([]byte("me:url-1")),
		"client-1", "connect-1", "credentials-1", "header-1", "key-1", "key-2", "plain-1", "proxy-1",
		string(cfg.SigV4.SecretKey), "url-1",
	}, found)
}

// TestTokenServerRepeatsSecrets: the same with OAuth2, where the text comes
// with an error of the transport.
func TestTokenServerRepeatsSecrets(t *testing.T) {
	const secret = "cl1ent-secret"
	tokens := serve(t, func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		_, password, _ := q.BasicAuth()
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, "unknown client: %s %s", password, body)
	})
	c := dialled(t, serve(t, answer(204, "")).URL, func(c *Config) {
		c.HTTPClientConfig.OAuth2 = &commonconfig.OAuth2{ClientID: "me", ClientSecret: secret, TokenURL: tokens.URL}
	})
	r := store(t, c)
	requireNoResponse(t, r, false)
	require.ErrorContains(t, r.Err, "unknown client")
	require.NotContains(t, r.Err.Error(), secret)
}
