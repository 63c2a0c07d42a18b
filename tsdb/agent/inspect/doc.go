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

// Package inspect reads what there is to know of an agent's data directory from its
// files, for people and programs that look at it from outside: what is in the log, how
// far each endpoint is, what a start would repair. It also moves an endpoint's saved
// position, which is the only thing it ever changes.
//
// Formats are read by the packages they belong to. What a start would do to files is
// found by having the start's own code do it on a file system that keeps all changes
// in memory (package dryfs): repair, savepoint and snapshot. What endpoints have yet to
// be sent is told by [delivery.Inspect].
//
// What it promises:
//
//  1. Nothing but [Move] writes to the directory or takes its lock, so that the
//     directory of an agent that is running can be looked at, and one on a read-only
//     file system.
//  2. [Move] writes a backup of the savepoint before it writes the savepoint, and only
//     while it has the lock.
//
// There are no goroutines beyond calls. Everything that is returned belongs to the
// caller.
package inspect
