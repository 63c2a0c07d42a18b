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

package peers

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/test/bench/agent/exposition"
)

// TargetSettings say what is served.
type TargetSettings struct {
	Series int
	Sizes  exposition.Sizes
	// Churn is the share of all series that is replaced in a minute.
	Churn float64
	// Compress answers with gzip if the scraper takes it, as the client library does.
	Compress bool
}

// TargetStats is what targets have served so far.
type TargetStats struct {
	Samples  int64 // Of pages that were handed to the network whole.
	Scrapes  int64
	Bytes    int64 // Of these pages, before compression.
	Replaced int64 // Series that took the place of others.
	Failed   int64 // Scrapes whose client went away.
}

// targets are all targets. Each has an address of its own, of the many that
// loopback has, so that each takes a connection of the agent as in a cluster.
type targets struct {
	settings TargetSettings
	all      []*target
	buffers  sync.Pool
	zippers  sync.Pool

	samples, scrapes, bytes, replaced, failed atomic.Int64

	mtx    sync.Mutex
	paused chan struct{} // Nil unless paused; closed at the end. Guarded by mtx.
	// credit is how many series are to be replaced by now. It is one for all
	// pages, since a page replaces dozens at once. Guarded by mtx.
	credit float64
}

type target struct {
	*exposition.Target
	mtx  sync.Mutex // Guards the rest: an agent should not scrape it twice at once, but may.
	page *exposition.Page
	last time.Time
}

// TargetHost is the address of the i-th target without its port.
func TargetHost(i int) string {
	return fmt.Sprintf("127.%d.%d.%d", 1+i/64_000, i/250%256, 1+i%250)
}

// ServeTargets serves targets until it fails. It may be paused, so that requests
// under way can settle: scrapes then wait, and are broken off at the end of the
// pause, since their agent may be gone by then.
func ServeTargets(out io.Writer, settings TargetSettings) error {
	debug.SetGCPercent(400) // What the pages take is no figure of anything.
	t := newTargets(settings)
	listener, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		return fmt.Errorf("listening for scrapes: %w", err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return err
	}
	byHost := map[string]*target{}
	var serving []string
	for i, of := range t.all {
		byHost[TargetHost(i)] = of
		serving = append(serving, net.JoinHostPort(TargetHost(i), port))
	}
	server := &http.Server{Handler: t, ConnContext: func(ctx context.Context, c net.Conn) context.Context {
		host, _, _ := net.SplitHostPort(c.LocalAddr().String())
		return context.WithValue(ctx, targetKey{}, byHost[host])
	}}
	failed := make(chan error, 2)
	go func() { failed <- server.Serve(local{listener}) }()
	go func() {
		failed <- serve(out, serving, t.stats, map[string]func(){"pause": t.pause, "resume": t.resume})
	}()
	return <-failed
}

type targetKey struct{}

func newTargets(settings TargetSettings) *targets {
	t := &targets{settings: settings}
	t.buffers.New = func() any { return new([]byte) }
	t.zippers.New = func() any {
		w, err := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)
		if err != nil {
			panic(err) // There is no such level.
		}
		return w
	}
	for _, of := range exposition.Targets(settings.Series, settings.Sizes) {
		t.all = append(t.all, &target{Target: of, page: of.Page()})
	}
	return t
}

// local takes connections from this machine only.
type local struct{ net.Listener }

func (l local) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if from, ok := c.RemoteAddr().(*net.TCPAddr); ok && from.IP.IsLoopback() {
			return c, nil
		}
		c.Close()
	}
}

func (t *targets) stats() TargetStats {
	return TargetStats{
		Samples: t.samples.Load(), Scrapes: t.scrapes.Load(), Bytes: t.bytes.Load(),
		Replaced: t.replaced.Load(), Failed: t.failed.Load(),
	}
}

func (t *targets) pause() {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	if t.paused == nil {
		t.paused = make(chan struct{})
	}
}

func (t *targets) resume() {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	if t.paused != nil {
		close(t.paused)
		t.paused = nil
	}
}

func (t *targets) gate() <-chan struct{} {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	return t.paused
}

// ServeHTTP implements http.Handler.
func (t *targets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	of, ok := r.Context().Value(targetKey{}).(*target)
	if !ok || of == nil {
		http.Error(w, "there is no such target", http.StatusNotFound)
		return
	}
	if paused := t.gate(); paused != nil {
		select {
		case <-paused:
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler)
	}
	form := negotiate(of.Form, r.Header.Get("Accept"))
	buf := t.buffers.Get().(*[]byte)
	*buf = of.render((*buf)[:0], form, time.Now(), t)
	w.Header().Set("Content-Type", form.ContentType())
	if err := t.write(w, r, *buf); err != nil {
		t.failed.Inc()
	} else {
		t.scrapes.Inc()
		t.bytes.Add(int64(len(*buf)))
		t.samples.Add(int64(of.Series))
	}
	t.buffers.Put(buf)
}

// negotiate returns the form that a client gets. One that accepts only text gets
// it from all targets.
func negotiate(have exposition.Form, accept string) exposition.Form {
	media, _, _ := strings.Cut(have.ContentType(), ";")
	if strings.Contains(accept, media) {
		return have
	}
	return exposition.Text
}

func (t *targets) write(w http.ResponseWriter, r *http.Request, page []byte) error {
	if !t.settings.Compress || !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		if _, err := w.Write(page); err != nil {
			return err
		}
		return http.NewResponseController(w).Flush()
	}
	w.Header().Set("Content-Encoding", "gzip")
	zip := t.zippers.Get().(*gzip.Writer)
	defer t.zippers.Put(zip)
	zip.Reset(w)
	if _, err := zip.Write(page); err != nil {
		return err
	}
	if err := zip.Close(); err != nil {
		return err
	}
	return http.NewResponseController(w).Flush()
}

// render appends the page as it is now. If enough series are to be replaced for
// that, it has other ones than before.
func (of *target) render(out []byte, form exposition.Form, now time.Time, t *targets) []byte {
	of.mtx.Lock()
	defer of.mtx.Unlock()
	dt := 0.0
	if !of.last.IsZero() {
		dt = now.Sub(of.last).Seconds()
	}
	of.last = now
	if n := of.page.Replaceable(); t.churn(float64(of.Series)*t.settings.Churn*dt/60, n) {
		of.page.Replace()
		t.replaced.Add(int64(n))
	}
	return of.page.Append(out, form, dt)
}

// churn adds series that are to be replaced, and says whether as many as a page
// has at once are.
func (t *targets) churn(more float64, page int) bool {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	t.credit += more
	if page == 0 || t.credit < float64(page) {
		return false
	}
	t.credit -= float64(page)
	return true
}
