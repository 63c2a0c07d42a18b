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

package harness

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"go.yaml.in/yaml/v2"
)

// ExternalLabel is added by every agent's configuration, so that merging
// external labels is part of every scenario.
const (
	ExternalLabel = "agent"
	externalValue = "e2e"
)

// Endpoint is one entry of remote_write.
type Endpoint struct {
	Name     string
	URL      string
	Protocol Protocol
	// Queue overrides single settings of queue_config.
	Queue map[string]any
	// Extra adds or overrides settings of the entry itself.
	Extra map[string]any
}

// Config is what the tests vary in the configuration of an agent.
type Config struct {
	ScrapeInterval time.Duration
	Target         string // Host and port.
	Endpoints      []Endpoint
	// CustomBuckets scrapes classic histograms as native ones with custom
	// buckets. Remote write v1 cannot carry those.
	CustomBuckets bool
}

// defaultQueue keeps requests small and retries quick.
func defaultQueue() map[string]any {
	return map[string]any{
		"capacity":             2500,
		"min_shards":           1,
		"max_shards":           4,
		"max_samples_per_send": 500,
		"batch_send_deadline":  "200ms",
		"min_backoff":          "30ms",
		"max_backoff":          "500ms",
	}
}

func (e Endpoint) yaml() map[string]any {
	queue := defaultQueue()
	maps.Copy(queue, e.Queue)
	entry := map[string]any{
		"url":                    e.URL,
		"protobuf_message":       string(e.Protocol),
		"remote_timeout":         "2s",
		"send_exemplars":         true,
		"send_native_histograms": true,
		"queue_config":           queue,
		"metadata_config":        map[string]any{"send_interval": "5s"},
	}
	if e.Name != "" {
		entry["name"] = e.Name
	}
	maps.Copy(entry, e.Extra)
	return entry
}

// With returns a copy of the configuration with other endpoints.
func (c Config) With(endpoints ...Endpoint) Config {
	c.Endpoints = slices.Clone(endpoints)
	return c
}

// Write renders the configuration into a file, replacing it whole.
func (c Config) Write(path string) error {
	job := func(name, metrics string) map[string]any {
		return map[string]any{
			"job_name":                           name,
			"metrics_path":                       metrics,
			"static_configs":                     []any{map[string]any{"targets": []string{c.Target}}},
			"scrape_native_histograms":           metrics == RichPath,
			"convert_classic_histograms_to_nhcb": metrics == RichPath && c.CustomBuckets,
		}
	}
	endpoints := []any{}
	for _, e := range c.Endpoints {
		endpoints = append(endpoints, e.yaml())
	}
	interval := fmt.Sprintf("%dms", c.ScrapeInterval.Milliseconds())
	text, err := yaml.Marshal(map[string]any{
		"global": map[string]any{
			"scrape_interval": interval,
			"scrape_timeout":  interval,
			"external_labels": map[string]string{ExternalLabel: externalValue},
		},
		"scrape_configs": []any{job("plain", PlainPath), job("rich", RichPath)},
		"remote_write":   endpoints,
	})
	if err != nil {
		return fmt.Errorf("rendering the configuration: %w", err)
	}
	if err := os.WriteFile(path+".new", text, 0o666); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	return os.Rename(path+".new", path)
}
