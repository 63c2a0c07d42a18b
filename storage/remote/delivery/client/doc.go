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

// Package client sends one remote write request and says what became of it.
// Retries, backoff and what a refusal means for the samples are the caller's
// business; here an HTTP exchange becomes a [Result] that keeps what the caller
// needs for those decisions and that stock's client drops: how long the
// receiver asks to wait, and whether the request may have been applied although
// it failed.
//
// # Invariants
//
//  1. Only a 2xx answer to the POST itself is [Delivered]. A redirect that turns
//     the POST into a GET is not followed, since the final 200 would be an
//     answer to a request without samples. [Retry] is the zero value of
//     [Outcome], so that forgetting to decide cannot lose anything. Defends I2.
//  2. [Result.Ambiguous] is false only if the receiver cannot have applied the
//     request: it was never written in full, or the receiver refused it. The
//     caller relies on it to tell refused duplicates from refused samples after
//     a retry. Defends I2 and I8.
//  3. An attempt ends by its timeout or when the context is cancelled, whatever
//     the receiver does, and what is read of an answer is bounded in bytes and
//     in time. A receiver cannot make a sender hold more than about a megabyte
//     for one connection, whether that is read or not. Defends I5.
//  4. After [Client.Store] has returned nothing reads the body any more, so that
//     the caller may reuse its buffer even though the HTTP transport can still
//     be busy with a connection that was given up.
//  5. No error and no span shows the user name or the password of the URL, the
//     value of a parameter that looks like a secret, or, if the receiver repeats
//     them, the headers of the request; and none is longer than a few kilobytes.
//
// # Ownership
//
// A Client is immutable after [New], but for the count of attempts under way,
// and safe for concurrent use; it has no goroutines of its own besides those of
// the HTTP transport, which end with [Client.Close]. The payload that Store is
// given is only read, and only during the call.
//
// Requests share nothing. Each attempt has a URL, a header map and a body of its
// own, made anew: the layers below (package config of prometheus/common, signers,
// tracing) write to the requests they are given, whatever the contract of a
// round tripper says. The http.Client itself is built as stock builds its own,
// with the same layers in the same order.
//
// Sources: the remote write specifications 1.0 and 2.0, RFC 9110 (Retry-After),
// what receivers say of requests that are too large (outcome.go),
// and issues about senders that sleep through a stuck receiver.
package client
