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
	"math/rand/v2"
	"net"
	"time"
)

// perAddress is how long one address may take to connect. net/http dials apart
// from the request that wanted the connection, so the timeout of that request
// does not end a dial; three addresses fit into the default of 30 s.
const perAddress = 10 * time.Second

// balancingDialer spreads connections over all addresses of a name: each
// connection starts at a random one and takes the next if that fails. It is safe
// for concurrent use.
type balancingDialer struct {
	lookup  func(ctx context.Context, host string) ([]string, error)
	connect func(ctx context.Context, network, address string) (net.Conn, error)
	pick    func(n int) int
}

func newBalancingDialer() *balancingDialer {
	dialer := &net.Dialer{Timeout: perAddress, KeepAlive: 30 * time.Second}
	return &balancingDialer{
		lookup:  net.DefaultResolver.LookupHost,
		connect: dialer.DialContext,
		pick:    rand.IntN,
	}
}

func (d *balancingDialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return d.connect(ctx, network, address)
	}
	found, err := d.lookup(ctx, host)
	if err != nil || len(found) == 0 {
		// The plain dialer asks again and words the error.
		return d.connect(ctx, network, address)
	}
	var failures []error
	for i, first := 0, d.pick(len(found)); i < len(found) && ctx.Err() == nil; i++ {
		conn, err := d.connect(ctx, network, net.JoinHostPort(found[(first+i)%len(found)], port))
		if err == nil {
			return conn, nil
		}
		failures = append(failures, err)
	}
	if err := ctx.Err(); err != nil {
		failures = append(failures, err)
	}
	return nil, errors.Join(failures...)
}
