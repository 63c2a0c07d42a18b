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

// process is one started Prometheus.
type process struct {
	name, addr, log string
	cmd             *exec.Cmd
	// ended is closed when the process is gone; err is set before that.
	ended chan struct{}
	err   error
}

// start runs the binary with DIR/NAME.yml as configuration and DIR/NAME.log
// as log.
func start(binary, dir, name, addr string, args ...string) (*process, error) {
	p := &process{name: name, addr: addr, log: filepath.Join(dir, name+".log"), ended: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.Command(binary, append([]string{"--config.file=" + filepath.Join(dir, name+".yml"), "--web.listen-address=" + addr}, args...)...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = apart()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
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

// stop ends the process and waits until it is gone.
func (p *process) stop() error {
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
