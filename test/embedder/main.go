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

// Command consumer is a program such as others write around Prometheus'
// packages: it opens agents in its own process, feeds them, and checks what
// arrives at a receiver. Calls of stock packages are as they were before.
//
// It is built twice from the same source: with go.mod, whose replace directive
// puts the fork tree in the place of Prometheus, and with direct.mod and the
// build tag direct, which imports our packages beside Prometheus as released.
// `make consumers` does so, and fills in what the module files leave out.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb/agent"
)

const (
	timeout = time.Minute
	flush   = 5 * time.Second
	samples = 100
	metric  = "consumer_sample"
)

var logger = promslog.New(&promslog.Config{Level: warnings()})

func warnings() *promslog.Level {
	level := promslog.NewLevel()
	_ = level.Set("warn") // A level that there is.
	return level
}

func main() {
	for _, s := range []struct {
		name string
		do   func(dir string) error
	}{
		{"stock agent, scraping", stockAgent},
		{"durable agent by the engine's flags, credentials refused at first", byFlags},
		{"durable agent by its own constructors, restarted in an outage", byConstructors},
		{"stock agent whose log is followed, restarted in an outage", byFollowing},
	} {
		if err := inDirectory(s.do); err != nil {
			fmt.Fprintf(os.Stderr, "consumer: %s: %v\n", s.name, err)
			os.Exit(1)
		}
		fmt.Printf("%s: %s: delivered\n", packagesFrom, s.name)
	}
}

