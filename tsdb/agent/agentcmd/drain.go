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

package agentcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/promslog"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/storage/remote/delivery/identity"
	"github.com/ackwal/ackwal/tsdb/agent/durable"
	"github.com/ackwal/ackwal/tsdb/agent/inspect"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"

	"github.com/prometheus/prometheus/config"
)

// drainFlags are what the command line says about draining.
type drainFlags struct {
	configFile  string
	endpoints   []string
	dry         bool
	typeAndUnit bool
	deadline    time.Duration // Zero for none.
	verbose     bool
}

func (c *Commands) drain(agent *kingpin.CmdClause) {
	f := &drainFlags{}
	cmd := c.command(agent, "drain", "Deliver what the data directory of an agent that is not running still holds, to the endpoints of its configuration, and end. Can be interrupted at any time, and goes on where it was. Nothing is scraped. The exit code is 3 if something is left or was refused.", func(ctx context.Context, dir string) (int, error) {
		return c.drainDirectory(ctx, dir, f)
	})
	cmd.Flag("config.file", "Configuration file with the remote_write section of the agent.").Required().StringVar(&f.configFile)
	cmd.Flag("endpoint", "Deliver to this endpoint only, by its name, or ID in the savepoint. Can be given several times.").StringsVar(&f.endpoints)
	cmd.Flag("dry-run", "Say what would be delivered, and do nothing.").BoolVar(&f.dry)
	cmd.Flag("timeout", "End after so long, whatever is left. 0s is never.").Default("0s").DurationVar(&f.deadline)
	cmd.Flag("type-and-unit-labels", "The agent ran with the feature flag of that name.").BoolVar(&f.typeAndUnit)
	cmd.Flag("verbose", "Print the whole log of delivery, and not warnings only.").BoolVar(&f.verbose)
}

// target is an endpoint of the directory that is drained.
type target struct {
	inspect.Endpoint
	config *config.RemoteWriteConfig
}

func (c *Commands) drainDirectory(ctx context.Context, dir string, f *drainFlags) (int, error) {
	conf, err := config.LoadFile(f.configFile, true, slog.New(slog.DiscardHandler))
	if err != nil {
		return exitFailed, err
	}
	targets, unknown, err := c.plan(ctx, dir, conf, f.endpoints)
	if err != nil {
		return exitFailed, err
	}
	left, code := 0, exitOK
	for i := range targets {
		left += targets[i].Items()
		if targets[i].LostBytes > 0 {
			code = exitBad // The table has it.
		}
	}
	if len(f.endpoints) == 0 && len(unknown) > 0 {
		code = exitBad
		defer c.printf("Left alone: %s, which %s does not have by that name or URL. Correct it, or say with --endpoint which ones are meant.\n", strings.Join(unknown, ", "), f.configFile)
	}
	switch {
	case f.dry:
		return exitOK, nil
	case left == 0:
		c.printf("There is nothing to deliver.\n")
		return code, nil
	}
	show := &screen{to: c.out, terminal: c.terminal, every: 10 * time.Second}
	reg := prometheus.NewRegistry()
	names, err := deliver(ctx, reg, dir, conf, targets, f, show)
	if err != nil {
		return exitFailed, err
	}
	delivered, err := c.result(dir, targets, reg, names)
	return max(code, delivered), err
}

