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
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/promslog"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/tsdb/agent/durable"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb/agent"
)

// engine is one of the two that are compared.
type engine struct {
	name string
	open func(reg prometheus.Registerer, dir string, opts *agent.Options) (*opened, error)
}

// opened is a storage and its remote storage.
type opened struct {
	storage.Storage
	apply   func(*config.Config) error
	clients func() ([]*http.Client, error)
	remote  interface{ Close() error }
}

func (o *opened) Close() error {
	return errors.Join(o.Storage.Close(), o.remote.Close())
}

// flushDeadline is remote.flush-deadline; stock waits for it when it closes and
// receivers are down.
const flushDeadline = time.Second

var quiet = promslog.NewNopLogger()

func noStart() (int64, error) { return 0, nil }

var engines = []engine{{"stock", openStock}, {"durable", openDurable}}

func openStock(reg prometheus.Registerer, dir string, opts *agent.Options) (*opened, error) {
	rs := remote.NewStorage(quiet, reg, noStart, dir, flushDeadline, nil, false)
	db, err := agent.Open(quiet, reg, rs, dir, opts)
	if err != nil {
		return nil, errors.Join(err, rs.Close())
	}
	db.SetWriteNotified(rs)
	return &opened{Storage: db, remote: rs, apply: rs.ApplyConfig, clients: func() ([]*http.Client, error) { return clientsOfStock(rs) }}, nil
}

func openDurable(reg prometheus.Registerer, dir string, opts *agent.Options) (*opened, error) {
	rs, err := delivery.NewStorage(quiet, reg, noStart, dir, flushDeadline, nil, false, delivery.Options{})
	if err != nil {
		return nil, err
	}
	db, err := durable.Open(quiet, reg, rs, dir, &durable.Options{Options: *opts})
	if err != nil {
		return nil, errors.Join(err, rs.Close())
	}
	return &opened{Storage: db, remote: rs, apply: rs.ApplyConfig, clients: func() ([]*http.Client, error) { return clientsOfDurable(rs) }}, nil
}
