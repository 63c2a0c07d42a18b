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

// Package conformance runs the durability suite of the directory conformance/
// with the binary of this project, as durable agent, which has to pass, and as
// stock's agent, which has to fail: a suite that cannot fail shows nothing.
//
// It needs ACKWAL_PROMETHEUS, the path of the binary; ACKWAL_STOCK_PROMETHEUS
// may name a binary of stock's, otherwise the same one runs with best-effort
// delivery. ACKWAL_RECEIVERS is the directory of real databases, for two replicas of an
// agent; without them that is left out. The tests take about four minutes, two more with
// the databases, and are skipped with -short.
package conformance
