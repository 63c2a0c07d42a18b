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
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"time"
)

// Case is one thing that happens to a sender.
type Case struct {
	Name        string
	Description string
	// Receivers are the names of the endpoints, "main" alone if there are none.
	Receivers []string
	// Crash says that the sender is killed, so that sending again is no fault.
	Crash bool
	// Rules says that it needs rules that a receiver of the suite has.
	Rules bool
	// Database says that it needs a database with series of others.
	Database bool
	// Needs returns what the sender lacks for the case, or "".
	Needs func(Sender) string
	Run   func(*Rig) error
}

// Lengths are in scrapes, so that they are the same on any machine. With the
// default of five a second an outage covers a dozen truncations of a sender
// that is told to truncate each second.
const (
	warmUp = 10
	short  = 20
	long   = 60
)

// steps runs one after the other until one fails.
func steps(of ...func() error) error {
	for _, step := range of {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// outage takes a receiver away for some scrapes, half of the time by refusing
// connections and half by answering 503.
func outage(r *Rig, receiver *Receiver, scrapes int64) error {
	r.happened(ReceiverAway, receiver)
	receiver.Refuse()
	if err := r.Scrapes(scrapes / 2); err != nil {
		return err
	}
	receiver.Say(http.StatusServiceUnavailable)
	if err := receiver.Accept(); err != nil {
		return err
	}
	return r.Scrapes(scrapes - scrapes/2)
}

func (r *Rig) begin() error { return steps(r.Start, func() error { return r.Scrapes(warmUp) }) }

// end has a receiver take everything again and sees what comes.
func (r *Rig) end() error {
	r.Main().Delay(0)
	return steps(r.back, func() error { return r.Scrapes(warmUp) }, func() error { return r.Deliver(r.Main(), "") })
}

// poison has the first receiver refuse a series.
func (r *Rig) poison(series int) {
	r.poisoned = append(r.poisoned, series)
	r.Main().Poison(series)
}

// back ends an outage of the first receiver, if there is one.
func (r *Rig) back() error {
	r.happened(ReceiverBack, r.Main())
	r.Main().Say(0)
	return r.Main().Accept()
}

// Cases returns all cases.
func Cases() []Case {
	return []Case{
		{
			Name:        "outage",
			Description: "the receiver is away for many truncation intervals",
			Run: func(r *Rig) error {
				return steps(r.begin, func() error { return outage(r, r.Main(), long) }, r.end)
			},
		},
		{
			Name:        "restart-in-outage",
			Description: "the sender is stopped and started while the receiver is away",
			Run: func(r *Rig) error {
				during := func() error { return outage(r, r.Main(), short) }
				return steps(r.begin, during, r.Stop, r.Start, during, r.end)
			},
		},
		{
			Name:        "restart-healthy",
			Description: "the sender is stopped and started, twice",
			Run: func(r *Rig) error {
				return steps(r.begin, r.Stop, r.begin, r.Stop, r.begin, r.end)
			},
		},
		{
			Name:        "crash",
			Description: "the sender is killed and started, three times",
			Crash:       true,
			Run: func(r *Rig) error {
				return steps(r.begin, r.Kill, r.begin, r.Kill, r.begin, r.Kill, r.begin, r.end)
			},
		},
		{
			Name:        "crash-in-catch-up",
			Description: "the sender is killed three times while it delivers the backlog of an outage to a slow receiver",
			Crash:       true,
			Run:         crashInCatchUp,
		},
		{
			Name:        "start-with-backlog",
			Description: "the sender is stopped in an outage, and started when the receiver is back",
			Run: func(r *Rig) error {
				return steps(r.begin, func() error { return outage(r, r.Main(), long/2) }, r.Stop, r.back, r.Start, r.end)
			},
		},
		{
			Name:        "slow",
			Description: "the receiver takes half a second for each request, for many truncation intervals",
			Run: func(r *Rig) error {
				return steps(r.begin, func() error {
					r.Main().Delay(time.Second / 2)
					return r.Scrapes(long)
				}, r.end)
			},
		},
		{
			Name:        "poison",
			Description: "the receiver refuses one series for good, with 400; all others must arrive",
			Rules:       true,
			Run: func(r *Rig) error {
				return steps(r.begin, func() error {
					r.poison(0)
					return r.Scrapes(long / 2)
				}, r.end)
			},
		},
		{
			Name:        "reload-in-outage",
			Description: "the sender gets another configuration of its queue while the receiver is away",
			Needs: func(s Sender) string {
				if !s.Reload.possible() {
					return "it cannot be told to reload"
				}
				return ""
			},
			Run: func(r *Rig) error {
				during := func() error { return outage(r, r.Main(), short) }
				return steps(r.begin, during, r.Reload, during, r.end)
			},
		},
		{
			Name:        "isolation",
			Description: "one of two receivers is away; the other must stay current",
			Receivers:   []string{"dead", "alive"},
			Run:         isolation,
		},
		{
			Name:        "corruption-newest",
			Description: "a byte of the newest file of the sender's data flips while it is stopped in an outage",
			Run:         func(r *Rig) error { return corruption(r, func(n int) int { return n - 1 }) },
		},
		{
			Name:        "corruption-middle",
			Description: "the same with a file of middle age",
			Run:         func(r *Rig) error { return corruption(r, func(n int) int { return n / 2 }) },
		},
		{
			Name:        "full-disk",
			Description: "another program fills the sender's disk while the receiver is away, and there is room again before it is back",
			Crash:       true, // It may end, and be started again.
			Run:         fullDisk,
		},
		{
			Name:        "late",
			Description: "a backlog whose samples are two hours old meets a database that has the present of other senders",
			Database:    true,
			Run:         late,
		},
		{
			Name:        "wiped-positions",
			Description: "what the sender remembers of its progress is removed while it is stopped in an outage",
			Crash:       true,
			Needs: func(s Sender) string {
				if len(s.Positions) == 0 {
					return "it keeps none apart from its data"
				}
				return ""
			},
			Run: wipedPositions,
		},
	}
}

func crashInCatchUp(r *Rig) error {
	err := steps(r.begin, func() error { return outage(r, r.Main(), long/2) }, func() error {
		r.Main().Delay(50 * time.Millisecond)
		return r.back()
	})
	for range 3 {
		if err != nil {
			return err
		}
		err = steps(func() error { return r.Requests(r.Main(), 8) }, r.Kill, r.Start)
	}
	return steps(func() error { return err }, r.end)
}

func isolation(r *Rig) error {
	dead, alive := r.Receivers[0], r.Receivers[1]
	if err := r.begin(); err != nil {
		return err
	}
	before := lag(alive.Log())
	from := alive.count()
	err := steps(func() error { return outage(r, dead, long) }, func() error { return r.Deliver(alive, "alive") })
	if err != nil {
		return err
	}
	r.Note("scrapes behind at the living receiver, 9 of 10: %d before, %d during", before, lag(alive.Log()[from:]))
	return steps(r.end, func() error {
		r.rows[len(r.rows)-1].label = "dead"
		return nil
	})
}

// late has the backlog arrive two hours late: more than the hour that Prometheus takes
// without a window, and less than what any database with one does. What is scraped when the
// receiver is back is of now.
func late(r *Rig) error {
	r.Target.Age(2 * time.Hour)
	r.Main().Refuse()
	return steps(r.begin, func() error { return outage(r, r.Main(), long/2) }, func() error {
		r.Target.Age(0)
		r.Main().Delay(time.Second / 2) // It has time to see that it is late.
		return r.Main().database.present(r.ctx)
	}, r.back, func() error { return r.Scrapes(short) }, r.end)
}

// lag is how many scrapes behind the target a receiver was when it first got
// each scrape, at nine of ten.
func lag(requests []Request) int64 {
	seen, lags := map[int64]bool{}, []int64{}
	for _, q := range requests {
		for _, a := range q.Arrivals {
			if !seen[a.Number] {
				seen[a.Number] = true
				lags = append(lags, q.Served-a.Number)
			}
		}
	}
	if len(lags) == 0 {
		return 0
	}
	slices.Sort(lags)
	return lags[len(lags)*9/10]
}

func corruption(r *Rig, choose func(files int) int) error {
	during := func() error { return outage(r, r.Main(), short) }
	return steps(r.begin, during, r.Stop, func() error {
		files, err := dataFiles(r.dataDir(), r.opts.Sender.Ignore)
		if err != nil {
			return err
		}
		if len(files) == 0 {
			r.Damage("the sender has no data on disk")
			return nil
		}
		file := files[choose(len(files))]
		r.Damage(fmt.Sprintf("flipped a byte of %s (%d bytes), one of %d files", file.path, file.size, len(files)))
		return flip(filepath.Join(r.dataDir(), file.path))
	}, r.Start, during, r.end)
}

func wipedPositions(r *Rig) error {
	during := func() error { return outage(r, r.Main(), short) }
	return steps(r.begin, during, r.Stop, func() error {
		n, err := removeMatching(r.dataDir(), r.opts.Sender.Positions)
		r.Note("removed %d files", n)
		return err
	}, r.Start, during, r.end)
}
