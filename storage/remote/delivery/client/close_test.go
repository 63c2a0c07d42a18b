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
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/atomic"
)

// countingCloser counts how often it is asked to drop connections.
type countingCloser struct{ atomic.Int64 }

func (c *countingCloser) CloseIdleConnections() { c.Inc() }

// TestCloseWaitsForAttempts defends I8: a reload closes the client of requests
// that are being answered, and none of them may count as failed for it, since
// what it held would be sent again. The model test of package durable found
// this by schedules that reload without any fault.
func TestCloseWaitsForAttempts(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-release
		w.WriteHeader(http.StatusNoContent)
	})
	c := dialled(t, server.URL)
	var dropped countingCloser
	c.idle = &dropped

	results := make(chan Result)
	for range 2 {
		go func() { results <- store(t, c) }()
		<-arrived
	}
	c.Close()
	release <- struct{}{}
	require.NoError(t, (<-results).Err)
	require.Zero(t, dropped.Load(), "an attempt is still under way")
	release <- struct{}{}
	require.NoError(t, (<-results).Err)
	require.Equal(t, int64(1), dropped.Load())

	// A sender may have taken the client before the reload and use it after.
	go func() { results <- store(t, c) }()
	<-arrived
	release <- struct{}{}
	require.NoError(t, (<-results).Err)
	require.Equal(t, int64(2), dropped.Load())
	c.Close()
	require.Equal(t, int64(3), dropped.Load())
}
