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
	"fmt"
	"net/http"
	"net/url"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	commonconfig "github.com/prometheus/common/config"
	"github.com/prometheus/sigv4"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/storage/remote/azuread"
	"github.com/prometheus/prometheus/storage/remote/googleiam"

	"github.com/ackwal/ackwal/storage/remote/delivery/encoder"
)

// Config says where to send requests and how. The fields mean what they mean in
// an endpoint's configuration.
type Config struct {
	Name             string
	URL              *commonconfig.URL
	Timeout          time.Duration // Of one attempt, must be positive.
	HTTPClientConfig commonconfig.HTTPClientConfig
	SigV4            *sigv4.SigV4Config
	AzureAD          *azuread.AzureADConfig
	GoogleIAM        *googleiam.Config
	Headers          map[string]string
	RoundRobinDNS    bool
	Protocol         remoteapi.WriteMessageType // Empty means remote write 1.0.
}

// FromRemoteWrite returns the client's part of an endpoint's configuration. The
// name is given apart because unnamed endpoints get one from elsewhere.
func FromRemoteWrite(name string, c *config.RemoteWriteConfig) Config {
	return Config{
		Name:             name,
		URL:              c.URL,
		Timeout:          time.Duration(c.RemoteTimeout),
		HTTPClientConfig: c.HTTPClientConfig,
		SigV4:            c.SigV4Config,
		AzureAD:          c.AzureADConfig,
		GoogleIAM:        c.GoogleIAMConfig,
		Headers:          c.Headers,
		RoundRobinDNS:    c.RoundRobinDNS,
		Protocol:         c.ProtobufMessage,
	}
}

// Client sends requests to one endpoint. It is safe for concurrent use.
type Client struct {
	name     string
	endpoint string // Without user info, for people.
	timeout  time.Duration
	http     *http.Client
	signs    bool // A layer of http writes to the requests it is given.
	// Every request is like these. Transports share their URLs and headers and
	// leave them alone, as round trippers have to.
	direct  *http.Request // For the transport.
	full    *http.Request // For http, which makes basic auth of user info.
	closers []idleCloser
	usage   usage
	secrets []string // Of the configuration; not to be shown.
}

type idleCloser interface{ CloseIdleConnections() }

// New returns a client. Credentials are looked up at once where the
// authentication method does that, so that errors appear when the configuration
// is applied and not at the first request.
func New(cfg Config) (*Client, error) {
	if cfg.URL == nil || cfg.URL.URL == nil {
		return nil, fmt.Errorf("remote write endpoint %q has no url", cfg.Name)
	}
	c := &Client{
		name:     cfg.Name,
		endpoint: withoutUser(cfg.URL.URL),
		timeout:  cfg.Timeout,
		secrets:  secretsOf(cfg, cfg.Headers),
	}
	if cfg.Timeout <= 0 {
		return nil, fmt.Errorf("remote write endpoint %s: remote_timeout is %s, set it to more than zero", c.endpoint, cfg.Timeout)
	}
	header, err := fixedHeader(cfg.Protocol)
	if err != nil {
		return nil, fmt.Errorf("remote write endpoint %s: %w", c.endpoint, err)
	}
	if err := c.prepare(cfg.URL.URL, header); err != nil {
		return nil, fmt.Errorf("remote write endpoint %s: %w", c.endpoint, safe(err, c.secrets))
	}
	if err := c.connect(cfg); err != nil {
		return nil, fmt.Errorf("remote write endpoint %s: %w", c.endpoint, safe(err, c.secrets))
	}
	return c, nil
}

// prepare makes what all requests have in common.
func (c *Client) prepare(u *url.URL, header http.Header) (err error) {
	if c.full, err = http.NewRequestWithContext(context.Background(), http.MethodPost, u.String(), http.NoBody); err != nil {
		return err
	}
	c.full.Header = header
	c.direct = c.full.Clone(context.Background())
	if user := c.direct.URL.User; user != nil {
		password, _ := user.Password()
		c.direct.SetBasicAuth(user.Username(), password)
	}
	return nil
}

