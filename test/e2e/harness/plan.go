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

package harness

import (
	"math/rand"
	"net/http"
	"sync"
	"time"
)

// Ending is how a request leaves the proxy.
type Ending uint8

// A forwarded request can end in any of these ways; one that is not forwarded
// has no receiver's answer to relay.
const (
	// Relay answers what the receiver said.
	Relay Ending = iota
	// Mute answers with the receiver's status, and not with what it said of a refusal.
	Mute
	// Say answers with the status of the fate.
	Say
	// Hang never answers; the connection lives until the agent gives up or
	// the plan is changed.
	Hang
	// Reset cuts the connection.
	Reset
)

// Fate is what the proxy does with a request.
type Fate struct {
	Delay      time.Duration // Before anything else.
	Forward    bool          // The receiver gets it.
	Ending     Ending
	Status     int    // Of Say.
	RetryAfter string // Header of Say, "" for none.
}

// Plan decides the fate of each request. It is called concurrently.
type Plan func(*Request) Fate

func always(f Fate) Plan { return func(*Request) Fate { return f } }

// Pass hands everything to the receiver.
func Pass() Plan { return always(Fate{Forward: true}) }

// Silent hands everything to the receiver, which does not say why it refuses something.
func Silent() Plan { return always(Fate{Forward: true, Ending: Mute}) }

// Slow hands everything to the receiver after a delay.
func Slow(delay time.Duration) Plan { return always(Fate{Forward: true, Delay: delay}) }

// Fail answers everything with a status, without asking the receiver.
func Fail(status int) Plan { return always(Fate{Ending: Say, Status: status}) }

// RateLimit answers everything with 429 and asks for a retry after a second.
func RateLimit() Plan {
	return always(Fate{Ending: Say, Status: http.StatusTooManyRequests, RetryAfter: "1"})
}

// HangUp never answers.
func HangUp() Plan { return always(Fate{Ending: Hang}) }

// CutOff resets every connection.
func CutOff() Plan { return always(Fate{Ending: Reset}) }

// HangSome has the receiver take everything, and withholds the answer of the
// first requests up to n.
func HangSome(n int) Plan {
	var mtx sync.Mutex
	return func(*Request) Fate {
		mtx.Lock()
		defer mtx.Unlock()
		if n <= 0 {
			return Fate{Forward: true}
		}
		n--
		return Fate{Forward: true, Ending: Hang}
	}
}

// Flap mixes success with every kind of failure, among them the ambiguous ones
// in which the receiver has taken the request and the agent is not told.
func Flap(seed int64) Plan {
	var mtx sync.Mutex
	rng := rand.New(rand.NewSource(seed))
	var left int
	var phase Fate
	return func(*Request) Fate {
		mtx.Lock()
		defer mtx.Unlock()
		left--
		if left <= 0 {
			left = 1 + rng.Intn(6)
			phase = []Fate{
				{Forward: true},
				{Forward: true},
				{Forward: true, Delay: time.Duration(rng.Intn(200)) * time.Millisecond},
				{Ending: Say, Status: http.StatusServiceUnavailable},
				{Ending: Say, Status: http.StatusInternalServerError},
				{Ending: Say, Status: http.StatusTooManyRequests},
				{Ending: Reset},
				{Forward: true, Ending: Reset},
				{Forward: true, Ending: Say, Status: http.StatusBadGateway},
			}[rng.Intn(9)]
		}
		return phase
	}
}
