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
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/promslog"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb/agent"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

// seriesEach is how many series a component has, each with a sample in every commit.
const seriesEach = 20

// program is what is to be made durable: it knows stock's packages and nothing else.
// Each of its components has a log, a registry and a remote storage of its own.
type program interface {
	// commit appends a sample with that value to every series.
	commit(value int) error
	// truncate removes the older part of the log, as the program sees fit.
	truncate() error
	remoteStorage() *remote.Storage
	gatherer() prometheus.Gatherer
	close() error
}

// runProgram carries out commands from standard input, a line each, until that ends.
// It answers each with a line.
func runProgram(shape string, dirs []string) error {
	logger := promslog.New(&promslog.Config{Level: warnings()})
	programs := make([]program, len(dirs))
	for i, dir := range dirs {
		open := openAgent
		if shape == ownLog {
			open = openWriter
		}
		p, err := open(logger.With("component", i), dir)
		if err != nil {
			return err
		}
		programs[i] = p
	}
	commands := bufio.NewScanner(os.Stdin)
	for commands.Scan() {
		words := strings.Fields(commands.Text())
		var errs []error
		answer := "done"
		for i, p := range programs {
			switch words[0] {
			case "commit":
				value, err := strconv.Atoi(words[1])
				errs = append(errs, err, p.commit(value))
			case "truncate":
				errs = append(errs, p.truncate())
			case "apply": // A template with the number of the component left out.
				text, err := strconv.Unquote(strings.TrimPrefix(commands.Text(), "apply "))
				errs = append(errs, err, apply(p.remoteStorage(), logger, strings.ReplaceAll(text, "COMPONENT", strconv.Itoa(i))))
			case "sum": // Of the metric's values.
				n, err := sum(p.gatherer(), words[1])
				errs = append(errs, err)
				answer += fmt.Sprintf(" %d", n)
			case "sent":
				answer += fmt.Sprintf(" %d", p.remoteStorage().LowestSentTimestamp())
			case "close":
				errs = append(errs, p.close())
			default:
				errs = append(errs, fmt.Errorf("unknown command %q", words[0]))
			}
		}
		if err := errors.Join(errs...); err != nil {
			answer = "failed " + strconv.Quote(err.Error())
		}
		fmt.Println(answer)
	}
	return commands.Err()
}

func warnings() *promslog.Level {
	level := promslog.NewLevel()
	_ = level.Set("error") // A level that there is.
	return level
}

func apply(rs *remote.Storage, logger *slog.Logger, text string) error {
	conf, err := config.Load(text, logger)
	if err != nil {
		return err
	}
	return rs.ApplyConfig(conf)
}

