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

// Package gate answers one question: how much of the write-ahead log may be
// removed. Every endpoint that gets its data from the log holds it from a
// position on; the lowest of them is the floor.
//
// The type is pure bookkeeping, without I/O and without goroutines of its own,
// so that its correctness can be seen and tested apart from everything else.
// It decides nothing about limits: a caller that has to remove more than the
// floor allows moves the holders first, and counts what that costs them.
//
// What it defends:
//
//  1. The floor is the minimum over all holders, so no holder needs a segment
//     below it (I1).
//  2. What is set is a position that is on the disk already. The write side
//     calls Set after the savepoint was written durably, never before (I1).
//  3. Until Open, nothing is released: at start the log is there before the
//     configuration is, and a configuration that has not been read yet would
//     look like one without endpoints.
//  4. Without holders the gate is free, which is not the same as held at the
//     end of the log: the owner of the log then goes by its own rules.
//
// A removed endpoint that is to keep its hold for a while simply is not
// removed here until that time has passed.
//
// All methods may be called from any goroutine. One mutex guards the map of
// holders; it is never held across anything but a walk over it. Slices that
// are returned belong to the caller.
package gate
