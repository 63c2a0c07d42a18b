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

package main

import (
	"fmt"
	"os"
	"time"
)

// result is what a run has shown, as it is kept.
type result struct {
	Case     string
	Sender   string
	Round    int
	Began    time.Time
	Series   int
	Settings course

	Ready    float64 // Seconds from the start until it was ready, directory empty.
	Steady   phase
	HeapLive float64 // Bytes after a collection, at the end of the window.

	// Of cases with an outage.
	Outage  *phase `json:",omitempty"` // Receivers are away.
	CatchUp *phase `json:",omitempty"` // They are back.
	Killed  *phase `json:",omitempty"` // Away again, until the agent is killed.
	Again   *phase `json:",omitempty"` // It runs again; they are still away.
	Resumed *phase `json:",omitempty"` // They are back.
	// ReadyAgain is as Ready, with the backlog.
	ReadyAgain float64 `json:",omitempty"`

	Settled float64 // Seconds until everything had arrived after the last scrape.
	Missing []int64 // What had not, by endpoint; below 0 is what came twice.
	Scraped int64

	Invalid []string `json:",omitempty"` // Why the figures do not count.
}

// settleWithin is how long what was scraped may take to arrive: a scrape
// interval, the 5 s that a request may wait to be filled, and some time.
func settleWithin(c course) time.Duration { return c.Interval + 10*time.Second }

const (
	// idleLimit is how long is waited for an endpoint that gets nothing of
	// its backlog: longer than any agent waits between two tries.
	idleLimit    = 20 * time.Second
	catchUpLimit = 5 * time.Minute
)

// run measures one agent in one case.
func run(s settings, c course, by contender, round int) (res result, err error) {
	res = result{Case: c.Name, Sender: by.name, Round: round, Began: time.Now(), Series: c.Series, Settings: c}
	if err := os.MkdirAll(s.dir, 0o777); err != nil {
		return res, err
	}
	dir, err := os.MkdirTemp(s.dir, "run-")
	if err != nil {
		return res, err
	}
	defer os.RemoveAll(dir)
	r, err := newRig(s, c, by, dir)
	if err != nil {
		return res, err
	}
	defer r.Close()
	ready, err := r.start()
	if err != nil {
		return res, err
	}
	res.Ready = ready.Seconds()
	if err := r.steady(&res); err != nil {
		return res, err
	}
	if c.Outage > 0 {
		if err := r.outages(&res); err != nil {
			return res, err
		}
	}
	if err := r.settle(&res); err != nil {
		return res, err
	}
	res.Invalid = problems(c, res)
	return res, nil
}

func (r *rig) steady(res *result) (err error) {
	time.Sleep(r.course.Warmup)
	profiles := r.settings.profiles != "" && r.by.tellsOfHeap()
	profiled := make(chan error, 1)
	if profiles {
		go func() {
			profiled <- r.keepProfile("cpu", fmt.Sprintf("/debug/pprof/profile?seconds=%d", int(r.course.Window.Seconds())))
		}()
	} else {
		profiled <- nil
	}
	if res.Steady, err = r.watch(looks{heaps: max(time.Second, r.course.Window/5)}, lasting(r.course.Window)); err != nil {
		return err
	}
	if err := <-profiled; err != nil {
		return err
	}
	if profiles {
		if err := r.keepProfile("heap", "/debug/pprof/heap?gc=1"); err != nil {
			return err
		}
	}
	res.HeapLive, err = r.liveHeap()
	return err
}

// lasting is done after some time.
func lasting(d time.Duration) func(time.Duration, progress) bool {
	return func(elapsed time.Duration, _ progress) bool { return elapsed >= d }
}

// outages takes the receivers away twice, and kills the agent once.
func (r *rig) outages(res *result) (err error) {
	away := func(d time.Duration, at looks) (*phase, error) {
		if err := r.receivers.Do("refuse"); err != nil {
			return nil, err
		}
		ph, err := r.watch(at, lasting(d))
		return &ph, err
	}
	back := func() (*phase, error) {
		if err := r.receivers.Do("accept"); err != nil {
			return nil, err
		}
		normal := max(res.Steady.Behind, int64(r.settings.large))
		last := int64(0)
		done := caughtUp(normal)
		ph, err := r.watch(looks{}, func(elapsed time.Duration, now progress) bool {
			last = now.behind()
			return done(elapsed, last)
		})
		ph.CaughtUp = last <= normal
		return &ph, err
	}
	if res.Outage, err = away(r.course.Outage, looks{}); err != nil {
		return err
	}
	if res.CatchUp, err = back(); err != nil {
		return err
	}
	if res.Killed, err = away(r.course.Outage/2, looks{}); err != nil {
		return err
	}
	// Without scrapes for a moment: whatever was served is in the log then.
	if err := r.targets.Do("pause"); err != nil {
		return err
	}
	time.Sleep(time.Second)
	r.agent.Kill()
	if err := r.targets.Do("resume"); err != nil {
		return err
	}
	ready, err := r.start()
	if err != nil {
		return err
	}
	res.ReadyAgain = ready.Seconds()
	if res.Again, err = away(r.course.Outage/2, looks{start: true}); err != nil {
		return err
	}
	res.Resumed, err = back()
	return err
}

// caughtUp is done when no endpoint is further behind than in steady state, or
// when none has come nearer to that for a time.
func caughtUp(normal int64) func(elapsed time.Duration, behind int64) bool {
	best, since := int64(-1), time.Duration(0)
	return func(elapsed time.Duration, behind int64) bool {
		if best < 0 || behind < best-normal/2 {
			best, since = behind, elapsed
		}
		return behind <= normal || elapsed-since > idleLimit || elapsed > catchUpLimit
	}
}

// settle stops the scrapes and waits until all that was scraped has arrived,
// and a moment for what should not.
func (r *rig) settle(res *result) error {
	if err := r.targets.Do("pause"); err != nil {
		return err
	}
	began, settled := time.Now(), false
	for {
		now, err := r.progress()
		if err != nil {
			return err
		}
		elapsed := time.Since(began)
		if !settled {
			settled, res.Settled = now.behind() == 0, elapsed.Seconds()
		}
		if settled && elapsed > time.Second || elapsed > settleWithin(r.course) {
			res.Scraped = now.scraped
			for _, n := range now.arrived {
				res.Missing = append(res.Missing, now.scraped-n)
			}
			return nil
		}
		if err := r.alive(); err != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}
