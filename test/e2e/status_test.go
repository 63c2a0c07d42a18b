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

package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/test/e2e/harness"
	"github.com/ackwal/ackwal/tsdb/agent/statuspage"
)

// deliveryStatus returns what the API says.
func deliveryStatus(t *testing.T, s *harness.Scenario) statuspage.Status {
	t.Helper()
	text, err := s.Agent.Get("/api/v1/status/delivery")
	require.NoError(t, err)
	var answer struct {
		Status string            `json:"status"`
		Data   statuspage.Status `json:"data"`
	}
	require.NoError(t, json.Unmarshal(text, &answer))
	require.Equal(t, "success", answer.Status)
	return answer.Data
}

// TestDeliveryStatus takes endpoints through the states that the API and the page have a
// word for, with the limit on what an endpoint may keep that there is by then.
func TestDeliveryStatus(t *testing.T) {
	t.Parallel()
	s := harness.New(t, harness.Options{
		Protocol: harness.V1, Receivers: []string{"main", "down", "denied"}, Series: 500, ScrapeInterval: 400 * time.Millisecond,
		Queue: map[string]any{"max_shards": 1, "max_samples_per_send": 100},
		Extra: map[string]any{"basic_auth": map[string]string{"username": "somebody", "password": "hidden"}},
	})
	s.Agent.Flags = []string{
		"--storage.agent.retention.endpoint-max-size=200KB",
		"--web.external-url=http://example.org/outside/", "--web.route-prefix=/",
	}
	endpoint := func(name string) (delivery.EndpointStatus, bool) {
		all := deliveryStatus(t, s).Endpoints
		i := slices.IndexFunc(all, func(e statuspage.Endpoint) bool { return e.EndpointStatus.Name == name })
		if i < 0 {
			return delivery.EndpointStatus{}, false
		}
		return all[i].EndpointStatus, true
	}
	// become waits until an endpoint is in a state, which the page shows in words.
	become := func(name string, state delivery.State) (e delivery.EndpointStatus) {
		t.Helper()
		var were []string
		defer func() {
			if t.Failed() {
				t.Logf("states of %s: %v", name, were)
			}
		}()
		s.Until(name+" is "+string(state), func() bool {
			e, _ = endpoint(name)
			if n := len(were); n == 0 || were[n-1] != e.Description {
				were = append(were, e.Description)
			}
			return e.State == state
		})
		return e
	}
	shown := func(words ...string) {
		t.Helper()
		s.Until("the page shows "+strings.Join(words, ", "), func() bool {
			text, err := s.Agent.Get("/delivery")
			require.NoError(t, err)
			return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(string(text), w) })
		})
	}

	s.Start()
	s.WaitScrapes(10)
	for _, name := range []string{"main", "down", "denied"} {
		require.NotNil(t, become(name, delivery.StateDelivering).Behind)
	}
	s.Until("something is delivered", func() bool { e, _ := endpoint("main"); return e.NewestDelivered != nil })
	shown("delivering", "Is it healthy?", `href="/outside/metrics"`, `href="/outside/api/v1/status/delivery"`)

	s.Proxy("down").Refuse()
	s.Proxy("denied").Use(harness.Fail(http.StatusUnauthorized))
	down, denied := become("down", delivery.StateRetrying), become("denied", delivery.StateHeld)
	require.Zero(t, down.LastError.Status)
	require.Equal(t, "retrying: no answer", down.Description)
	require.Equal(t, http.StatusUnauthorized, denied.LastError.Status)
	require.Nil(t, denied.Until)
	require.Positive(t, denied.UnackedBytes)
	shown("retrying", "held until mended", "401 Unauthorized")
	become("main", delivery.StateDelivering)

	s.Until("the oldest segment waits for the dead endpoints", func() bool {
		r := deliveryStatus(t, s).Removal
		return slices.Contains(r.Endpoints, "down") && !slices.Contains(r.Endpoints, "main")
	})
	down = become("down", delivery.StateOverLimit)
	require.Equal(t, delivery.DropExpired, down.Drops[0].Kind)
	require.Equal(t, "endpoint_max_size", down.Drops[0].Reason)
	require.Positive(t, down.Drops[0].Samples)
	shown("over its limit", "taken by a limit")

	require.NoError(t, s.Agent.Reload(s.Agent.Config.With(s.Endpoint("main"), s.Endpoint("down")), reloadLimit))
	removed := become("denied", delivery.StateRemoved)
	require.WithinDuration(t, time.Now().Add(delivery.DefaultRemovedRetention), *removed.Until, time.Minute)
	shown("removed from the configuration", "kept until")

	s.Proxy("down").Use(harness.Slow(40 * time.Millisecond))
	require.NoError(t, s.Proxy("down").Accept())
	down = become("down", delivery.StateCatchingUp)
	require.GreaterOrEqual(t, *down.Behind, 10.0)
	shown("catching up")
	s.Proxy("down").Use(harness.Pass())
	down = become("down", delivery.StateDelivering)
	require.NotEmpty(t, down.Drops, "what was lost is not forgotten")
	become("main", delivery.StateDelivering)

	text, err := s.Agent.Get("/delivery")
	require.NoError(t, err)
	for _, secret := range []string{"somebody", "hidden", "<script"} {
		require.NotContains(t, string(text), secret)
	}
	_, err = s.Agent.Get("/api/v1/openapi.yaml")
	require.NoError(t, err)
	body, err := s.Agent.Head("/delivery") // As monitors ask.
	require.NoError(t, err)
	require.Empty(t, body)
}

// TestDeliveryStatusUnavailable: best-effort delivery says that there is none, as upstream's
// API does.
func TestDeliveryStatusUnavailable(t *testing.T) {
	t.Parallel()
	engine := harness.UnderTest(t)
	if !engine.IsDurable() {
		t.Skip("the binary has no durable delivery")
	}
	engine.Delivery = harness.BestEffort
	s := harness.New(t, harness.Options{Protocol: harness.V2, Engine: engine})
	s.Start()
	_, err := s.Agent.Get("/api/v1/status/delivery")
	require.ErrorContains(t, err, "422")
	require.ErrorContains(t, err, `"error":"unavailable without durable delivery of Prometheus Agent"`)
	text, err := s.Agent.Get("/delivery")
	require.NoError(t, err)
	require.Contains(t, string(text), "Delivery is by best effort")
}

// TestDeliveryFieldsAreDocumented: docs/delivery-api.md has each field of the answer.
func TestDeliveryFieldsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/delivery-api.md")
	require.NoError(t, err)
	seen := map[reflect.Type]bool{}
	var look func(typ reflect.Type)
	look = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || typ.PkgPath() == "time" || seen[typ] {
			return
		}
		seen[typ] = true
		for f := range typ.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "-" || !f.IsExported() {
				continue
			}
			if name != "" {
				require.Contains(t, string(text), "`"+name+"`", "%s of %s", name, typ)
			}
			if _, ok := reflect.TypeAssert[json.Marshaler](reflect.New(f.Type)); !ok {
				look(f.Type)
			}
		}
	}
	look(reflect.TypeFor[statuspage.Status]())
	require.Len(t, seen, 15, "all parts were looked at")
}
