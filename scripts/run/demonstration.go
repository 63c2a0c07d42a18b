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
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// demonstration is the agent at work, and what is done with its receiver:
//
//	arriving ──▶ steady ──▶ away ──▶ catchingUp
//	               ▲                     │
//	               └─────────────────────┘
//
// The receiver goes away by a key, by --outage, or because the user killed it.
type demonstration struct {
	out             io.Writer
	keys            <-chan struct{}
	once            bool
	outage          time.Duration // 0 for none, or none any more.
	receiver, agent *process
	view            view

	phase   phase
	since   time.Time // Of the phase,
	lasted  time.Duration
	rows    []row // what the receiver had when it was asked last.
	printed time.Time
}

type phase int

const (
	arriving   phase = iota // The first samples are under way.
	steady                  // All that is scraped arrives.
	away                    // There is no receiver.
	catchingUp              // It is back, and gets what it missed.
)

// run shows how it goes, until it is told to end or, with once, has come to an end.
func (d *demonstration) run(ctx context.Context) error {
	d.enter(arriving)
	heading(d.out)
	ticks := time.NewTicker(look)
	defer ticks.Stop()
	for {
		var err error
		done := false
		select {
		case <-ctx.Done():
			fmt.Fprintln(d.out, "\nStopping.")
			return nil
		case <-d.agent.ended:
			return d.agent.failure()
		case <-d.receiver.ended:
			if d.phase != away && d.keys == nil {
				return d.receiver.failure() // Without keys the user cannot start it again.
			}
			if d.phase != away {
				d.leave("The receiver is gone.")
			}
			d.receiver.ended = nil // Until it is started again.
		case <-d.keys:
			err = d.toggle(ctx)
		case <-ticks.C:
			done, err = d.tick(ctx)
		}
		if err != nil || done {
			return quiet(ctx, err)
		}
	}
}

func (d *demonstration) enter(p phase) { d.phase, d.since = p, time.Now() }

// leave begins an outage.
func (d *demonstration) leave(why string) {
	fmt.Fprintf(d.out, "\n%s What the agent scrapes meanwhile waits in its log.%s\n\n", why, d.offer(" Enter starts it again."))
	d.enter(away)
}

// offer is what is said where there are keys.
func (d *demonstration) offer(text string) string {
	if d.keys == nil {
		return ""
	}
	return text
}

// toggle ends an outage or begins one.
func (d *demonstration) toggle(ctx context.Context) error {
	if d.phase != away {
		d.leave("The receiver is stopped.")
		return d.receiver.stop()
	}
	d.lasted = time.Since(d.since)
	fmt.Fprintf(d.out, "\nThe receiver starts again, after %v.\n\n", d.lasted.Round(time.Second))
	if err := d.receiver.start(ctx); err != nil {
		return err
	}
	d.enter(catchingUp)
	return nil
}

// tick looks at both, shows the agent if it is time for that, and goes on to the next
// phase if that is reached. It is done after the last one.
func (d *demonstration) tick(ctx context.Context) (done bool, err error) {
	var now delivery
	if err := now.ask(ctx, d.agent.addr); err != nil {
		return false, err
	}
	if d.phase != steady || time.Since(d.printed) >= steadyEvery {
		now.show(d.out)
		d.printed = time.Now()
	}

	var queryErr error
	if d.phase != away {
		d.rows, queryErr = d.view.query(ctx)
	}
	arrived := d.phase != away && queryErr == nil && complete(d.rows, time.Now())
	switch {
	case d.phase == away:
		if d.outage > 0 && time.Since(d.since) >= d.outage {
			d.outage = 0
			return false, d.toggle(ctx)
		}
	case d.once && d.phase != steady && !arrived && time.Since(d.since) > arriveWithin:
		_ = show(d.out, d.rows)
		return true, errors.Join(fmt.Errorf("not all samples have arrived within %v; see %s and %s", arriveWithin, d.agent.log, d.receiver.log), queryErr)
	case d.phase != steady && arrived:
		if err := d.verdict(now.lost()); err != nil {
			return true, err
		}
		d.enter(steady)
	case d.phase == steady && d.outage > 0:
		return false, d.toggle(ctx)
	}
	return d.phase == steady && d.once && d.outage == 0, nil
}

// verdict says what has arrived, at the end of a phase that was about that.
func (d *demonstration) verdict(lost int64) error {
	fmt.Fprintln(d.out)
	if err := show(d.out, d.rows); err != nil {
		return err
	}
	scrapes, missing := 0, 0
	for _, r := range d.rows {
		scrapes, missing = scrapes+r.scrapes, missing+r.missing
	}
	// A busy machine makes the agent miss a scrape; an outage that it loses is many.
	if missing > scrapes/10 || lost > 0 {
		return fmt.Errorf("%d scrapes are missing, and %d samples lost by the agent's own count; see %s", missing, lost, d.agent.log)
	}
	what := "Everything arrives"
	if d.phase == catchingUp {
		what = fmt.Sprintf("The receiver was away for %v and has caught up within %v: 0 samples lost, %d scrapes arrived since the start, %d are missing in between",
			d.lasted.Round(time.Second), time.Since(d.since).Round(time.Second/10), scrapes, missing)
	}
	fmt.Fprintf(d.out, "%s.%s\n", what, d.offer(" Enter stops the receiver for an outage, Ctrl-C stops everything."))
	if !d.once || d.outage > 0 {
		fmt.Fprintln(d.out)
		heading(d.out)
	}
	return nil
}
