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

package durable

import (
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"go.uber.org/atomic"
)

// mode is what a receiver does with requests until further notice.
type mode struct {
	kind  string
	limit int // Samples per request, of kind 413.
	// every says of the kinds that are poison how many series there are for each
	// that the receiver does not take.
	every int
}

// poison are the kinds of trouble that some series bring and others do not, each
// with the status with which a request is answered that has such a series in it,
// and 0 for a connection that is reset.
var poison = map[string]int{"poison400": 400, "poison413": 413, "poison429": 429, "poison500": 500, "poisonreset": 0}

// poisons reports whether a request with a series is not taken.
func (m mode) poisons(name string) bool {
	return m.every > 0 && xxhash.Sum64String(name)%uint64(m.every) == 0
}

// modes are all kinds of trouble.
var modes = []string{
	"poison400", "poison413", "poison429", "poison500", "poisonreset",
	"slow", "refuse", "reset", "midbody", "lost", "hang", "hanglost", "500", "503", "lost500", "part500",
	"429", "400", "409", "413", "403", "part2xx", "part400", "mix",
}

// pickyListener resets connections while it refuses them.
type pickyListener struct {
	net.Listener
	refuses *atomic.Bool
}

func (l *pickyListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil || !l.refuses.Load() {
			return c, err
		}
		reset(c)
	}
}

func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // Only less of a surprise for the client if it fails.
	}
	c.Close()
}

// use changes what becomes of requests. Those that hang are cut off. Callers
// hold mtx.
func (e *modelEndpoint) use(to mode) {
	e.mode = to
	e.refuses.Store(to.kind == "refuse")
	e.release()
}

// release cuts requests off that hang. Callers hold mtx.
func (e *modelEndpoint) release() {
	close(e.changed)
	e.changed = make(chan struct{})
}

// fate is what becomes of one request.
type fate struct {
	cut        bool // Broken off before it was read, in the middle if part.
	delay      time.Duration
	hang       bool // Before anything else.
	part       bool // Only some series are stored.
	refuse     int  // Status with which nothing, or all but the part, is refused for good.
	fail       int  // Status with which nothing is stored.
	then       int  // Status that is told although something was stored.
	thenCut    bool // The answer is lost.
	thenHang   bool
	retryAfter string
}

// fate draws what becomes of the next request. Callers hold mtx.
func (e *modelEndpoint) fate() (f fate) {
	kind := e.mode.kind
	if kind == "mix" {
		kind = append([]string{"ok", "ok", "ok"}, modes[:len(modes)-1]...)[e.rng.Intn(len(modes)+2)]
		if strings.HasPrefix(kind, "hang") {
			kind = "slow"
		}
	}
	some := e.rng.Intn(2) == 0
	switch kind {
	case "slow":
		f.delay = time.Duration(5+e.rng.Intn(25)) * time.Millisecond
	case "refuse", "reset":
		f.cut = true
	case "midbody":
		f.cut, f.part = true, true
	case "lost":
		f.thenCut = some
	case "hang":
		f.hang = true
	case "hanglost":
		f.thenHang = true
	case "500", "503":
		f.fail, _ = strconv.Atoi(kind)
	case "lost500":
		if some {
			f.then = 500
		}
	case "part500":
		f.part, f.then = true, 500
	case "429":
		f.fail = 429
		f.retryAfter = []string{"", "0", time.Now().UTC().Format(http.TimeFormat)}[e.rng.Intn(3)]
	case "400", "409", "403":
		if e.rng.Intn(3) == 0 {
			f.refuse, _ = strconv.Atoi(kind)
		}
	case "part2xx":
		if some {
			f.part, f.refuse = true, 204
		}
	case "part400":
		if some {
			f.part, f.refuse = true, 400
		}
	}
	return f
}

// poisoned deals with what the request's series alone bring about. Callers hold
// mtx.
func (e *modelEndpoint) poisoned(req *modelRequest, f *fate) {
	for _, ts := range req.series {
		if !e.mode.poisons(ts.plain()) {
			continue
		}
		e.trouble = time.Now()
		switch status := poison[e.mode.kind]; status {
		case 0:
			f.thenCut, f.fail = true, http.StatusInternalServerError
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
			f.fail = status
			e.excuse(ts)
		default:
			f.fail = status
		}
	}
}

// hangUp resets the connection.
func hangUp(w http.ResponseWriter) {
	if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
		reset(c)
	}
}

// wait lets a request hang until the mode changes, which it may have done since its fate
// was drawn, or the sender goes away.
func wait(r *http.Request, changed <-chan struct{}) {
	select {
	case <-changed:
	case <-r.Context().Done():
	}
}
