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
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// Stock is stock's engine, for tests that compare with it. Its packages may import
// this one, as they do in the fork, so a test of package delivery_test fills this in.
var Stock struct {
	// NewStorage and NewWriteStorage are those of package remote.
	NewStorage      func(reg prometheus.Registerer, dir string) ReadStorage
	NewWriteStorage func(reg prometheus.Registerer, dir string) StockWriter
	// WriteStorage and QueueManager are of the types of those names.
	WriteStorage, QueueManager any
	// OpenAgent opens stock's agent in dir, without endpoints. What truncate points to
	// is how often it truncates. If that is not 0, it keeps nothing for its age, and
	// makes checkpoints from what it has in memory if fromMemory says so.
	OpenAgent func(l *slog.Logger, dir string, truncate time.Duration, fromMemory bool) (a StockAgent, every *time.Duration, err error)
}

// StockWriter is the write half of package remote's storage.
type StockWriter interface {
	ApplyConfig(*config.Config) error
	Notify()
	Close() error
}

// StockAgent is the database of package agent.
type StockAgent interface {
	storage.Storage
	SetWriteNotified(wlog.WriteNotified)
}
