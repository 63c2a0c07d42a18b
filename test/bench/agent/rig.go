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
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ackwal/ackwal/conformance/process"
	"github.com/ackwal/ackwal/test/bench/agent/exposition"
	"github.com/ackwal/ackwal/test/bench/agent/peers"
)

// rig is the processes of a run. It belongs to one goroutine.
type rig struct {
	settings settings
	course   course
	by       contender
	at       place

	targets   *peers.Peer[peers.TargetStats]
	receivers *peers.Peer[[]peers.ReceiverStats]
	burner    *process.Process // Nil unless the case is busy.
	agent     *process.Process // The one that was started last.
	starts    int
	client    http.Client
}

// newRig starts everything but the agent.
func newRig(s settings, c course, by contender, dir string) (*rig, error) {
	r := &rig{settings: s, course: c, by: by, client: http.Client{Timeout: 30 * time.Second}}
	r.at = place{dir: dir, targets: exposition.Targets(c.Series, s.sizesOf())}
	if err := r.open(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *rig) open() (err error) {
	if r.at.listen, err = process.FreeAddress(); err != nil {
		return err
	}
	r.targets, err = startPeer[peers.TargetStats]("targets", r.at.dir, targetArgs(peers.TargetSettings{
		Series: r.course.Series, Sizes: r.settings.sizesOf(), Churn: r.settings.churn, Compress: r.settings.compress,
	}))
	if err != nil {
		return err
	}
	r.receivers, err = startPeer[[]peers.ReceiverStats]("receivers", r.at.dir, []string{"receivers", fmt.Sprintf("-endpoints=%d", r.course.Endpoints)})
	if err != nil {
		return err
	}
	r.at.scraped, r.at.receivers = r.targets.Serving(), r.receivers.Serving()
	if len(r.at.scraped) != len(r.at.targets) {
		return fmt.Errorf("%d targets are served, not %d", len(r.at.scraped), len(r.at.targets))
	}
	if r.course.Busy {
		if r.burner, err = startRole("burner", r.at.dir, []string{"burner", "-for=" + (2 * r.course.expected()).String()}); err != nil {
			return err
		}
	}
	return r.by.configure(r.course, r.settings.protocol, r.at)
}

// startRole starts this program in another role.
func startRole(name, dir string, args []string) (*process.Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return process.Start(name, self, filepath.Join(dir, name+".log"), args...)
}

func startPeer[T any](name, dir string, args []string) (*peers.Peer[T], error) {
	p, err := startRole(name, dir, args)
	if err != nil {
		return nil, err
	}
	peer, err := peers.Await[T](p)
	if err != nil {
		p.Kill()
	}
	return peer, err
}

// start starts the agent and returns how long it took until it was ready.
func (r *rig) start() (time.Duration, error) {
	r.starts++
	began := time.Now()
	agent, err := process.Start(r.by.name, r.by.binary, filepath.Join(r.at.dir, fmt.Sprintf("agent-%d.log", r.starts)), r.by.arguments(r.at)...)
	if err != nil {
		return 0, err
	}
	r.agent = agent
	for time.Since(began) < 5*time.Minute {
		response, err := r.client.Get("http://" + r.at.listen + r.by.ready)
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return time.Since(began), nil
			}
		}
		if err := r.alive(); err != nil {
			return 0, err
		}
		time.Sleep(2 * time.Millisecond)
	}
	return 0, fmt.Errorf("%s is not ready after 5 minutes:\n%s", r.by.name, agent.Tail(20))
}

// alive returns an error if a process that should run has ended.
func (r *rig) alive() error {
	for _, p := range []*process.Process{r.agent, r.targets.Process, r.receivers.Process} {
		if !p.Running() {
			return fmt.Errorf("%s has ended: %w\n%s", p.Name(), errors.Join(p.Ended(), errEnded), p.Tail(20))
		}
	}
	return nil
}

var errEnded = errors.New("it should have gone on")

// Close ends all processes.
func (r *rig) Close() {
	var all []*process.Process
	if r.targets != nil {
		all = append(all, r.targets.Process)
	}
	if r.receivers != nil {
		all = append(all, r.receivers.Process)
	}
	for _, p := range append(all, r.agent, r.burner) {
		if p != nil {
			p.Kill()
		}
	}
}

// progress is how far samples have come.
type progress struct {
	scraped   int64
	arrived   []int64 // By endpoint.
	sent      int64   // Samples of any kind, to all endpoints.
	bytes     int64   // Of the requests with them.
	stale     int64
	failed    int64 // Scrapes.
	refused   int64 // Requests.
	protested int64 // Requests that no receiver would take.
}

// behind is how many samples the slowest endpoint has not got.
func (p progress) behind() int64 {
	most := int64(0)
	for _, n := range p.arrived {
		most = max(most, p.scraped-n)
	}
	return most
}

// progress asks receivers first: what they have was scraped by then.
func (r *rig) progress() (p progress, err error) {
	received, err := r.receivers.Stats()
	if err != nil {
		return p, err
	}
	for _, s := range received {
		p.arrived = append(p.arrived, s.Scraped())
		p.refused += s.Away
		p.protested += s.Bad
		p.stale += s.Stale
		p.sent += s.Scraped() + s.Automatic + s.Stale
		p.bytes += s.Bytes
	}
	served, err := r.targets.Stats()
	p.scraped, p.failed = served.Samples, served.Failed
	return p, err
}

// heap is what the runtime of the agent says of itself.
type heap struct{ InUse, Live, Goroutines float64 }

func (r *rig) get(path string) ([]byte, error) {
	response, err := r.client.Get("http://" + r.at.listen + path)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s: %s", path, response.Status, body)
	}
	return body, err
}

// readHeap scrapes the agent. Live is what is allocated, which is what is live
// right after a collection.
func (r *rig) readHeap() (h heap, err error) {
	if !r.by.tellsOfHeap() {
		return h, nil
	}
	text, err := r.get("/metrics")
	if err != nil {
		return h, err
	}
	wanted := map[string]*float64{"go_memstats_heap_inuse_bytes": &h.InUse, "go_memstats_heap_alloc_bytes": &h.Live, "go_goroutines": &h.Goroutines}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if to := wanted[name]; to != nil {
			if *to, err = strconv.ParseFloat(value, 64); err != nil {
				return h, fmt.Errorf("the agent's %s: %w", name, err)
			}
			delete(wanted, name)
		}
	}
	if len(wanted) > 0 {
		return h, fmt.Errorf("the agent has no metrics %v", wanted)
	}
	return h, nil
}

// liveHeap has the agent collect its garbage and returns what is left.
func (r *rig) liveHeap() (float64, error) {
	if r.by.tellsOfHeap() {
		if _, err := r.get("/debug/pprof/heap?gc=1"); err != nil {
			return 0, err
		}
	}
	h, err := r.readHeap()
	return h.Live, err
}

// keepProfile fetches a profile of the agent into the directory for them.
func (r *rig) keepProfile(name, path string) error {
	client := http.Client{}
	response, err := client.Get("http://" + r.at.listen + path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if err := os.MkdirAll(r.settings.profiles, 0o777); err != nil {
		return err
	}
	file, err := os.Create(filepath.Join(r.settings.profiles, r.course.Name+"-"+r.by.name+"."+name))
	if err != nil {
		return err
	}
	_, err = io.Copy(file, response.Body)
	return errors.Join(err, file.Close())
}
