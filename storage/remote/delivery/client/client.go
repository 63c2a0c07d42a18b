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
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	commonconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/version"
	"github.com/prometheus/sigv4"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/storage/remote/delivery/identity"
	"github.com/ackwal/ackwal/storage/remote/internal/encoder"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/storage/remote/azuread"
	"github.com/prometheus/prometheus/storage/remote/googleiam"
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
	url      string // With user info.
	endpoint string // Without it, for people.
	timeout  time.Duration
	protocol encoder.Protocol
	http     *http.Client
	idle     idleCloser // Nil if the transport has nothing to close.
	secrets  []string   // Of the configuration; not to be shown.

	// Connections may be dropped only while no attempt is under way: net/http
	// counts one as idle a moment before it hands over the response that came on
	// it, and a request whose connection is dropped in that moment counts as
	// failed, although it was answered. What it held would be sent again.
	mtx    sync.Mutex
	active int
	closed bool
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
		url:      cfg.URL.String(),
		endpoint: identity.ShownURL(cfg.URL.URL),
		timeout:  cfg.Timeout,
		secrets:  secretsOf(cfg, cfg.Headers),
	}
	if cfg.Timeout <= 0 {
		return nil, fmt.Errorf("remote write endpoint %s: remote_timeout is %s, set it to more than zero", c.endpoint, cfg.Timeout)
	}
	if err := c.prepare(cfg); err != nil {
		return nil, fmt.Errorf("remote write endpoint %s: %w", c.endpoint, safe(err, c.secrets))
	}
	return c, nil
}

func (c *Client) prepare(cfg Config) (err error) {
	if c.protocol, err = encoder.ProtocolOf(cfg.Protocol); err != nil {
		return err
	}
	// A URL of which no request can be made is found now.
	if _, err := c.request(context.Background(), &attemptBody{}, 0); err != nil {
		return err
	}
	return c.connect(cfg)
}

// request returns a request of its own for an attempt: nothing of it, neither
// its URL nor its header, is in another, since the layers of the transport write
// to what they are given.
func (c *Client) request(ctx context.Context, body *attemptBody, tries int) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, http.NoBody)
	if err != nil {
		return nil, err
	}
	if n := len(body.data); n > 0 {
		request.ContentLength, request.GetBody = int64(n), body.open
		request.Body, _ = body.open()
	}
	// Receivers of remote write 1.0 know the content type without parameters.
	content, protocol := "application/x-protobuf", "0.1.0"
	if c.protocol == encoder.V2 {
		content += ";proto=" + c.protocol.String()
		protocol = "2.0.0"
	}
	h := request.Header
	h.Set("Content-Encoding", string(remoteapi.SnappyBlockCompression))
	h.Set("Content-Type", content)
	h.Set("User-Agent", version.PrometheusUserAgent())
	h.Set("X-Prometheus-Remote-Write-Version", protocol)
	if tries > 0 {
		h.Set("Retry-Attempt", strconv.Itoa(tries))
	}
	return request, nil
}

// Name returns the name given in the configuration.
func (c *Client) Name() string { return c.name }

// Endpoint returns the URL without user info and without the values of
// parameters that look like secrets.
func (c *Client) Endpoint() string { return c.endpoint }

// Close drops connections, as soon as no attempt is under way. The client stays
// usable.
func (c *Client) Close() {
	c.mtx.Lock()
	c.closed = true
	unused := c.active == 0
	c.mtx.Unlock()
	if unused {
		c.disconnect()
	}
}

func (c *Client) begin() {
	c.mtx.Lock()
	defer c.mtx.Unlock()
	c.active++
}

// end drops connections if Close waits for that.
func (c *Client) end() {
	c.mtx.Lock()
	c.active--
	unused := c.closed && c.active == 0
	c.mtx.Unlock()
	if unused {
		c.disconnect()
	}
}

func (c *Client) disconnect() {
	if c.idle != nil {
		c.idle.CloseIdleConnections()
	}
}

// Store sends the compressed request once. tries counts earlier attempts with
// the same samples and is told to the receiver if it is above zero. The payload
// may be reused as soon as Store has returned. Store returns promptly when the
// context is cancelled; the result is then a Retry whose Err is the context's.
func (c *Client) Store(ctx context.Context, payload []byte, tries int) (r Result) {
	c.begin()
	defer c.end()
	bounded, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var connected atomic.Bool // The hook may run in one of the transport's goroutines.
	within := httptrace.WithClientTrace(bounded, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	within, span := otel.Tracer("").Start(within, "Remote Store", trace.WithSpanKind(trace.SpanKindClient))
	defer func() {
		if r.Err != nil {
			span.SetStatus(codes.Error, r.Err.Error())
		}
		span.End()
	}()

	body := &attemptBody{data: payload}
	request, err := c.request(within, body, tries)
	if err != nil {
		return Result{Err: c.failure(ctx, bounded, err)}
	}
	response, err := c.http.Do(request)
	// Signers read the body before there is a connection, hence both conditions.
	sent := body.end() && connected.Load()
	if err != nil {
		// The layer that net/http adds names the URL again.
		if layer := (*url.Error)(nil); errors.As(err, &layer) {
			err = layer.Err
		}
		return Result{Ambiguous: sent, Err: c.failure(ctx, bounded, err)}
	}
	return c.read(response, cancel)
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
