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
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestBodyIsNotReadAfterStore defends invariant 4: the transport may go on
// sending after Store has returned, but never what the caller puts into the
// buffer then. The race detector watches as well.
func TestBodyIsNotReadAfterStore(t *testing.T) {
	returned, foreign := make(chan struct{}), make(chan int, 1)
	c := dialled(t, listen(t, func(conn *net.TCPConn) {
		<-returned
		received, _ := io.ReadAll(conn)
		foreign <- bytes.Count(received, []byte{0xbb})
	}), func(c *Config) { c.Timeout = 50 * time.Millisecond })

	body := bytes.Repeat([]byte{0xaa}, large)
	requireNoResponse(t, c.Store(context.Background(), body, 0), false)
	for i := range body {
		body[i] = 0xbb
	}
	close(returned)
	require.Zero(t, <-foreign)
}

func opened(b *attemptBody) io.ReadCloser {
	r, _ := b.open()
	return r
}

func TestLentBody(t *testing.T) {
	b := &attemptBody{data: []byte("abcdef")}
	first := opened(b)
	p := make([]byte, 4)
	n, err := first.Read(p)
	require.NoError(t, err)
	require.Equal(t, "abcd", string(p[:n]))
	second := opened(b)
	all, err := io.ReadAll(second)
	require.NoError(t, err)
	require.Equal(t, "abcdef", string(all))
	require.NoError(t, second.Close())
	require.True(t, b.end(), "the second reader has taken all of it")
	_, err = first.Read(p)
	require.ErrorIs(t, err, errEnded)
	_, err = second.Read(p)
	require.ErrorIs(t, err, io.EOF, "what has been read in full ends well even later")

	partly := &attemptBody{data: []byte("abc")}
	_, _ = opened(partly).Read(p[:1])
	require.False(t, partly.end())
	require.True(t, (&attemptBody{}).end(), "there was nothing to take")
}

// TestEarlierReaders defends invariant 4: a transport that still has the body of
// an earlier request, read in part or in full, gets nothing of a later one.
func TestEarlierReaders(t *testing.T) {
	var kept []io.ReadCloser
	c := through(t, func(q *http.Request) (*http.Response, error) {
		for _, body := range kept {
			got, _ := io.ReadAll(body)
			require.Empty(t, got)
		}
		again, err := q.GetBody()
		require.NoError(t, err)
		kept = append(kept, q.Body, again)
		wanted := int64(2)
		if len(kept) > 10 {
			wanted = q.ContentLength // Without seeing the end.
		}
		_, _ = io.ReadFull(q.Body, make([]byte, wanted))
		return response(204, http.NoBody), nil
	})
	for range 10 {
		require.Equal(t, Delivered, store(t, c).Outcome)
	}
	require.Len(t, kept, 20)
}
