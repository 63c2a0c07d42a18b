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
	"net"

	"go.uber.org/atomic"
)

// maxAnswer is how much a receiver may send on one connection until it is sent
// something again, in bytes. net/http would take ten times as much in headers
// alone, for every sender at once, and HTTP/2 as much of a body as its windows
// allow, whether it is read or not. What is read of an answer is far less.
const maxAnswer = 1 << 20

var errTooMuch = errors.New("the receiver sent more than 1 MiB in answer to a request")

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// limited returns a dialer whose connections break if the receiver sends too
// much.
func limited(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		c := &limitedConn{Conn: conn}
		c.left.Store(maxAnswer)
		return c, nil
	}
}

// limitedConn is read by one goroutine and written by another.
type limitedConn struct {
	net.Conn

	left atomic.Int64 // Bytes that may be read before the next write.
}

func (c *limitedConn) Read(p []byte) (int, error) {
	left := c.left.Load()
	if left <= 0 {
		return 0, errTooMuch
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), left)])
	c.left.Sub(int64(n))
	return n, err
}

func (c *limitedConn) Write(p []byte) (int, error) {
	c.left.Store(maxAnswer)
	return c.Conn.Write(p)
}
