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

// Package bench measures the durable engine beside stock's, each in the same
// run, and prints for every benchmark
//
//	BENCH <name> stock=<value> durable=<value> ratio=<durable/stock>
//
// scripts/bench.sh runs one benchmark or all; docs/performance.md says what
// they measure and what came out.
//
// Both engines are put together from their exported constructors, as the binary
// does it, and get the same configuration, series and commits. Their HTTP
// clients stay, down to the tracing layer; only the transport below it is
// replaced by one that takes requests in process and counts them, so that
// neither has the cost of a server, of sockets or of a kernel. Neither engine
// offers a place for that, hence the reflection in transport_test.go.
//
// What lasts for as long as a process works is measured in CPU time by
// getrusage, since other processes disturb it least. Latency, throughput and
// starting are measured in wall-clock time.
package bench
