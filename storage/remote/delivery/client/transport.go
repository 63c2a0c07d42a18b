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
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"

	commonconfig "github.com/prometheus/common/config"
	"github.com/prometheus/sigv4"
	"go.opentelemetry.io/contrib/instrumentation/net/http/httptrace/otelhttptrace"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"

	"github.com/prometheus/prometheus/storage/remote/azuread"
	"github.com/prometheus/prometheus/storage/remote/googleiam"
)

// maxRedirects is how many redirects net/http follows by default.
const maxRedirects = 10

// connect builds the HTTP client: the configured transport, the configured
// headers, one signer, tracing. Headers are set below the signers, as stock
// does, so that what is signed is the same.
func (c *Client) connect(cfg Config) error {
	dial := (&net.Dialer{}).DialContext
	if cfg.RoundRobinDNS {
		dial = newBalancingDialer().dial
	}
	base, err := commonconfig.NewClientFromConfig(cfg.HTTPClientConfig, "remote_storage_write_client",
		commonconfig.WithDialContextFunc(limited(dial)))
	if err != nil {
		return err
	}
	layers := []struct {
		wanted bool
		what   string
		wrap   func(http.RoundTripper) (http.RoundTripper, error)
	}{
		{len(cfg.Headers) > 0, "headers", func(next http.RoundTripper) (http.RoundTripper, error) {
			return &headerSetter{headers: cfg.Headers, next: next}, nil
		}},
		{cfg.SigV4 != nil, "sigv4", func(next http.RoundTripper) (http.RoundTripper, error) {
			return sigv4.NewSigV4RoundTripper(cfg.SigV4, next)
		}},
		{cfg.AzureAD != nil, "azuread", func(next http.RoundTripper) (http.RoundTripper, error) {
			return azuread.NewAzureADRoundTripper(cfg.AzureAD, next)
		}},
		{cfg.GoogleIAM != nil, "google_iam", func(next http.RoundTripper) (http.RoundTripper, error) {
			return googleiam.NewRoundTripper(cfg.GoogleIAM, next)
		}},
	}
	top := base.Transport
	c.idle, _ = top.(idleCloser)
	for _, layer := range layers {
		if !layer.wanted {
			continue
		}
		if top, err = layer.wrap(top); err != nil {
			return fmt.Errorf("setting up %s: %w", layer.what, err)
		}
	}
	c.http = &http.Client{
		Transport: otelhttp.NewTransport(top, otelhttp.WithClientTrace(func(ctx context.Context) *httptrace.ClientTrace {
			return otelhttptrace.NewClientTrace(ctx, otelhttptrace.WithoutSubSpans())
		})),
		CheckRedirect: followOnlyPosts(cfg.HTTPClientConfig.FollowRedirects),
	}
	return nil
}

// followOnlyPosts returns a redirect policy that hands out the redirect itself
// where following it would send no samples. net/http turns a POST into a GET
// for 301, 302 and 303.
func followOnlyPosts(follow bool) func(*http.Request, []*http.Request) error {
	return func(next *http.Request, earlier []*http.Request) error {
		if !follow || next.Method != http.MethodPost || len(earlier) >= maxRedirects {
			return http.ErrUseLastResponse
		}
		return nil
	}
}

// headerSetter adds the configured headers to each request.
type headerSetter struct {
	headers map[string]string
	next    http.RoundTripper
}

func (s *headerSetter) RoundTrip(request *http.Request) (*http.Response, error) {
	// A round tripper must leave the request as it is, and on a redirect
	// net/http copies its headers to another host.
	own := request.WithContext(request.Context())
	own.Header = request.Header.Clone()
	for name, value := range s.headers {
		own.Header.Set(name, value)
	}
	return s.next.RoundTrip(own)
}
