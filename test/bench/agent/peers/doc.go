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

// Package peers is what the agent under test talks to: the targets that it
// scrapes and the receivers that it writes to, each meant to run in a process of
// its own, so that what they cost is not in the agent's figures.
//
// Both count in samples, so that the two can be compared: the targets those of
// pages that were served whole, the receivers those that arrived, without what
// agents add of their own (up and scrape_* series, stale markers, metadata).
//
// A process serves a small HTTP interface for the benchmark beside its traffic.
// It prints the address in a line of its own when it is ready.
package peers
