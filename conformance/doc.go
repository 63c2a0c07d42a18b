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

// Package conformance puts a sender of remote write through outages, restarts,
// crashes, reloads and damage, and counts what was lost, sent again, or sent out
// of order. README.md says what each case does and what the counts mean.
//
// # Parts
//
// A [Sender] describes a program by templates of its arguments and its
// configuration. A [Case] drives a [Rig]: the sender's process, the [Target] it
// scrapes and the [Receiver]s it writes to. [Judge] compares the logs of the
// target and of a receiver; it is a pure function and knows nothing of the
// sender. [Run] and, for Go tests, [RunTests] run cases.
//
// # Rules the suite keeps to
//
//  1. What a sender may never have had is not held against it, see [Due].
//  2. A receiver never takes a request without answering it, so that a sender
//     has no reason to repeat one, except that it was killed.
//  3. Waiting is for events, and counted in scrapes; durations only end tests
//     that would never end.
//  4. Whatever the sender does is a verdict; only what the suite cannot do is
//     an error.
//
// # Ownership
//
// A Rig belongs to the goroutine of its case. Targets and receivers are safe
// for concurrent use: their handlers run in goroutines of their servers, and
// each has one lock that guards its log. A receiver also has a lock that is
// held from the taking of a request until its answer is written; it is taken
// before the other one.
package conformance
