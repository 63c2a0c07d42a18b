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

package statuspage

import (
	"errors"
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/tsdb/agent/durable"
)

// ErrUnavailable is the answer where there is no durable delivery.
var ErrUnavailable = errors.New("unavailable without durable delivery of Prometheus Agent")

// ErrStarting is the answer as long as the log is not open.
var ErrStarting = errors.New("the write-ahead log is not open yet")

// Source returns the status as it is now, or one of the errors above.
type Source func() (*Status, error)

// Get is the call of a source that may be nil.
func (s Source) Get() (*Status, error) {
	if s == nil {
		return nil, ErrUnavailable
	}
	return s()
}

// Status is what is known of durable delivery. Its form in JSON is that of the API.
type Status struct {
	// Time is when this was so.
	Time      time.Time              `json:"time"`
	Endpoints []Endpoint             `json:"endpoints"`
	Log       Log                    `json:"log"`
	Removal   durable.RemovalStatus  `json:"removal"`
	Limits    durable.LimitsStatus   `json:"limits"`
	Disk      *durable.DiskStatus    `json:"disk,omitempty"`
	Snapshot  durable.SnapshotStatus `json:"snapshot"`
	Savepoint Savepoint              `json:"savepoint"`
	Start     Start                  `json:"start"`
}

// Endpoint is an endpoint with what it keeps of the log.
type Endpoint struct {
	delivery.EndpointStatus
	*durable.Holding
}

// Log is the write-ahead log.
type Log struct {
	durable.LogStatus
	// NewestSample is the highest timestamp that was appended since the start.
	NewestSample *time.Time `json:"newest_sample,omitempty"`
}

// Savepoint is the file with the positions of endpoints.
type Savepoint struct {
	Age      float64 `json:"age_seconds"`
	Failures int64   `json:"write_failures"`
}

// Start is what the start did.
type Start struct {
	durable.StartStatus
	// Resumed is how saved positions were found in the log, by verdict.
	Resumed map[string]int64 `json:"resumed_positions"`
}

// Of returns the status of a storage and of what delivers it.
func Of(remote *delivery.Storage, db *durable.DB) (*Status, error) {
	stored, err := db.Status()
	if err != nil {
		return nil, err
	}
	return join(remote.Status(), stored, time.Now().UTC()), nil
}

// join makes one value of both.
func join(sent delivery.Status, stored durable.Status, now time.Time) *Status {
	s := &Status{
		Time: now, Endpoints: []Endpoint{}, Log: Log{stored.Log, sent.NewestSample}, Removal: stored.Removal, Limits: stored.Limits,
		Disk: stored.Disk, Snapshot: stored.Snapshot, Savepoint: Savepoint{sent.SavepointAge, sent.SavepointFailures},
		Start: Start{stored.Start, sent.Resumed},
	}
	for _, e := range sent.Endpoints {
		if e.Drops == nil {
			e.Drops = []delivery.Drop{}
		}
		both := Endpoint{EndpointStatus: e}
		for i, h := range stored.Holdings {
			if h.Name == e.Name && h.URL == e.MetricURL {
				both.Holding = &stored.Holdings[i]
			}
		}
		s.Endpoints = append(s.Endpoints, both)
	}
	return s
}