// fixedHeader returns what every request of the protocol carries.
func fixedHeader(message remoteapi.WriteMessageType) (http.Header, error) {
	protocol, err := encoder.ProtocolOf(message)
	if err != nil {
		return nil, err
	}
	// Receivers of remote write 1.0 know the content type without parameters.
	content, version := "application/x-protobuf", remote.RemoteWriteVersion1HeaderValue
	if protocol == encoder.V2 {
		content += ";proto=" + protocol.String()
		version = remote.RemoteWriteVersion20HeaderValue
	}
	h := http.Header{}
	h.Set("Content-Encoding", string(remoteapi.SnappyBlockCompression))
	h.Set("Content-Type", content)
	h.Set("User-Agent", remote.UserAgent)
	h.Set(remote.RemoteWriteVersionHeader, version)
	return h, nil
}

// Name returns the name given in the configuration.
func (c *Client) Name() string { return c.name }

// Endpoint returns the URL without user info and without the values of
// parameters that look like secrets.
func (c *Client) Endpoint() string { return c.endpoint }

// Close drops connections, as soon as no attempt is under way. The client stays
// usable.
func (c *Client) Close() {
	if c.usage.close() {
		c.disconnect()
	}
}

func (c *Client) disconnect() {
	for _, closer := range c.closers {
		closer.CloseIdleConnections()
	}
}

// Store sends the compressed request once. tries counts earlier attempts with
// the same samples and is told to the receiver if it is above zero. The body
// may be reused as soon as Store has returned. Store returns promptly when the
// context is cancelled; the result is then a Retry whose Err is the context's.
func (c *Client) Store(ctx context.Context, body []byte, tries int) (r Result) {
	a := c.usage.begin(ctx, c.timeout)
	answered := false
	defer func() {
		if c.usage.end(a, answered) {
			c.disconnect()
		}
	}()
	a.lent.lend(body)
	within := context.Context(a)
	if traced(ctx) {
		var span trace.Span
		within, span = otel.Tracer("").Start(a, "Remote Store", trace.WithSpanKind(trace.SpanKindClient))
		defer func() {
			if r.Err != nil {
				span.SetStatus(codes.Error, r.Err.Error())
			}
			span.End()
		}()
	}

	response, err := c.send(within, a, tries)
	// Signers read the body before there is a connection, hence both conditions.
	sent := a.lent.end() && a.connected.Load()
	if err != nil {
		return Result{Ambiguous: sent, Err: c.failure(ctx, a, err)}
	}
	// With a span, that has the context too.
	answered = response.Body == http.NoBody && within == a
	return c.read(response, a)
}

// send has the request sent. net/http's client comes in where there is more to
// do than that: it follows redirects and words errors. Otherwise it would be a
// third of what a request allocates.
func (c *Client) send(ctx context.Context, a *attempt, tries int) (*http.Response, error) {
	transport := c.http.Transport
	if !c.signs {
		response, err := transport.RoundTrip(a.request(ctx, c.direct, tries))
		if err == nil && response != nil && response.Body != nil && response.StatusCode/100 != 3 {
			return response, nil
		}
		transport = &answered{response: response, err: err, next: transport}
	}
	client := http.Client{Transport: transport, CheckRedirect: c.http.CheckRedirect}
	response, err := client.Do(own(a.request(ctx, c.full, tries)))
	// The layer that net/http adds names the URL again.
	if layer := (*url.Error)(nil); errors.As(err, &layer) {
		err = layer.Err
	}
	return response, err
}

// failure explains why there was no response. Which limit has ended the attempt
// is read from the contexts, since the transport's errors do not tell.
func (c *Client) failure(caller, bounded context.Context, err error) error {
	switch {
	case caller.Err() != nil:
		err = fmt.Errorf("given up: %w", context.Cause(caller))
	case errors.Is(bounded.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("no response within the remote_timeout of %s: %w", c.timeout, context.DeadlineExceeded)
	}
	return fmt.Errorf("sending to %s: %w", c.endpoint, safe(err, c.secrets))
}