// plan finds the endpoints of a configuration that have something in the directory,
// and prints what that is. unknown are those that have something there and are not in the
// configuration.
func (c *Commands) plan(ctx context.Context, dir string, conf *config.Config, only []string) (targets []target, unknown []string, err error) {
	ids, _, err := identity.Of(conf.RemoteWriteConfigs)
	if err != nil {
		return nil, nil, err
	}
	var all []inspect.Endpoint
	err = look(dir, func(d *inspect.Directory) error {
		s, err := d.Status(ctx)
		if err != nil {
			return err
		}
		if all = s.Endpoints; s.Savepoint.File == "" {
			err = fmt.Errorf("%s has no savepoint that can be read, so what was delivered of it is not known; start an agent with durable delivery there: it says what it does, and begins at the oldest segment if the savepoint was lost", dir)
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	saved := make([]savepoint.Identity, len(all))
	for i := range all {
		saved[i] = all[i].Identity()
	}
	of := identity.Match(saved, ids, identity.Former(conf.RemoteWriteConfigs))
	wanted := slices.Clone(only)
	c.table(func(row func(...string)) {
		row("ENDPOINT", "URL", "TO BE SENT", "OF THE LOG", "OLDEST SAMPLE")
		for i, rw := range conf.RemoteWriteConfigs {
			if of[i] < 0 {
				row(rw.Name, identity.ShownURL(rw.URL.URL), "nothing: it has no position here", "", "")
				continue
			}
			e := all[of[i]]
			if rw.Name != "" {
				e.Name = rw.Name
			}
			chosen := len(only) == 0
			for _, name := range only {
				if name == e.Name || name == e.ID {
					chosen = true
					wanted = slices.DeleteFunc(wanted, func(w string) bool { return w == name })
				}
			}
			what := items(&e) + passedOver(&e) + missing(&e)
			if chosen {
				targets = append(targets, target{e, rw})
			} else {
				what += ", left alone"
			}
			row(e.Name, identity.ShownURL(rw.URL.URL), what, size(e.Bytes), at(e.Oldest))
		}
		for i := range all {
			if !slices.Contains(of, i) {
				if all[i].Items() > 0 {
					unknown = append(unknown, all[i].Name)
				}
				row(all[i].Name, "not in the configuration", items(&all[i])+", left alone", size(all[i].Bytes), at(all[i].Oldest))
			}
		}
	})
	if len(wanted) > 0 {
		return nil, nil, fmt.Errorf("no endpoint %s is both in the configuration and in %s; the table above has those that are", strings.Join(wanted, ", "), dir)
	}
	return targets, unknown, nil
}

// lasting keeps metrics when what they are of is closed.
type lasting struct{ *prometheus.Registry }

func (lasting) Unregister(prometheus.Collector) bool { return true }

// deliver delivers to some endpoints until they have everything, or ctx ends, and returns
// what metrics call them, by their IDs.
func deliver(ctx context.Context, reg *prometheus.Registry, dir string, conf *config.Config, targets []target, f *drainFlags, show *screen) (names map[string]string, err error) {
	level := promslog.NewLevel()
	if !f.verbose {
		_ = level.Set("warn")
	}
	logger := promslog.New(&promslog.Config{Writer: io.Writer(show), Level: level})
	rs, err := delivery.NewStorage(logger, lasting{reg}, nil, dir, time.Minute, nil, f.typeAndUnit, delivery.Options{
		LeaveOthers: true, // Others of the directory are not to be taken for removed.
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rs.Close()) }()
	db, err := durable.Open(logger, prometheus.NewRegistry(), rs, dir, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	mine := *conf
	mine.RemoteWriteConfigs = nil
	for _, t := range targets {
		mine.RemoteWriteConfigs = append(mine.RemoteWriteConfigs, t.config)
	}
	if err := rs.ApplyConfig(&mine); err != nil {
		return nil, err
	}
	if f.deadline > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.deadline)
		defer cancel()
	}
	return watch(ctx, rs.Progress, show), nil
}

// watch shows progress until everything is delivered, or ctx ends. It returns the names
// of the endpoints by their IDs.
func watch(ctx context.Context, progress func() []delivery.Progress, show *screen) map[string]string {
	names, total, rates := map[string]string{}, map[string]int64{}, map[string]*rate{}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		now := time.Now()
		var lines []string
		done := true
		for _, p := range progress() {
			if rates[p.ID] == nil {
				rates[p.ID], total[p.ID], names[p.ID] = &rate{}, p.Bytes, p.Name
			}
			done = done && p.Done()
			lines = append(lines, progressLine(p.Name, total[p.ID], p.Bytes, rates[p.ID].note(now, p.Bytes), show.terminal))
		}
		final := done || ctx.Err() != nil
		show.show(lines, now, final)
		if final {
			return names
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// result says what was delivered and what is left.
func (c *Commands) result(dir string, targets []target, reg *prometheus.Registry, names map[string]string) (int, error) {
	var after []inspect.Endpoint
	if err := look(dir, func(d *inspect.Directory) error {
		after = d.Endpoints(context.Background())
		return nil
	}); err != nil {
		return exitFailed, err
	}
	code, more := exitOK, false
	for i := range targets {
		t := &targets[i]
		at := slices.IndexFunc(after, func(e inspect.Endpoint) bool { return e.ID == t.ID })
		if at < 0 {
			return exitFailed, fmt.Errorf("endpoint %s has lost its position in %s meanwhile", t.Name, dir)
		}
		left := &after[at]
		sent, refused, again, err := answered(reg, names[t.ID])
		if err != nil {
			return exitFailed, err
		}
		// An attempt that the end has cut short is among those that were made.
		gone := t.Items() - left.Items()
		sent = max(min(sent, gone-refused-again), 0)
		c.printf("%s: %d delivered", t.Name, sent)
		if refused > 0 {
			c.printf(", %d refused by the receiver for good", refused)
		}
		if again > 0 {
			c.printf(", %d refused that it may have from before", again)
		}
		if other := gone - refused - again - sent; other > 0 {
			c.printf(", %d not sent because the configuration leaves them out", other)
		}
		if t.Passed > 0 {
			c.printf(", %d passed over because another engine wrote them", t.Passed)
		}
		c.printf(", left: %s\n", items(left))
		code = max(code, drained(sent, refused, again, left.Items()))
		more = more || left.Items() > 0
	}
	if more {
		c.printf("Run the same command again to go on; until then the directory keeps what is left.\n")
	}
	return code, nil
}

// drained is the exit code for an endpoint. After a crash a receiver refuses what it has
// already, which is well if it takes what comes after that.
func drained(sent, refused, again, left int) int {
	if left > 0 || refused > 0 || (again > 0 && sent == 0) {
		return exitBad
	}
	return exitOK
}

// answered returns how many items an endpoint took, how many it refused, and how many of
// those it may have been sent before.
func answered(reg *prometheus.Registry, name string) (sent, refused, again int, err error) {
	families, err := reg.Gather()
	if err != nil {
		return 0, 0, 0, err
	}
	for _, mf := range families {
		class, what, _ := strings.Cut(strings.TrimPrefix(mf.GetName(), "prometheus_remote_storage_"), "_")
		if !slices.Contains([]string{"samples", "histograms", "exemplars"}, class) {
			continue
		}
		n := 0
		for _, m := range mf.GetMetric() {
			of := map[string]string{}
			for _, l := range m.GetLabel() {
				of[l.GetName()] = l.GetValue()
			}
			if of["remote_name"] == name && (what != "dropped_total" || of["reason"] == "refused_on_replay") {
				n += int(m.GetCounter().GetValue())
			}
		}
		switch what {
		case "total":
			sent += n
		case "retried_total":
			sent -= n
		case "failed_total":
			sent, refused = sent-n, refused+n
		case "dropped_total":
			sent, again = sent-n, again+n
		}
	}
	return sent, refused, again, nil
}
