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
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	commonconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/sigv4"
	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/storage/remote/azuread"
	"github.com/prometheus/prometheus/storage/remote/googleiam"
)

func TestFromRemoteWrite(t *testing.T) {
	rw := config.DefaultRemoteWriteConfig
	rw.URL = reparse(t, "http://user:secret@example.org/push?a=b")
	rw.RemoteTimeout = model.Duration(7 * time.Second)
	rw.Headers = map[string]string{"A": "b"}
	rw.RoundRobinDNS = true
	rw.ProtobufMessage = remoteapi.WriteV2MessageType
	rw.SigV4Config, rw.AzureADConfig, rw.GoogleIAMConfig = &sigv4.SigV4Config{}, &azuread.AzureADConfig{}, &googleiam.Config{}
	require.Equal(t, Config{
		Name: "n", URL: rw.URL, Timeout: 7 * time.Second, HTTPClientConfig: rw.HTTPClientConfig,
		SigV4: rw.SigV4Config, AzureAD: rw.AzureADConfig, GoogleIAM: rw.GoogleIAMConfig,
		Headers: rw.Headers, RoundRobinDNS: true, Protocol: remoteapi.WriteV2MessageType,
	}, FromRemoteWrite("n", &rw))

	rw.SigV4Config, rw.AzureADConfig, rw.GoogleIAMConfig = nil, nil, nil
	c, err := New(FromRemoteWrite("n", &rw))
	require.NoError(t, err)
	require.Equal(t, "n", c.Name())
	require.Equal(t, "http://example.org/push?a=xxxxx", c.Endpoint())
}

// TestBadConfig: mistakes appear when the configuration is applied, say where
// they are, and show no credentials.
func TestBadConfig(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent")
	t.Setenv("AWS_CONFIG_FILE", absent)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", absent)
	for name, tc := range map[string]struct {
		change func(c *Config)
		want   string
	}{
		"no url":           {func(c *Config) { c.URL = nil }, `"test" has no url`},
		"empty url":        {func(c *Config) { c.URL = &commonconfig.URL{} }, `"test" has no url`},
		"no timeout":       {func(c *Config) { c.Timeout = 0 }, "remote_timeout is 0s, set it to more than zero"},
		"negative timeout": {func(c *Config) { c.Timeout = -1 }, "set it to more than zero"},
		"protocol":         {func(c *Config) { c.Protocol = "v3" }, `protobuf_message "v3" is not known`},
		"tls": {func(c *Config) {
			c.HTTPClientConfig.TLSConfig = commonconfig.TLSConfig{CAFile: absent}
		}, absent},
		"sigv4 profile": {func(c *Config) {
			c.SigV4 = &sigv4.SigV4Config{Region: "eu-west-1", Profile: "absent"}
		}, "setting up sigv4"},
		"azuread cloud": {func(c *Config) {
			c.AzureAD = &azuread.AzureADConfig{Cloud: "nonsense"}
		}, "setting up azuread"},
		"google credentials": {func(c *Config) {
			c.GoogleIAM = &googleiam.Config{CredentialsFile: absent}
		}, "setting up google_iam"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := configFor(t, "http://user:secret@example.org/push", tc.change)
			c, err := New(cfg)
			require.Nil(t, c)
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "secret")
			if cfg.URL != nil && cfg.URL.URL != nil {
				require.ErrorContains(t, err, "http://example.org/push")
			}
		})
	}
}

func TestUnknownAuthority(t *testing.T) {
	server := httptest.NewUnstartedServer(answer(200, ""))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	r := store(t, dialled(t, server.URL))
	requireNoResponse(t, r, false)
	require.ErrorContains(t, r.Err, "certificate")
}

// TestNoUserInfoInErrors defends invariant 5 in every place where an error can
// mention a URL.
func TestNoUserInfoInErrors(t *testing.T) {
	withUser := func(c *Config) { c.URL.User = url.UserPassword("the user", "s3cr/et@") }
	over := make(chan struct{})
	hanging := serve(t, func(http.ResponseWriter, *http.Request) { <-over })
	t.Cleanup(func() { close(over) })
	results := map[string]Result{
		"refused connection": store(t, dialled(t, unused(t), withUser)),
		"wrong scheme":       store(t, dialled(t, "ftp://example.org", withUser)),
		"timeout": store(t, dialled(t, hanging.URL, withUser, func(c *Config) {
			c.Timeout = 20 * time.Millisecond
		})),
		"echo of the URL":   store(t, dialled(t, serve(t, answer(400, "bad request to http://the%20user:s3cr%2Fet%40@host/push")).URL, withUser)),
		"broken redirect":   store(t, dialled(t, redirecting(t, "http://the%20user:s3cr%2Fet%40@ho st/").URL, withUser)),
		"redirect":          store(t, dialled(t, redirecting(t, "http://the%20user:s3cr%2Fet%40@example.org/").URL, withUser, noFollow)),
		"redirect to other": store(t, dialled(t, redirecting(t, "http://the%20user:s3cr%2Fet%40@"+strings.TrimPrefix(unused(t), "http://")).URL, withUser)),
	}
	for name, r := range results {
		t.Run(name, func(t *testing.T) {
			require.Error(t, r.Err)
			for _, secret := range []string{"s3cr", "the user", "the%20user", "the+user"} {
				require.NotContains(t, r.Err.Error(), secret)
			}
		})
	}
}

