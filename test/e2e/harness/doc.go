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

// Package harness runs real Prometheus processes for the end-to-end tests and
// knows, independently of them, what had to arrive and what did.
//
// Three witnesses are compared:
//
//   - [Shadow] is the ground truth of what was committed. It hard-links every
//     segment of the agent's WAL into a directory of its own as soon as the
//     file exists, so that the agent's truncation cannot hide anything, and
//     decodes the links with stock's reader. Committed is every sample of a
//     record that is complete on disk. That is a superset of the samples whose
//     Commit returned: a process killed between its last write and its return
//     has left a complete record behind, and such a record is due as well.
//   - [Recorder] sits in the fault proxy ([Proxy]) between agent and receiver
//     and decodes every request of both remote write protocols: what was sent,
//     how often, in which order, what was answered and what the receiver had
//     already taken when the answer was withheld.
//   - [Receiver] is a real Prometheus in server mode without an out-of-order
//     window; what it holds is read back raw, stale markers included.
//
// # Clocks
//
// Tests do not sleep for synchronisation. They wait for events: scrapes served
// by [Target], segments opened by the agent, requests seen by a proxy. The
// only duration that is ever asserted is the process' own exit after SIGTERM,
// which is a promise in seconds.
//
// # Ownership
//
// A [Scenario] owns everything it started and takes it down in the test's
// clean-up: processes get SIGKILL, and on Linux die with the test process even
// if that is killed itself. Output of the processes is written to files and
// its end is shown when the test failed. The scenario's methods belong to the
// test's goroutine; Recorder, Target, Shadow and Symbols are safe for
// concurrent use.
//
// # Environment
//
//   - ACKWAL_PROMETHEUS: the binary under test, default ../../bin/prometheus
//     as seen from the tests.
//   - ACKWAL_STOCK_PROMETHEUS: a stock 3.15 binary for upgrade and downgrade;
//     without it the binary under test runs with delivery set to best-effort,
//     which is the same code.
//   - ACKWAL_E2E_DELIVERY: how the binary under test is run, default durable;
//     "none" leaves the flag out, so that a stock binary can be put through
//     the tests to see them fail.
//   - ACKWAL_E2E_PARALLEL: how many scenarios run at a time, default 2.
//   - ACKWAL_E2E_SUMMARY: a file to which the summary line of each test is
//     appended.
//   - ACKWAL_E2E_SEED: the seed of the randomised tests, to repeat a run.
//   - ACKWAL_E2E_KEEP: a directory in which data, logs, configurations, the
//     requests each proxy saw and what was lost are left.
package harness
