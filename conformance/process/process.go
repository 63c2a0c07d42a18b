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

package process

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/grafana/regexp"
)

// HangLimit is how long is waited for something a process must do at some
// time: being ready, answering a request. It is a safety net against tests that
// never end and says nothing about speed.
const HangLimit = 60 * time.Second

// Process is one started program. Its methods are safe for concurrent use.
type Process struct {
	name string
	cmd  *exec.Cmd
	out  *output

	done   chan struct{} // Closed after the program has ended.
	exited time.Time     // Set before done is closed.
	err    error         // Set before done is closed.
}

// spawner starts processes from one goroutine that never gives its thread
// back: Linux delivers the signal that ends the children of a dead parent when
// the thread that started them ends.
var spawner = sync.OnceValue(func() chan<- func() {
	jobs := make(chan func())
	go func() {
		runtime.LockOSThread()
		for job := range jobs {
			job()
		}
	}()
	return jobs
})

// Start runs the program at path; its output goes to the file logPath. name is
// what errors call it.
func Start(name, path, logPath string, args ...string) (*Process, error) {
	out, err := newOutput(logPath)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "# %s %q\n", path, args)

	cmd := exec.Command(path, args...)
	cmd.Stdout = out
	cmd.Stderr = out
	cmd.SysProcAttr = processAttributes()

	started := make(chan error)
	spawner() <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s: %w", name, err), out.Close())
	}

	p := &Process{name: name, cmd: cmd, out: out, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		p.exited = time.Now()
		out.Close()
		close(p.done)
	}()
	return p, nil
}

// Running says whether the program has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Kill ends the program with SIGKILL and waits until it is gone. It returns the
// time right before the signal was sent.
func (p *Process) Kill() time.Time {
	at := time.Now()
	// The error of a program that has ended already is of no interest.
	_ = p.cmd.Process.Kill()
	killGroup(p.cmd.Process.Pid)
	<-p.done
	return at
}

// Terminate sends SIGTERM and waits for the end. It returns how long the
// program took to go, and an error if it did not or did not end cleanly.
func (p *Process) Terminate() (time.Duration, error) {
	at := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return 0, fmt.Errorf("sending SIGTERM to %s: %w", p.name, err)
	}
	select {
	case <-p.done:
		if p.err != nil {
			return p.exited.Sub(at), fmt.Errorf("%s ended with an error after SIGTERM: %w", p.name, p.err)
		}
		return p.exited.Sub(at), nil
	case <-time.After(2 * HangLimit):
		p.Kill()
		return time.Since(at), fmt.Errorf("%s did not end within %s of SIGTERM and was killed", p.name, 2*HangLimit)
	}
}

// WaitOutput waits for a line of output that matches and returns its
// submatches.
func (p *Process) WaitOutput(re *regexp.Regexp) ([]string, error) {
	deadline := time.After(HangLimit)
	for {
		changed := p.out.changed()
		if m := p.out.find(re); m != nil {
			return m, nil
		}
		select {
		case <-changed:
		case <-p.done:
			if m := p.out.find(re); m != nil {
				return m, nil
			}
			return nil, fmt.Errorf("%s ended before it wrote %q: %w\n%s", p.name, re, p.err, p.out.tail(20))
		case <-deadline:
			return nil, fmt.Errorf("%s did not write %q within %s\n%s", p.name, re, HangLimit, p.out.tail(20))
		}
	}
}

// Grep returns all lines of output that match.
func (p *Process) Grep(re *regexp.Regexp) []string { return p.out.grep(re) }

// Tail returns the last n lines of output.
func (p *Process) Tail(n int) string { return p.out.tail(n) }

// Name returns what errors call the process.
func (p *Process) Name() string { return p.name }

// ID returns the number that the system has for the process.
func (p *Process) ID() int { return p.cmd.Process.Pid }

// Ended returns how the program ended, nil for a clean end. It waits for it.
func (p *Process) Ended() error {
	<-p.done
	return p.err
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends a signal to the program.
func (p *Process) Signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("sending %v to %s: %w", s, p.name, err)
	}
	return nil
}

// Ports that systems do not give to connections by themselves: a sender that starts again
// must have its address again.
const leastPort, mostPort = 15_000, 32_000

// FreeAddress returns a loopback address that no process listens on at the moment.
func FreeAddress() (string, error) {
	var last error
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", leastPort+rand.IntN(mostPort-leastPort)))
		if err == nil {
			defer l.Close()
			return l.Addr().String(), nil
		}
		last = err
	}
	return "", fmt.Errorf("looking for a free port: %w", last)
}
