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

package delivery_test

import (
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ackwal/ackwal/storage/remote/delivery"

	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb/agent"
)

func init() {
	delivery.Stock.NewStorage = func(reg prometheus.Registerer, dir string) delivery.ReadStorage {
		return newStorage(reg, dir)
	}
	delivery.Stock.NewWriteStorage = func(reg prometheus.Registerer, dir string) delivery.StockWriter {
		return remote.NewWriteStorage(nil, reg, dir, 5*time.Second, nil, false)
	}
	delivery.Stock.WriteStorage, delivery.Stock.QueueManager = &remote.WriteStorage{}, &remote.QueueManager{}
	delivery.Stock.OpenAgent = func(l *slog.Logger, dir string, truncate time.Duration, fromMemory bool) (delivery.StockAgent, *time.Duration, error) {
		opts := agent.DefaultOptions()
		if truncate != 0 {
			opts.TruncateFrequency, opts.MinWALTime, opts.MaxWALTime = truncate, 1, 1
			opts.CheckpointFromInMemorySeries = fromMemory
		}
		nothing := newStorage(nil, dir)
		db, err := agent.Open(l, nil, nothing, dir, opts)
		return agentDB{db, nothing}, &opts.TruncateFrequency, err
	}
}

func newStorage(reg prometheus.Registerer, dir string) *remote.Storage {
	return remote.NewStorage(nil, reg, func() (int64, error) { return 0, nil }, dir, time.Second, nil, false)
}

// agentDB closes its remote storage too.
type agentDB struct {
	*agent.DB
	rs *remote.Storage
}

func (a agentDB) Close() error { return errors.Join(a.DB.Close(), a.rs.Close()) }
