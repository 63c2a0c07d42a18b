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

// Package e2e holds the end-to-end tests: the real binary as agent, a real
// Prometheus without an out-of-order window as receiver, real signals, and a
// proxy between them that fails in every way a network and a receiver can.
//
// Each suite runs with remote write v1 and v2 and defends promises of the
// design (I1 to I9):
//
//   - outage: nothing is lost however long a receiver is away, and the WAL
//     shrinks to its head afterwards (I1, I2, I3).
//   - restart: SIGTERM during an outage ends within seconds and loses nothing;
//     with a healthy receiver nothing is sent twice (I2).
//   - crash: SIGKILL at any moment loses nothing that was committed and sends
//     again no more than what was in flight or acknowledged after the last
//     savepoint (I4, I8).
//   - reload: no change of the configuration during an outage loses anything
//     or stops scraping (I5).
//   - isolation: a dead and a slow endpoint do not touch a healthy one, nor
//     memory (I5, I6).
//   - fresh: with fresh samples first, what is new does not wait for the backlog
//     of an outage, and nothing of either is lost, also not by kills (I2, I4,
//     I8).
//   - status: the page and the API of delivery say what state each endpoint is in,
//     through outages, refusals, limits and removals.
//   - exchange: stock's data directories open here and ours in stock, back and
//     forth, without anything being sent twice (I7, I9).
//
// The tests need a built binary, see package harness for the environment, and
// take a few minutes. They are skipped with -short.
package e2e
