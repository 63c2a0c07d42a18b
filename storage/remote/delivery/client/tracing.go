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
	"net/http"
	"net/http/httptrace"

	"go.opentelemetry.io/contrib/instrumentation/net/http/httptrace/otelhttptrace"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// untraced is the provider of tracers of a process that has not set one, nil if
// one was set before this could look.
var untraced = func() trace.TracerProvider {
	p := otel.GetTracerProvider()
	if _, span := p.Tracer("").Start(context.Background(), ""); span.SpanContext().IsValid() {
		return nil
	}
	return p
}()

// traced reports whether a span for the request would go anywhere, or has one to
// continue. The answer may be another with every request: a reload of the
// configuration sets a provider and takes it away.
func traced(ctx context.Context) bool {
	p := otel.GetTracerProvider()
	if _, none := p.(noop.TracerProvider); !none && p != untraced {
		return true
	}
	return trace.SpanContextFromContext(ctx).IsValid()
}

// tracing adds the spans of net/http to requests that belong to a trace. Without
// a tracing configuration none does, and the layer would be most of what a
// request allocates.
type tracing struct{ plain, spans http.RoundTripper }

func newTracing(next http.RoundTripper) *tracing {
	return &tracing{plain: next, spans: otelhttp.NewTransport(next, otelhttp.WithClientTrace(
		func(ctx context.Context) *httptrace.ClientTrace {
			return otelhttptrace.NewClientTrace(ctx, otelhttptrace.WithoutSubSpans())
		},
	))}
}

// RoundTrip implements http.RoundTripper.
func (t *tracing) RoundTrip(request *http.Request) (*http.Response, error) {
	if trace.SpanContextFromContext(request.Context()).IsValid() {
		return t.spans.RoundTrip(request)
	}
	return t.plain.RoundTrip(request)
}
