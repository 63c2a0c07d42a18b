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

package delivery

import (
	"sync"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/storage/remote/internal/encoder"
)

// encodedRequest is an encoded and compressed request with what there is to account for
// when it is delivered.
type encodedRequest struct {
	items   int // In it.
	payload []byte
	raw     int // Size in bytes before compression.
	sent    queue.Counts
	highest int64 // Highest timestamp in it, ms.
	dropped drops // What was left out.
}

// drops counts by reason what a request leaves out.
type drops [len(dropReasons)]queue.Counts

var dropReasons = [...]string{reasonTooOld, reasonNHCB, reasonDropped, reasonAlone, reasonConversion}

// Indexes into drops.
const (
	dropTooOld = iota
	dropNHCB
	dropRule
	dropAlone
	dropConversion
)

// cacheKey is what endpoints have to have in common to send the same bytes for
// the same items.
type cacheKey struct {
	rules                 *rules
	protocol              encoder.Protocol
	options               encoder.Options
	exemplars, histograms bool
	classic               bool
}

// requestCaches has a request cache for each group of endpoints with the same key.
type requestCaches struct {
	mtx sync.Mutex
	all map[cacheKey]*requestCache
}

// join returns the request cache of a group, which has one member more from now on.
func (x *requestCaches) join(k cacheKey) *requestCache {
	x.mtx.Lock()
	defer x.mtx.Unlock()
	cache := x.all[k]
	if cache == nil {
		cache = &requestCache{group: k}
		if x.all == nil {
			x.all = map[cacheKey]*requestCache{}
		}
		x.all[k] = cache
	}
	cache.mtx.Lock()
	cache.members++
	cache.mtx.Unlock()
	return cache
}

// leave ends a membership. The last one takes the request cache away.
func (x *requestCaches) leave(cache *requestCache) {
	if cache == nil {
		return
	}
	x.mtx.Lock()
	defer x.mtx.Unlock()
	cache.mtx.Lock()
	defer cache.mtx.Unlock()
	cache.members--
	if cache.members == 0 {
		delete(x.all, cache.group)
	}
}

// requestCache lets the endpoints of a group share requests: the first sender that
// comes to some items encodes them, and senders that come to them soon after send
// the same bytes. It holds the latest few requests, each with a count of its uses,
// and gets their buffers back. Its size is bounded by cachedRequests and the
// requests under way, however many endpoints there are (I6).
//
// A sender that finds a request being encoded waits for that. Encoding neither
// blocks nor takes a lock of an endpoint, so no endpoint waits for the receiver of
// another (I5).
type requestCache struct {
	group cacheKey

	mtx     sync.Mutex // Guards what follows; held for moments only.
	members int
	recent  [cachedRequests]*shared
	next    int // Place of the oldest.
	free    []*shared
}

// cachedRequests is how many requests a request cache remembers.
const cachedRequests = 8

// shared is an encoded request that several endpoints may send. It is immutable from when
// filling is unlocked first until uses is zero.
type shared struct {
	encodedRequest
	whole   bool // The request is not too large to be one.
	key     queue.Key
	uses    int        // Guarded by requestCache.mtx.
	filling sync.Mutex // Held while the encoded request is made.
}

// get returns the encoded request for a key. If made is true, the caller has to fill it
// and call filled. Either way it calls done when it needs the request no longer. get
// returns nil if there is no endpoint to share with.
func (x *requestCache) get(key queue.Key) (sh *shared, made bool) {
	x.mtx.Lock()
	if x.members < 2 {
		x.mtx.Unlock()
		return nil, false
	}
	for _, sh = range x.recent {
		if sh == nil || sh.key != key {
			continue
		}
		sh.uses++
		x.mtx.Unlock()
		sh.filling.Lock()
		sh.filling.Unlock() //nolint:staticcheck // Waiting is all there is to it.
		return sh, false
	}
	if n := len(x.free); n > 0 {
		sh, x.free = x.free[n-1], x.free[:n-1]
	} else {
		sh = &shared{}
	}
	sh.key, sh.uses = key, 2 // The caller's and that of the list.
	sh.filling.Lock()
	if old := x.recent[x.next]; old != nil {
		x.drop(old)
	}
	x.recent[x.next] = sh
	x.next = (x.next + 1) % cachedRequests
	x.mtx.Unlock()
	return sh, true
}

func (*requestCache) filled(sh *shared) { sh.filling.Unlock() }

// done ends the use of an encoded request.
func (x *requestCache) done(sh *shared) {
	x.mtx.Lock()
	defer x.mtx.Unlock()
	x.drop(sh)
}

// drop takes a use away. Callers hold mtx.
func (x *requestCache) drop(sh *shared) {
	sh.uses--
	if sh.uses == 0 && len(x.free) < cachedRequests {
		sh.key = queue.Key{}
		x.free = append(x.free, sh)
	}
}
