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
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const scrapeInterval = 2 * time.Second

// jobs are what the agent scrapes.
var jobs = []string{"agent", "receiver", "example"}

type addresses struct{ receiver, agent, example string }

// configure writes the configuration files of both processes. The instance
// label is fixed, so that the series are the same ones in the next run.
func (a addresses) configure(dir string) error {
	var agent strings.Builder
	fmt.Fprintf(&agent, "global:\n  scrape_interval: %v\nscrape_configs:\n", scrapeInterval)
	for i, addr := range []string{a.agent, a.receiver, a.example} {
		fmt.Fprintf(&agent, "- job_name: %s\n  static_configs:\n  - targets: ['%s']\n    labels: {instance: local}\n", jobs[i], addr)
	}
	fmt.Fprintf(&agent, "remote_write:\n- name: receiver\n  url: http://%s/api/v1/write\n", a.receiver)
	for name, text := range map[string]string{"agent": agent.String(), "receiver": "global: {}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name+".yml"), []byte(text), 0o666); err != nil {
			return err
		}
	}
	return nil
}
