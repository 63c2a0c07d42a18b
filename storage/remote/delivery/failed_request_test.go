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

package delivery

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
)

// TestFailedRequestLogging covers that a failed request is logged with its
// content when the endpoint is configured so, and not otherwise.
func TestFailedRequestLogging(t *testing.T) {
	for _, message := range []remoteapi.WriteMessageType{remoteapi.WriteV1MessageType, remoteapi.WriteV2MessageType} {
		for _, on := range []bool{false, true} {
			j := openJournal(t, t.TempDir(), nil)
			got := bodies{make(chan []byte, 10)}
			r := newRig(t, j, nil, Options{DropDenied: true})
			var log syncedBuffer
			r.logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			r.opts.newClient = func(client.Config) (storer, error) { return refusing{got}, nil }
			c := remoteWrite("a")
			c.ProtobufMessage, c.FailedRequestLogging = message, on
			r.attach(c)
			r.commit(1)
			got.next(t)
			require.Eventually(t, func() bool {
				return r.value("prometheus_remote_storage_refused_total", map[string]string{"code": "404"}) == 1
			}, time.Minute, time.Millisecond)
			require.Equal(t, on, strings.Contains(log.String(), "Failed to send remote write request"), log.String())
			if on {
				require.Contains(t, log.String(), "__name__")
			}
			r.end()
		}
	}
}

// refusing takes the body and refuses it.
type refusing struct{ bodies }

func (b refusing) Store(ctx context.Context, body []byte, attempt int) client.Result {
	b.bodies.Store(ctx, body, attempt)
	return client.Result{Status: 404, Outcome: client.Denied, Err: errors.New("not here")}
}
