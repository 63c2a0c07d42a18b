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

// Command run shows the agent at work: "make run" starts it.
//
// It starts, on loopback and free ports, a Prometheus server that receives
// remote write, an agent that scrapes itself, the receiver and an example
// target, shows how the agent delivers, and asks the receiver over its API what has
// arrived. The receiver can be stopped for a while, by a key or by --outage. Both are the
// same binary. The data stays in a directory for the next run; the endpoint
// has a name, so the agent goes on where it was although the port is another.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

const (
	// readyWithin is how long a process may take to start, oldest data included.
	readyWithin = time.Minute
	// arriveWithin is how long the first samples may take, and those of an outage
	// after it.
	arriveWithin = 90 * time.Second
	// look is the time between two looks at the agent, and between two lines while
	// something goes on; a line in steadyEvery says that nothing does.
	look        = 2 * time.Second
	steadyEvery = 10 * time.Second
)

func main() {
	// The kernel ends our children with the thread that started them.
	runtime.LockOSThread()
	var o options
	flag.StringVar(&o.binary, "prometheus", "bin/prometheus", "the binary to run")
	flag.StringVar(&o.data, "data", "build/run", "where configuration, logs and data go")
	flag.BoolVar(&o.once, "once", false, "stop as soon as samples of all targets have arrived, after an outage if there is to be one")
	flag.DurationVar(&o.outage, "outage", 0, "stop the receiver for so long, once samples have arrived")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var keys <-chan struct{}
	if info, err := os.Stdin.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 && !o.once {
		keys = enterKeys(os.Stdin)
	}
	err := demonstrate(ctx, o, keys, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "run: %v\n", err)
		os.Exit(1)
	}
}

type options struct {
	binary, data string
	once         bool
	outage       time.Duration
}

// enterKeys tells of each line that is typed.
func enterKeys(in io.Reader) <-chan struct{} {
	keys := make(chan struct{})
	go func() {
		for s := bufio.NewScanner(in); s.Scan(); {
			keys <- struct{}{}
		}
	}()
	return keys
}

// demonstrate starts all and shows it, until it is told to end.
func demonstrate(ctx context.Context, o options, keys <-chan struct{}, out io.Writer) (err error) {
	if _, err := os.Stat(o.binary); err != nil {
		return fmt.Errorf("no binary, run make build first: %w", err)
	}
	if o.data, err = filepath.Abs(o.data); err != nil {
		return err
	}
	if err := os.MkdirAll(o.data, 0o777); err != nil {
		return err
	}
	_, statErr := os.Stat(filepath.Join(o.data, "agent", "wal"))
	resumes := statErr == nil
	target, err := startTarget()
	if err != nil {
		return err
	}
	defer target.Close()
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	a := addresses{receiver: ports[0], agent: ports[1], example: target.Addr}
	if err := a.configure(o.data); err != nil {
		return err
	}

	d := demonstration{
		out: out, keys: keys, once: o.once, outage: o.outage,
		receiver: newProcess(o.binary, o.data, "receiver", a.receiver,
			"--storage.tsdb.path="+filepath.Join(o.data, "receiver"), "--web.enable-remote-write-receiver"),
		agent: newProcess(o.binary, o.data, "agent", a.agent,
			"--agent", "--storage.agent.path="+filepath.Join(o.data, "agent")),
	}
	defer func() { err = errors.Join(err, d.receiver.stop()) }()
	if err := d.receiver.start(ctx); err != nil {
		return quiet(ctx, err)
	}
	d.view = view{api: "http://" + a.receiver, began: time.Now()}
	// Deferred calls run in reverse: the agent stops while the receiver is
	// there to take the last samples.
	defer func() { err = errors.Join(err, d.agent.stop()) }()
	if err := d.agent.start(ctx); err != nil {
		return quiet(ctx, err)
	}

	fmt.Fprintf(out, "receiver  http://%s/api/v1/query?query=up\n", a.receiver)
	fmt.Fprintf(out, "agent     http://%s/metrics\n", a.agent)
	fmt.Fprintf(out, "example   http://%s/metrics\n", a.example)
	fmt.Fprintf(out, "data      %s (logs: agent.log, receiver.log)\n", o.data)
	if resumes {
		fmt.Fprintln(out, "The agent goes on where the run before ended; make run-clean begins anew.")
	}
	fmt.Fprintln(out)
	return d.run(ctx)
}

// quiet drops an error that only says that the user wants us to stop.
func quiet(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// freePorts finds loopback addresses that no process listens on.
func freePorts(n int) ([]string, error) {
	var addrs []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		// Closed only at the end, so that none is given twice.
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}
