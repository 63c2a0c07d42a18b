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

package bench

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"reflect"
	"unsafe"

	"go.opentelemetry.io/contrib/instrumentation/net/http/httptrace/otelhttptrace"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"

	"github.com/ackwal/ackwal/storage/remote/delivery"

	"github.com/prometheus/prometheus/storage/remote"
)

// member returns a field of a struct that v points to, exported or not.
func member(v reflect.Value, name string) (reflect.Value, error) {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return reflect.Value{}, fmt.Errorf("looking for field %q in a %s", name, v.Kind())
	}
	f := v.FieldByName(name)
	if !f.IsValid() {
		return f, fmt.Errorf("%s has no field %q any more: adjust the benchmark", v.Type(), name)
	}
	return reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem(), nil
}

// path follows fields from v.
func path(v reflect.Value, names ...string) (reflect.Value, error) {
	var err error
	for _, name := range names {
		if v, err = member(v, name); err != nil {
			return v, err
		}
	}
	return v, nil
}

// clientsOfStock returns the HTTP clients of a storage's endpoints.
func clientsOfStock(s *remote.Storage) (out []*http.Client, err error) {
	queues, err := path(reflect.ValueOf(s), "rws", "queues")
	if err != nil {
		return nil, err
	}
	for it := queues.MapRange(); it.Next(); {
		c, err := path(it.Value(), "storeClient")
		if err != nil {
			return nil, err
		}
		out = append(out, c.Interface().(*remote.Client).Client)
	}
	return out, nil
}

// clientsOfDurable is the same for our storage.
func clientsOfDurable(s *delivery.Storage) (out []*http.Client, err error) {
	running, err := path(reflect.ValueOf(s), "running")
	if err != nil {
		return nil, err
	}
	for i := range running.Len() {
		settings, err := path(running.Index(i), "settings")
		if err != nil {
			return nil, err
		}
		now := settings.Addr().MethodByName("Load").Call(nil)[0]
		c, err := path(now, "client", "http")
		if err != nil {
			return nil, err
		}
		out = append(out, c.Interface().(*http.Client))
	}
	return out, nil
}

// divert makes the clients send to n. Nothing may be under way yet. The layer
// for tracing, which both engines have, stays; no trace is on.
func divert(clients []*http.Client, n network) error {
	if len(clients) != len(n) {
		return fmt.Errorf("found %d clients for %d endpoints", len(clients), len(n))
	}
	for _, c := range clients {
		c.Transport = otelhttp.NewTransport(n, otelhttp.WithClientTrace(func(ctx context.Context) *httptrace.ClientTrace {
			return otelhttptrace.NewClientTrace(ctx, otelhttptrace.WithoutSubSpans())
		}))
	}
	return nil
}
