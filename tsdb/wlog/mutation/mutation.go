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

// Package mutation lets tests show that they notice when an invariant breaks.
// Product code asks On at the few places at which one line decides over an
// invariant. Built as usual, On is false for the compiler, and nothing of it is
// left in the binary. Built with the tag "mutation", the one defect that the
// environment variable WAL_MUTATION names is there; a model test has to fail then,
// that of package durable or, for what only two ranges of an endpoint can show,
// that of package delivery.
//
// There is no state but what is read from the environment at the start, and no
// goroutine; On may be called from anywhere.
package mutation

// Mutation is a defect that can be switched on.
type Mutation struct {
	Name string
	// Invariant is the one of the design that it breaks.
	Invariant string
	// Effect is what goes wrong.
	Effect string
	// TwoRanges says that only an endpoint with two ranges can show it.
	TwoRanges bool
}

// Names of the mutations.
const (
	IgnoreGate      = "ignore_gate"
	TrustUnsynced   = "trust_unsynced"
	MarkAhead       = "mark_ahead"
	ForgetRetired   = "forget_retired"
	RetryReversed   = "retry_reversed"
	NoReplayRange   = "no_zone"
	SendUnmarked    = "send_unmarked"
	SkipReplayRange = "skip_zone"
	FreshFloor      = "fresh_floor"
	MergeEarly      = "merge_early"
)

// All are the mutations there are.
var All = []Mutation{
	{Name: IgnoreGate, Invariant: "I1", Effect: "segments are removed whatever endpoints need"},
	{Name: TrustUnsynced, Invariant: "I1", Effect: "segments are removed on the word of savepoints that are not synced to disk"},
	{Name: MarkAhead, Invariant: "I2", Effect: "a savepoint says that all that was read was acknowledged"},
	{Name: ForgetRetired, Invariant: "I3", Effect: "series that left memory are not found in the snapshot"},
	{Name: RetryReversed, Invariant: "I4", Effect: "a request is sent in the opposite order when it is sent again"},
	{Name: NoReplayRange, Invariant: "I8", Effect: "after a crash nothing counts as perhaps sent before"},
	{Name: SendUnmarked, Invariant: "I8", Effect: "samples are sent before the dispatch mark is on the disk"},
	{Name: SkipReplayRange, Invariant: "I8", Effect: "after a crash delivery resumes at the dispatch mark"},
	{Name: FreshFloor, Invariant: "I1", Effect: "segments are removed that only the backlog needs", TwoRanges: true},
	{Name: MergeEarly, Invariant: "I2", Effect: "the backlog counts as delivered when it was read", TwoRanges: true},
}

// Environment is the variable that names the mutation.
const Environment = "WAL_MUTATION"
