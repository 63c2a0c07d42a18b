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

package repair_test

import (
	"io"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ackwal/ackwal/tsdb/wlog/repair"

	"github.com/prometheus/prometheus/tsdb/agent"
)

func init() {
	repair.OpenStock = func(data string, log io.Writer) error {
		opts := agent.DefaultOptions()
		opts.StripeSize = 16
		db, err := agent.Open(slog.New(slog.NewTextHandler(log, nil)), prometheus.NewRegistry(), nil, data, opts)
		if err != nil {
			return err
		}
		return db.Close()
	}
}
