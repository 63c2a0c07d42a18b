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

// Package parity compares the agent's two engines as processes: what a user,
// a dashboard or a receiver sees of durable delivery must be what they see of
// best-effort delivery, which is stock's code. The exceptions are listed in
// the tests with their reasons, and in docs/parity.md.
//
// The tests run the binary that ACKWAL_PROMETHEUS names, bin/prometheus if it
// names none, once with --storage.agent.delivery=best-effort and once with
// durable. ACKWAL_STOCK_PROMETHEUS names a binary built from upstream's own
// tree, which then takes the place of the first.
package parity
