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

package conformance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ackwal/ackwal/conformance/process"
)

// Rig is one sender with its target and receivers, in the hands of one case. It
// belongs to the goroutine of the case.
type Rig struct {
	Target    *Target
	Receivers []*Receiver

	ctx      context.Context
	opts     Options
	dir      string
	listen   string
	reloaded bool
	runs     int
	proc     *process.Process // Nil before the first start.

	poisoned []int // Series that receivers never take.

	volume string // The mount point of the sender's own disk, if it has one.
	// Scrapes while the disk was full, and a moment after: from the first to the last.
	fullFrom, fullTo int64

	damaged int64 // The last scrape before the data were damaged.
	atRisk  int   // Samples that only the damaged data held.
	rows    []row
	stopped time.Duration // The longest graceful stop.
	notes   []string
	events  []Event
}

// Event is something that a case did, for those who draw what happened.
type Event struct {
	At       time.Time
	What     Happening
	Receiver string `json:",omitempty"` // Of those to a receiver.
}

// Happening is the kind of an [Event].
type Happening string

// What a case does.
const (
	ReceiverAway  Happening = "receiver away"
	ReceiverBack  Happening = "receiver back"
	SenderStarted Happening = "sender started"
	SenderStopped Happening = "sender stopped"
	SenderKilled  Happening = "sender killed"
)

func (r *Rig) happened(what Happening, receiver *Receiver) {
	e := Event{At: time.Now(), What: what}
	if receiver != nil {
		e.Receiver = receiver.name
	}
	r.events = append(r.events, e)
}

// newRig sets up everything but starts no sender.
func newRig(ctx context.Context, opts Options, dir string, receivers ...string) (*Rig, error) {
	r := &Rig{ctx: ctx, opts: opts, dir: dir}
	if err := os.MkdirAll(r.dataDir(), 0o777); err != nil {
		return nil, fmt.Errorf("directory of the case: %w", err)
	}
	var err error
	if r.listen, err = process.FreeAddress(); err != nil {
		return nil, err
	}
	if r.Target, err = newTarget(opts.Series); err != nil {
		return nil, err
	}
	for _, name := range receivers {
		receiver, err := newReceiver(name, opts.Rules, opts.Protocol, r.Target.Served)
		if err != nil {
			r.close()
			return nil, err
		}
		r.Receivers = append(r.Receivers, receiver)
		if opts.Backend != nil {
			if receiver.database, err = opts.Backend.start(ctx, filepath.Join(dir, "database-"+name)); err != nil {
				r.close()
				return nil, err
			}
		}
	}
	return r, nil
}

func (r *Rig) close() {
	if r.proc != nil {
		r.proc.Kill()
	}
	for _, receiver := range r.Receivers {
		receiver.Refuse()
		if receiver.database != nil {
			receiver.database.close()
		}
	}
	r.Target.close()
	r.unmount()
}

func (r *Rig) dataDir() string {
	if r.volume != "" {
		return filepath.Join(r.volume, "data")
	}
	return filepath.Join(r.dir, "data")
}

// Main returns the first receiver.
func (r *Rig) Main() *Receiver { return r.Receivers[0] }

// Note adds something to the case's result.
func (r *Rig) Note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