func sum(g prometheus.Gatherer, name string) (int, error) {
	families, err := g.Gather()
	total := 0.0
	for _, family := range families {
		if family.GetName() == name {
			for _, m := range family.GetMetric() {
				total += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return int(total), err
}

func neverStarted() (int64, error) { return 0, nil }

func seriesLabels(i int) labels.Labels {
	return labels.FromStrings(labels.MetricName, metric, "number", strconv.Itoa(i))
}

// agentProgram is stock's agent with its remote storage, as a stateless ruler has it.
type agentProgram struct {
	reg *prometheus.Registry
	db  *agent.DB
	rs  *remote.Storage
	app storage.Storage
}

func openAgent(logger *slog.Logger, dir string) (program, error) {
	p := &agentProgram{reg: prometheus.NewRegistry()}
	opts := agent.DefaultOptions()
	opts.WALSegmentSize = segmentSize
	opts.TruncateFrequency = truncateEvery
	opts.MinWALTime, opts.MaxWALTime = 30_000, 60_000
	p.rs = remote.NewStorage(logger, p.reg, neverStarted, dir, flush, nil, false)
	db, err := agent.Open(logger, p.reg, p.rs, dir, opts)
	if err != nil {
		return nil, err
	}
	db.SetWriteNotified(p.rs)
	p.db, p.app = db, storage.NewFanout(logger, db, p.rs)
	return p, nil
}

func (p *agentProgram) commit(value int) error {
	app := p.app.Appender(context.Background())
	for i := range seriesEach {
		if _, err := app.Append(0, seriesLabels(i), stamp(value), float64(value)); err != nil {
			return err
		}
	}
	return app.Commit()
}

// truncate does nothing: the agent truncates by itself.
func (*agentProgram) truncate() error { return nil }

func (p *agentProgram) remoteStorage() *remote.Storage { return p.rs }
func (p *agentProgram) gatherer() prometheus.Gatherer  { return p.reg }
func (p *agentProgram) close() error                   { return p.app.Close() }

// writerProgram writes a log of its own in stock's format. It gives refs again each
// time it opens the log, tells of new series after their first samples, and removes
// the lower two thirds of the log, sent or not.
type writerProgram struct {
	logger *slog.Logger
	reg    *prometheus.Registry
	wal    *wlog.WL
	rs     *remote.Storage
	known  bool
	late   bool // The first samples come before what says of which series they are.
	enc    record.Encoder
}

func openWriter(logger *slog.Logger, dir string) (program, error) {
	p := &writerProgram{logger: logger, reg: prometheus.NewRegistry()}
	_, err := os.Stat(filepath.Join(dir, "wal"))
	p.late = errors.Is(err, os.ErrNotExist) && os.Getenv(lateDefinitions) != ""
	if p.wal, err = wlog.NewSize(logger, p.reg, filepath.Join(dir, "wal"), segmentSize, compression.Snappy); err != nil {
		return nil, err
	}
	p.rs = remote.NewStorage(logger, p.reg, neverStarted, dir, flush, nil, false)
	return p, nil
}

func (p *writerProgram) commit(value int) error {
	var (
		defined []record.RefSeries
		samples []record.RefSample
	)
	// A ref means another series than after the last start.
	shift := os.Getpid() % seriesEach
	for i := range seriesEach {
		ref := chunks.HeadSeriesRef((i+shift)%seriesEach + 1)
		defined = append(defined, record.RefSeries{Ref: ref, Labels: seriesLabels(i)})
		samples = append(samples, record.RefSample{Ref: ref, T: stamp(value), V: float64(value)})
	}
	recs := [][]byte{p.enc.Series(defined, nil), p.enc.Samples(samples, nil)}
	if p.known {
		recs = recs[1:]
	}
	if !p.known && p.late {
		recs[0], recs[1] = recs[1], recs[0]
	}
	for i, rec := range recs {
		if i > 0 && p.late {
			time.Sleep(time.Second)
		}
		if err := p.wal.Log(rec); err != nil {
			return err
		}
		p.rs.Notify()
	}
	p.known = true
	return nil
}

func (p *writerProgram) truncate() error {
	first, last, err := wlog.Segments(p.wal.Dir())
	if err != nil {
		return err
	}
	if _, err := p.wal.NextSegment(); err != nil {
		return err
	}
	last = first + (last-1-first)*2/3
	if last <= first {
		return nil
	}
	keep := func(chunks.HeadSeriesRef) bool { return true }
	if _, err := wlog.Checkpoint(p.logger, p.wal, first, last, keep, 0, false, false); err != nil {
		p.logger.Warn("The log is not truncated", "err", err)
		return nil // The next one tries again.
	}
	if err := p.wal.Truncate(last + 1); err != nil {
		return err
	}
	return wlog.DeleteCheckpoints(p.wal.Dir(), last)
}

func (p *writerProgram) remoteStorage() *remote.Storage { return p.rs }
func (p *writerProgram) gatherer() prometheus.Gatherer  { return p.reg }

func (p *writerProgram) close() error { return errors.Join(p.wal.Close(), p.rs.Close()) }

// stamp is the time in ms of what has a value: no two are the same. They lie ahead,
// since stock sends nothing that is older than its start.
func stamp(value int) int64 { return begin + int64(value) }
