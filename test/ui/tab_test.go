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

package ui

import (
	"bufio"
	"bytes"
	"context"
	_ "embed" // The look at a page is a script.
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// look.js is what is asked of a page, in the browser.
//
//go:embed look.js
var look string

// sight is what a person has in front of the eyes, see look.js.
type sight struct {
	Ready               bool
	Text                string
	Answers             []struct{ Text, Hidden string }
	Overflow, Height    int
	Background          float64
	Faint, ClippedCells []string
}

// tab is a page of a Chromium that is driven through a pipe, in which no script of a page
// runs. It is for one goroutine.
type tab struct {
	t       *testing.T
	to      *os.File
	from    *bufio.Reader
	session string
	calls   int
	events  []message
}

// message is one of the DevTools protocol.
type message struct {
	ID        int             `json:"id,omitempty"`
	SessionID string          `json:"sessionId,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    json.RawMessage `json:"params,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     json.RawMessage `json:"error,omitempty"`
}

type object = map[string]any

// newTab starts the browser, which ends with the test. It has time for all of its pages.
func (b browser) newTab(t *testing.T) *tab {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 4*timeout)
	cmd := exec.CommandContext(ctx, b.program, append(flags(t), "--remote-debugging-pipe")...)
	theirs, to, err := os.Pipe()
	require.NoError(t, err)
	from, theirs2, err := os.Pipe()
	require.NoError(t, err)
	cmd.ExtraFiles = []*os.File{theirs, theirs2}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	require.NoError(t, theirs.Close())
	require.NoError(t, theirs2.Close())
	p := &tab{t: t, to: to, from: bufio.NewReader(from)}
	t.Cleanup(func() {
		// A browser that is killed leaves processes that write to its directory for a while.
		_, _ = to.WriteString(`{"id":0,"method":"Browser.close"}` + "\x00")
		_ = cmd.Wait()
		cancel()
		_, _ = to.Close(), from.Close()
		if t.Failed() {
			t.Log(stderr.String())
		}
	})
	var made struct{ TargetID, SessionID string }
	p.call("Target.createTarget", object{"url": "about:blank"}, &made)
	p.call("Target.attachToTarget", object{"targetId": made.TargetID, "flatten": true}, &made)
	p.session = made.SessionID
	for _, domain := range []string{"Page", "Log", "Runtime"} {
		p.call(domain+".enable", object{}, nil)
	}
	p.call("Emulation.setScriptExecutionDisabled", object{"value": true}, nil)
	return p
}

// call makes a request and waits for its answer; events before it are kept.
func (p *tab) call(method string, params object, result any) {
	p.t.Helper()
	p.calls++
	given, err := json.Marshal(params)
	require.NoError(p.t, err)
	text, err := json.Marshal(message{ID: p.calls, SessionID: p.session, Method: method, Params: given})
	require.NoError(p.t, err)
	_, err = p.to.Write(append(text, 0))
	require.NoError(p.t, err)
	for {
		m := p.next()
		if m.ID != p.calls {
			p.events = append(p.events, m)
			continue
		}
		require.Empty(p.t, string(m.Error), method)
		if result != nil {
			require.NoError(p.t, json.Unmarshal(m.Result, result), method)
		}
		return
	}
}

// next returns the next message of the browser.
func (p *tab) next() (m message) {
	p.t.Helper()
	text, err := p.from.ReadBytes(0)
	require.NoError(p.t, err, "the browser has ended")
	require.NoError(p.t, json.Unmarshal(bytes.TrimSuffix(text, []byte{0}), &m))
	return m
}

// view opens a page as a window of that size and scheme shows it, keeps a picture of all of
// it, and returns what is to be seen, and what the console has to complain of.
func (p *tab) view(url, shot string, width, height int, scheme string) (seen sight, complaints []string) {
	p.t.Helper()
	p.call("Emulation.setDeviceMetricsOverride", object{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}, nil)
	p.call("Emulation.setEmulatedMedia", object{"features": []object{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
	p.events = nil
	var opened struct{ ErrorText string }
	p.call("Page.navigate", object{"url": url}, &opened)
	require.Empty(p.t, opened.ErrorText, url)
	for !seen.Ready || seen.Text == "" {
		var answer struct {
			Result           struct{ Value sight }
			ExceptionDetails json.RawMessage
		}
		p.call("Runtime.evaluate", object{"expression": look, "returnByValue": true}, &answer)
		require.Empty(p.t, string(answer.ExceptionDetails))
		seen = answer.Result.Value
	}
	var picture struct{ Data []byte }
	p.call("Page.captureScreenshot", object{"captureBeyondViewport": true, "clip": object{"x": 0, "y": 0, "width": width, "height": seen.Height, "scale": 1}}, &picture)
	require.NoError(p.t, os.WriteFile(shot, picture.Data, 0o666))
	for _, e := range p.events {
		if strings.HasPrefix(e.Method, "Log.") || e.Method == "Runtime.exceptionThrown" || e.Method == "Runtime.consoleAPICalled" {
			complaints = append(complaints, string(e.Params))
		}
	}
	return seen, complaints
}

// picture returns where one of that name is kept.
func (b browser) picture(name string) string { return filepath.Join(b.shots, name+".png") }
