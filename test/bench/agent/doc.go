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

// Command agent measures an agent as its user sees it: as a process, from
// outside. scripts/bench.sh runs it as "agent"; docs/performance.md says what
// came out.
//
// In each run it starts targets, receivers, and one agent on an empty directory,
// each a process; targets and receivers are this program in other roles. When
// the agent has warmed up it reads, over a window, the CPU time, the memory and
// the bytes written of the agent's process from /proc, and the heap from
// /metrics. In cases with an outage the receivers then refuse everything for a
// while, come back, refuse again, the agent is killed and started, and they come
// back once more.
//
// Agents take turns: ours, stock's engine of the same binary, a binary of
// upstream's and vmagent where they are given. One line for each figure has the
// medians of the rounds and what ours is to the others:
//
//	BENCH agent-<case>-<figure> stock=<value> durable=<value> ratio=<durable/stock> ...
//
// A run counts only if all was as it should be: every sample that was scraped
// arrived at every receiver, none twice, nothing was refused, the agent scraped
// as often as it was told to, and was never behind by more than a scrape interval
// and the time that a request may wait to be filled. A figure without such runs
// is printed as INVALID, and the exit status is 1.
package main