func noFollow(c *Config) { c.HTTPClientConfig.FollowRedirects = false }

func redirecting(t *testing.T, to string) *httptest.Server {
	return serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
}

func FuzzHideUser(f *testing.F) {
	f.Add("user", "pass", "http://%s/x")
	f.Add("us/er", "p@ss", `Post "%s": refused`)
	f.Fuzz(func(t *testing.T, user, password, around string) {
		u := &url.URL{Scheme: "http", User: url.UserPassword(user, password), Host: "example.org"}
		if strings.Contains(around, u.User.String()+"@") {
			t.Skip()
		}
		text := safe(errors.New(around+" "+u.String()+" "+around), nil).Error()
		require.NotContains(t, text, u.User.String()+"@")
		require.Contains(t, text, "//example.org")
	})
}

// TestSpreadDialer checks the dialer of round_robin_dns on its own.
func TestSpreadDialer(t *testing.T) {
	broken := errors.New("broken")
	for name, tc := range map[string]struct {
		address string
		found   []string
		lookup  error
		first   int
		dead    []string
		want    []string // What is dialled, in order.
		err     error
	}{
		"starts where it picks":       {address: "h:80", found: []string{"1.1.1.1", "2.2.2.2", "3.3.3.3"}, first: 1, want: []string{"2.2.2.2:80"}},
		"goes on after a dead one":    {address: "h:80", found: []string{"1.1.1.1", "2.2.2.2", "3.3.3.3"}, first: 2, dead: []string{"3.3.3.3:80", "1.1.1.1:80"}, want: []string{"3.3.3.3:80", "1.1.1.1:80", "2.2.2.2:80"}},
		"all dead":                    {address: "h:80", found: []string{"1.1.1.1", "::1"}, dead: []string{"1.1.1.1:80", "[::1]:80"}, want: []string{"1.1.1.1:80", "[::1]:80"}, err: broken},
		"no port":                     {address: "h", want: []string{"h"}},
		"unknown name":                {address: "h:80", lookup: broken, want: []string{"h:80"}},
		"name without addresses":      {address: "h:80", want: []string{"h:80"}},
		"error of the plain dialling": {address: "h:80", lookup: broken, dead: []string{"h:80"}, want: []string{"h:80"}, err: broken},
	} {
		t.Run(name, func(t *testing.T) {
			var dialled []string
			d := &balancingDialer{
				lookup: func(context.Context, string) ([]string, error) { return tc.found, tc.lookup },
				pick:   func(int) int { return tc.first },
				connect: func(_ context.Context, network, address string) (net.Conn, error) {
					require.Equal(t, "tcp", network)
					dialled = append(dialled, address)
					if slices.Contains(tc.dead, address) {
						return nil, broken
					}
					return nil, nil
				},
			}
			_, err := d.dial(context.Background(), "tcp", tc.address)
			require.ErrorIs(t, err, tc.err)
			require.Equal(t, tc.want, dialled)
		})
	}
}

func TestSpreadDialerStopsWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	dials := 0
	d := &balancingDialer{
		lookup: func(context.Context, string) ([]string, error) { return []string{"1.1.1.1", "2.2.2.2"}, nil },
		pick:   func(int) int { return 0 },
		connect: func(context.Context, string, string) (net.Conn, error) {
			dials++
			cancel()
			return nil, errors.New("unreachable")
		},
	}
	_, err := d.dial(ctx, "tcp", "h:80")
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "unreachable")
	require.Equal(t, 1, dials)
}

func TestSpreadDialerUsesEveryAddress(t *testing.T) {
	used := map[string]bool{}
	d := newBalancingDialer()
	d.lookup = func(context.Context, string) ([]string, error) { return []string{"1.1.1.1", "2.2.2.2", "3.3.3.3"}, nil }
	d.connect = func(_ context.Context, _, address string) (net.Conn, error) {
		used[address] = true
		return nil, nil
	}
	for range 1000 {
		_, err := d.dial(context.Background(), "tcp", "h:80")
		require.NoError(t, err)
	}
	require.Len(t, used, 3)
}

// TestRoundRobinDNS goes through a real name and a real connection.
func TestRoundRobinDNS(t *testing.T) {
	server := serve(t, answer(200, ""))
	_, port, err := net.SplitHostPort(strings.TrimPrefix(server.URL, "http://"))
	require.NoError(t, err)
	c := dialled(t, "http://localhost:"+port, func(c *Config) { c.RoundRobinDNS = true })
	r := store(t, c)
	require.NoError(t, r.Err)
	require.Equal(t, Delivered, r.Outcome)
}
