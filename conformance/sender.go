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

package conformance

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/ackwal/ackwal/conformance/wire"
)

// Endpoint is one receiver as the sender sees it.
type Endpoint struct {
	Name string
	URL  string // For remote write.
	OTLP string // For metrics in OTLP over HTTP, uncompressed or with gzip.
	// Headers have to be sent with each request, if there are any.
	Headers map[string]string
}

// Setup is what the templates of a [Sender] are filled with.
type Setup struct {
	ConfigFile string        // Path of the rendered configuration.
	DataDir    string        // Directory for all of the sender's data; exists.
	Listen     string        // Host and port the sender may serve HTTP at.
	Target     string        // Host and port to scrape, path /metrics.
	Interval   time.Duration // Between scrapes; the scrape timeout as well.
	Endpoints  []Endpoint    // Receivers; every one gets everything.
	// Protocol is the message to send, or empty for the sender's own choice.
	Protocol wire.Protocol
	// Reloaded says that the configuration is rendered for a reload. Something
	// about the sending has to differ that a sender may change in operation,
	// such as the size of requests; targets and URLs must not.
	Reloaded bool
	// Settings are those of the [Sender].
	Settings map[string]string
}

// Reload says how a sender is told to read its configuration again. The zero
// value means that it cannot.
type Reload struct {
	Path   string    // POST to this path at [Setup.Listen].
	Signal os.Signal // Used if there is no path.
}

func (r Reload) possible() bool { return r.Path != "" || r.Signal != nil }

// Sender describes a program that scrapes and sends remote write. Everything is
// data, so that any sender can be described without code. Args and Config are
// text/template texts over a [Setup].
type Sender struct {
	Name   string
	Binary string
	// Args are the arguments. Each is rendered and then split into lines, so
	// that one can range over the endpoints; empty lines are left out.
	Args []string
	// Config is the text of the configuration file; there is none if it is empty.
	Config string
	// Ready is a path that answers 2xx at [Setup.Listen] when the sender works.
	// If it is empty the first scrape says so.
	Ready  string
	Reload Reload
	// Positions are the files below the data directory, as patterns of
	// path/filepath, in which the sender keeps how far it got, apart from the
	// data itself. Without any the case about them does not apply.
	Positions []string
	// Ignore are patterns of files that hold no data, such as locks. They are
	// not damaged.
	Ignore []string
	// Settings are further values for the templates, by which descriptions of one
	// program differ.
	Settings map[string]string
}

// Validate finds mistakes in the description before anything is started.
func (s Sender) Validate() error {
	if s.Binary == "" {
		return fmt.Errorf("sender %s: no binary is named", s.Name)
	}
	if err := checkProgram(s.Binary); err != nil {
		return fmt.Errorf("sender %s: %w", s.Name, err)
	}
	example := Setup{
		ConfigFile: "config", DataDir: "data", Listen: "127.0.0.1:1", Target: "127.0.0.1:2", Interval: time.Second,
		Endpoints: []Endpoint{{Name: "main", URL: "http://127.0.0.1:3" + writePath, OTLP: "http://127.0.0.1:3" + otlpPath}},
		Settings:  s.Settings,
	}
	if _, err := s.arguments(example); err != nil {
		return err
	}
	_, err := s.config(example)
	for _, pattern := range append(append([]string{}, s.Positions...), s.Ignore...) {
		if _, bad := filepath.Match(pattern, ""); bad != nil {
			err = errors.Join(err, fmt.Errorf("sender %s: the pattern %q: %w", s.Name, pattern, bad))
		}
	}
	return err
}

// With returns the sender with more arguments.
func (s Sender) With(args ...string) Sender {
	s.Args = append(append([]string{}, s.Args...), args...)
	return s
}

func checkProgram(path string) error {
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		return fmt.Errorf("%s is not a program: %w", path, errors.Join(err, os.ErrInvalid))
	}
	return nil
}

// render fills a template with a [Setup] or a [BackendSetup].
func render(text string, setup any) (string, error) {
	t, err := template.New("").Option("missingkey=error").Parse(text)
	if err != nil {
		return "", err
	}
	out := strings.Builder{}
	if err := t.Execute(&out, setup); err != nil {
		return "", err
	}
	return out.String(), nil
}

func (s Sender) arguments(setup Setup) (args []string, err error) {
	for _, a := range s.Args {
		text, err := render(a, setup)
		if err != nil {
			return nil, fmt.Errorf("sender %s: the argument %q: %w", s.Name, a, err)
		}
		for line := range strings.Lines(text) {
			if line = strings.TrimRight(line, "\n"); line != "" {
				args = append(args, line)
			}
		}
	}
	return args, nil
}

func (s Sender) config(setup Setup) (string, error) {
	text, err := render(s.Config, setup)
	if err != nil {
		return "", fmt.Errorf("sender %s: the template of its configuration: %w", s.Name, err)
	}
	return text, nil
}
