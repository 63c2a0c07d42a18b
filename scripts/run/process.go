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
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// stopWithin is how long a process may take to stop before it is killed.
const stopWithin = 30 * time.Second

// process is a Prometheus that is started, and may be again.
type process struct {
	name, addr, log string
	binary          string
	args            []string

	cmd *exec.Cmd
	// ended is closed when the process is gone; err is set before that.
	ended chan struct{}
	err   error
}

// newProcess returns one that is to run with DIR/NAME.yml as configuration and
// DIR/NAME.log as log.
func newProcess(binary, dir, name, addr string, args ...string) *process {
	return &process{
		name: name, addr: addr, log: filepath.Join(dir, name+".log"), binary: binary,
		args: append([]string{"--config.file=" + filepath.Join(dir, name+".yml"), "--web.listen-address=" + addr}, args...),
	}
}

// start runs the binary and waits until it serves. The log of an earlier run makes room.
func (p *process) start(ctx context.Context) error {
	flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if p.cmd == nil {
		flags |= os.O_TRUNC
	}
	log, err := os.OpenFile(p.log, flags, 0o666)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd, ended := exec.Command(p.binary, p.args...), make(chan struct{})
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = apart()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the %s: %w", p.name, err)
	}
	p.cmd, p.ended = cmd, ended
	go func() {
		p.err = cmd.Wait()
		close(ended)
	}()
	return p.ready(ctx, readyWithin)
}

// ready waits until the process serves.
func (p *process) ready(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.addr+"/-/ready", http.NoBody)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-p.ended:
			return p.failure()
		case <-ctx.Done():
			return fmt.Errorf("the %s is not ready after %v\n%s", p.name, within, p.lastLines())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// failure describes a process that ended by itself.
func (p *process) failure() error {
	return fmt.Errorf("the %s ended by itself (%v)\n%s", p.name, p.cmd.ProcessState, p.lastLines())
}

// stop ends the process, if it runs, and waits until it is gone.
func (p *process) stop() error {
	if p.ended == nil {
		return nil
	}
	select {
	case <-p.ended:
		return nil
	default:
	}
	if runtime.GOOS == "windows" {
		_ = p.cmd.Process.Kill() // There is no other way.
	} else {
		_ = p.cmd.Process.Signal(os.Interrupt)
		wake(p.cmd.Process)
	}
	select {
	case <-p.ended:
	case <-time.After(stopWithin):
		_ = p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("the %s did not stop within %v and was killed\n%s", p.name, stopWithin, p.lastLines())
	}
	var exit *exec.ExitError
	if errors.As(p.err, &exit) && runtime.GOOS != "windows" {
		return fmt.Errorf("the %s stopped with %w\n%s", p.name, p.err, p.lastLines())
	}
	return nil
}

// lastLines is the end of the log.
func (p *process) lastLines() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := bytes.SplitAfter(bytes.TrimSpace(text), []byte("\n"))
	return p.log + ":\n" + string(bytes.Join(lines[max(len(lines)-10, 0):], nil))
}