func (r *Rig) setup() Setup {
	s := Setup{
		ConfigFile: filepath.Join(r.dir, "config"),
		DataDir:    r.dataDir(),
		Listen:     r.listen,
		Target:     r.Target.addr,
		Interval:   r.opts.Interval,
		Protocol:   r.opts.Protocol,
		Reloaded:   r.reloaded,
		Settings:   r.opts.Sender.Settings,
	}
	for _, receiver := range r.Receivers {
		e := Endpoint{Name: receiver.name, URL: receiver.URL(writePath), OTLP: receiver.URL(otlpPath)}
		if receiver.database != nil {
			e.Headers = receiver.database.headers
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}

// Start starts the sender and waits until it scrapes.
func (r *Rig) Start() error {
	setup := r.setup()
	config, err := r.opts.Sender.config(setup)
	if err != nil {
		return err
	}
	args, err := r.opts.Sender.arguments(setup)
	if err != nil {
		return err
	}
	if config != "" {
		if err := os.WriteFile(setup.ConfigFile, []byte(config), 0o666); err != nil {
			return fmt.Errorf("configuration of the sender: %w", err)
		}
	}
	r.runs++
	r.happened(SenderStarted, nil)
	r.Target.beginRun()
	name := fmt.Sprintf("%s, start %d", r.opts.Sender.Name, r.runs)
	r.proc, err = process.Start(name, r.opts.Sender.Binary, filepath.Join(r.dir, fmt.Sprintf("sender-%d.log", r.runs)), args...)
	if err != nil {
		return err
	}
	if err := r.ready(); err != nil {
		return err
	}
	return r.Scrapes(1)
}

func (r *Rig) ready() error {
	if r.opts.Sender.Ready == "" {
		return nil
	}
	return r.until("the sender is ready", func() bool {
		return r.request(http.MethodGet, r.opts.Sender.Ready) == nil
	})
}

func (r *Rig) request(method, path string) error {
	ctx, cancel := context.WithTimeout(r.ctx, process.HangLimit)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, method, "http://"+r.listen+path, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(q)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s", method, path, response.Status)
	}
	return nil
}

// until polls for something that happens some time, as long as the sender runs.
func (r *Rig) until(what string, happened func() bool) error {
	deadline := time.Now().Add(process.HangLimit)
	for !happened() {
		switch {
		case r.ctx.Err() != nil:
			return r.ctx.Err()
		case !r.proc.Running():
			return fmt.Errorf("the sender ended by itself before this: %s; %w\n%s", what, errors.Join(r.proc.Ended(), errEnded), r.proc.Tail(15))
		case time.Now().After(deadline):
			return fmt.Errorf("within %s this did not happen: %s\n%s", process.HangLimit, what, r.proc.Tail(15))
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

var errEnded = errors.New("a sender must run until it is told to stop")

// Scrapes waits until the target was scraped n more times. It is the clock of
// the suite: a machine that is slow makes everything slower alike.
func (r *Rig) Scrapes(n int64) error {
	due := r.Target.Served() + n
	return r.until(fmt.Sprintf("%d more scrapes", n), func() bool { return r.Target.Served() >= due })
}

// Requests waits until n more requests have reached a receiver.
func (r *Rig) Requests(receiver *Receiver, n int) error {
	due := receiver.count() + n
	return r.until(fmt.Sprintf("%d more requests to %s", n, receiver.name), func() bool { return receiver.count() >= due })
}

// Kill ends the sender with SIGKILL.
func (r *Rig) Kill() error {
	if !r.proc.Running() {
		return fmt.Errorf("the sender was to be killed: %w\n%s", errEnded, r.proc.Tail(15))
	}
	r.happened(SenderKilled, nil)
	r.proc.Kill()
	return nil
}

// Stop ends the sender with SIGTERM. How it ends is not judged, only noted.
func (r *Rig) Stop() error {
	if !r.proc.Running() {
		return fmt.Errorf("the sender was to be stopped: %w\n%s", errEnded, r.proc.Tail(15))
	}
	r.happened(SenderStopped, nil)
	took, err := r.proc.Terminate()
	if err != nil {
		r.Note("%s", firstLine(err))
	}
	r.stopped = max(r.stopped, took)
	return nil
}

// Reload changes how the sender sends, without a restart.
func (r *Rig) Reload() error {
	r.reloaded = true
	setup := r.setup()
	config, err := r.opts.Sender.config(setup)
	if err != nil {
		return err
	}
	// In place: it may be a mounted file that a sender watches.
	if err := os.WriteFile(setup.ConfigFile, []byte(config), 0o666); err != nil {
		return fmt.Errorf("configuration of the sender: %w", err)
	}
	if r.opts.Sender.Reload.Path != "" {
		if err := r.request(http.MethodPost, r.opts.Sender.Reload.Path); err != nil {
			return fmt.Errorf("reloading the sender: %w", err)
		}
		return nil
	}
	return r.proc.Signal(r.opts.Sender.Reload.Signal)
}

// Deliver waits until a receiver has all that was scraped up to now, or nothing
// of it comes any more although the receiver has been there for a long time.
// What it has then goes into the case's result under the label.
func (r *Rig) Deliver(receiver *Receiver, label string) error {
	// The sender has answered for the newest scrape when it asks for the next.
	if err := r.Scrapes(1); err != nil {
		return err
	}
	last := r.Target.Served() - 1
	least, since := -1, last
	for {
		changed := receiver.changed()
		now := r.Counts(receiver, last)
		if least < 0 || now.Lost < least {
			least, since = now.Lost, r.Target.Served()
		}
		final := now.Lost == 0 || (r.opts.Rules == Strict && r.opts.Backend == nil && now.Lost == now.passed)
		if final || r.Target.Served()-since >= r.opts.LostAfter {
			r.rows = append(r.rows, row{label, now})
			return receiver.trouble()
		}
		if err := r.ctx.Err(); err != nil {
			return err
		}
		if !r.proc.Running() {
			return fmt.Errorf("while samples were awaited: %w\n%s", errEnded, r.proc.Tail(15))
		}
		// Requests come in bursts, and reading the logs takes a while.
		time.Sleep(50 * time.Millisecond)
		select {
		case <-changed:
		case <-time.After(time.Second):
		}
	}
}

// Counts compares the logs as they are, for the scrapes up to the last. What a database
// has takes the place of the receiver's.
func (r *Rig) Counts(receiver *Receiver, last int64) Counts {
	requests := receiver.Log()
	if receiver.database != nil {
		var err error
		if requests, err = receiver.database.stored(r.ctx); err != nil {
			receiver.fail(err)
		}
	}
	return Judge(r.Target.Log(), requests, Window{Series: r.opts.Series, UpTo: last, Poisoned: r.poisoned, Damaged: r.damaged, FullFrom: r.fullFrom, FullTo: r.fullTo})
}

// Damage notes that the sender's data are damaged now, while it is not running,
// and how much of them no receiver has.
func (r *Rig) Damage(what string) {
	r.damaged = r.Target.Served()
	r.atRisk = r.Counts(r.Main(), r.damaged).Lost
	r.Note("%s", what)
}

// row is what one receiver had when it was looked at.
type row struct {
	label  string
	counts Counts
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