func inDirectory(do func(dir string) error) error {
	dir, err := os.MkdirTemp("", "consumer-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	return do(dir)
}

// remoteHalf is what a program does with the write side of an agent.
type remoteHalf interface {
	storage.Storage
	ApplyConfig(conf *config.Config) error
}

func neverStarted() (int64, error) { return 0, nil }

// stockAgent uses nothing of ours.
func stockAgent(dir string) error {
	r := newReceiver(0)
	defer r.Close()
	reg := prometheus.NewRegistry()
	rs := remote.NewStorage(logger, reg, neverStarted, dir, flush, nil, false)
	db, err := agent.Open(logger, reg, rs, dir, agent.DefaultOptions())
	if err != nil {
		return err
	}
	db.SetWriteNotified(rs)
	both := storage.NewFanout(logger, db, rs)
	defer closing(both)

	t := newTarget()
	defer t.Close()
	conf, err := configure(rs, r.URL)
	if err != nil {
		return err
	}
	scraper, err := scrape.NewManager(&scrape.Options{DiscoveryReloadOnStartup: true}, logger, nil, nil, both, reg)
	if err != nil {
		return err
	}
	if err := scraper.ApplyConfig(conf); err != nil {
		return err
	}
	sets := make(chan map[string][]*targetgroup.Group, 1)
	sets <- map[string][]*targetgroup.Group{"consumer": {{Targets: []model.LabelSet{{model.AddressLabel: model.LabelValue(t.Listener.Addr().String())}}}}}
	go func() { _ = scraper.Run(sets) }()
	defer scraper.Stop()

	if err := appendSamples(both); err != nil {
		return err
	}
	if err := r.wait("the samples", func() bool { return r.inOrder() == samples }); err != nil {
		return err
	}
	return r.wait("a scraped sample", func() bool { return len(r.values(scraped)) > 0 })
}

// byFlags opens an agent as the binary does.
func byFlags(dir string) error {
	r := newReceiver(401)
	defer r.Close()
	reg := prometheus.NewRegistry()
	flags := engineFlags{Delivery: engineDurable}
	rs := newEngineRemote(true, flags, logger, reg, neverStarted, dir, flush, nil, false)
	db, err := openEngine(logger, reg, rs, dir, agent.DefaultOptions(), flags)
	if err != nil {
		return err
	}
	db.SetWriteNotified(rs)
	both := storage.NewFanout(logger, db, rs)
	defer closing(both)
	if _, err := configure(rs, r.URL); err != nil {
		return err
	}
	if err := appendSamples(both); err != nil {
		return err
	}
	if err := r.wait("a refused request", func() bool { return r.refused.Load() > 0 }); err != nil {
		return err
	}
	r.status.Store(0)
	return r.wait("the samples", func() bool { return r.inOrder() == samples })
}

// byConstructors closes an agent that has delivered nothing and opens it again.
func byConstructors(dir string) error {
	r := newReceiver(503)
	defer r.Close()
	open := func() (storage.Storage, error) {
		reg := prometheus.NewRegistry()
		rs, err := newDeliveryStorage(logger, reg, neverStarted, dir, flush, nil, false, deliveryOptions{})
		if err != nil {
			return nil, err
		}
		db, err := openDurable(logger, reg, rs, dir, durableDefaults())
		if err != nil {
			return nil, err
		}
		db.SetWriteNotified(rs)
		_, err = configure(rs, r.URL)
		return storage.NewFanout(logger, db, rs), err
	}
	both, err := open()
	if err != nil {
		return err
	}
	if err := appendSamples(both); err != nil {
		return err
	}
	if err := r.wait("a refused request", func() bool { return r.refused.Load() > 0 }); err != nil {
		return err
	}
	if err := both.Close(); err != nil {
		return err
	}
	r.status.Store(0)
	if both, err = open(); err != nil {
		return err
	}
	defer closing(both)
	return r.wait("the samples", func() bool { return r.inOrder() == samples })
}

// byFollowing has the log of a stock agent delivered, as a program would that
// keeps a log of its own.
func byFollowing(dir string) error {
	r := newReceiver(503)
	defer r.Close()
	open := func() (both storage.Storage, floor func() string, err error) {
		nowhere := remote.NewStorage(logger, nil, neverStarted, dir, flush, nil, false)
		db, err := agent.Open(logger, nil, nowhere, dir, agent.DefaultOptions())
		if err != nil {
			return nil, nil, err
		}
		rs, err := newDeliveryStorage(logger, prometheus.NewRegistry(), neverStarted, dir, flush, nil, false, deliveryOptions{})
		if err != nil {
			return nil, nil, err
		}
		if err := rs.Follow(followOptions{WALDir: filepath.Join(dir, "wal"), Release: nowhere.Close}); err != nil {
			return nil, nil, err
		}
		db.SetWriteNotified(rs)
		_, err = configure(rs, r.URL)
		return storage.NewFanout(logger, db, rs), func() string { return rs.Floor().State.String() }, err
	}
	both, floor, err := open()
	if err != nil {
		return err
	}
	if err := appendSamples(both); err != nil {
		return err
	}
	if err := r.wait("a refused request", func() bool { return r.refused.Load() > 0 }); err != nil {
		return err
	}
	if state := floor(); state != "held" {
		return fmt.Errorf("the log is %s although nothing is delivered", state)
	}
	if err := both.Close(); err != nil {
		return err
	}
	r.status.Store(0)
	if both, _, err = open(); err != nil {
		return err
	}
	defer closing(both)
	return r.wait("the samples", func() bool { return r.inOrder() == samples })
}

func configure(rs remoteHalf, url string) (*config.Config, error) {
	conf, err := config.Load(fmt.Sprintf(`
scrape_configs: [{job_name: consumer, scrape_interval: 1s}]
remote_write:
  - {name: receiver, url: %q, queue_config: {batch_send_deadline: 100ms, max_backoff: 100ms}}
`, url), logger)
	if err != nil {
		return nil, err
	}
	return conf, rs.ApplyConfig(conf)
}

// appendSamples commits one series. The samples' times are ahead: stock's agent
// sends only what is later than its start.
func appendSamples(to storage.Appendable) error {
	series := labels.FromStrings(labels.MetricName, metric)
	start := time.Now().Add(time.Minute).UnixMilli()
	for i := range int64(samples) {
		app := to.Appender(context.Background())
		if _, err := app.Append(0, series, start+i, float64(i)); err != nil {
			return err
		}
		if err := app.Commit(); err != nil {
			return err
		}
	}
	return nil
}

func closing(c io.Closer) {
	if err := c.Close(); err != nil {
		fmt.Fprintf(os.Stderr, "consumer: close: %v\n", err)
		os.Exit(1)
	}
}
