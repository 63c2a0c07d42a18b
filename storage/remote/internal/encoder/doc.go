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

// Package encoder writes remote write requests straight into a reused buffer:
// labels, samples, exemplars and histograms become protobuf as they are handed
// over, without the intermediate structs that generated code marshals. One
// [Builder] serves both protocols; what differs between them is a small table
// of field numbers and leaf functions (see shape), so that a series is walked
// by the same code whatever the endpoint speaks.
//
// # Invariants
//
//  1. Wire equality: a receiver decodes exactly what stock would have sent for
//     the same input. Values travel bit for bit, stale markers and other NaNs
//     included; the one exception is stock's own, a negative zero outside of
//     packed fields is sent as zero. Defends I2: what counts as delivered was
//     delivered unchanged.
//  2. Samples leave in the order in which they were added, within a series and
//     over the request. Defends I4.
//  3. Memory is bounded by the largest request built so far and does not depend
//     on how many have been built. Defends I6.
//  4. A length never lies: every nested message is closed with its real,
//     minimally encoded size.
//
// # Ownership
//
// One goroutine owns a Builder; there is no lock. Labels, metadata and
// histograms are only read during the call that hands them over, with one
// exception: label strings may stay referenced until [Builder.Reset]. The slice
// that [Builder.Finish] returns belongs to the Builder and is valid until Reset.
//
// Sources: prometheus.WriteRequest of remote write 1.0,
// io.prometheus.write.v2.Request of remote write 2.0, and the encoding rules of
// protocol buffers.
package encoder
