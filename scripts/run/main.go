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
// target, and asks the receiver over its API what has arrived. Both are the
// same binary. The data stays in a directory for the next run; the endpoint
// has a name, so the agent goes on where it was although the port is another.
package main

import (
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
	// arriveWithin is how long the first samples may take with --once.
	arriveWithin = 90 * time.Second
	// refresh is the time between two tables, tables how many there are.
	refresh = 5 * time.Second
	tables  = 6
)

func main() {
	// The kernel ends our children with the thread that started them.
	runtime.LockOSThread()
	binary := flag.String("prometheus", "bin/prometheus", "the binary to run")
	data := flag.String("data", "build/run", "where configuration, logs and data go")
	once := flag.Bool("once", false, "stop as soon as samples of all targets have arrived")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := demonstrate(ctx, *binary, *data, *once, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "run: %v\n", err)
		os.Exit(1)
	}
}

func demonstrate(ctx context.Context, binary, data string, once bool, out io.Writer) (err error) {
	if _, err := os.Stat(binary); err != nil {
		return fmt.Errorf("no binary, run make build first: %w", err)
	}
	data, err = filepath.Abs(data)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(data, 0o777); err != nil {
		return err
	}
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
	if err := a.configure(data); err != nil {
		return err
	}

	receiver, err := start(binary, data, "receiver", a.receiver,
		"--storage.tsdb.path="+filepath.Join(data, "receiver"), "--web.enable-remote-write-receiver")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, receiver.stop()) }()
	if err := receiver.ready(ctx, readyWithin); err != nil {
		return quiet(ctx, err)
	}
	began := time.Now()
	agent, err := start(binary, data, "agent", a.agent,
		"--agent", "--storage.agent.path="+filepath.Join(data, "agent"))
	if err != nil {
		return err
	}
	// Deferred calls run in reverse: the agent stops while the receiver is
	// there to take the last samples.
	defer func() { err = errors.Join(err, agent.stop()) }()
	if err := agent.ready(ctx, readyWithin); err != nil {
		return quiet(ctx, err)
	}

	fmt.Fprintf(out, "receiver  http://%s/api/v1/query?query=up\n", a.receiver)
	fmt.Fprintf(out, "agent     http://%s/metrics\n", a.agent)
	fmt.Fprintf(out, "example   http://%s/metrics\n", a.example)
	fmt.Fprintf(out, "data      %s (logs: agent.log, receiver.log)\n\n", data)

	view := view{api: "http://" + a.receiver, began: began}
	for shown, away := 0, false; ; {
		rows, queryErr := view.query(ctx)
		arrived := queryErr == nil && complete(rows)
		switch {
		case queryErr != nil && ctx.Err() == nil && shown > 0 && !away:
			fmt.Fprintln(out, "The receiver does not answer.")
			shown, away = tables-2, true // Show how it goes on afterwards.
		case once && arrived:
			return show(out, rows)
		case once && time.Since(began) > arriveWithin:
			_ = show(out, rows)
			return errors.Join(fmt.Errorf("no samples of all targets within %v; see the logs in %s", arriveWithin, data), queryErr)
		case !once && arrived && shown < tables:
			if err := show(out, rows); err != nil {
				return err
			}
			away = false
			shown++
			if shown == tables {
				fmt.Fprintf(out, "Everything arrives. It goes on until Ctrl-C. For an outage of the receiver: kill -STOP %d; sleep 60; kill -CONT %[1]d\n\n", receiver.cmd.Process.Pid)
			}
		}
		pause := refresh
		if once || !arrived {
			pause = time.Second
		}
		select {
		case <-ctx.Done():
			fmt.Fprintln(out, "\nStopping.")
			return nil
		case <-receiver.ended:
			return receiver.failure()
		case <-agent.ended:
			return agent.failure()
		case <-time.After(pause):
		}
	}
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
