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
	"net"
	"path/filepath"
	"strconv"

	"github.com/ackwal/ackwal/test/bench/agent/peers"
)

// The exporters of the OpenTelemetry Collector that are measured, each with what it has to
// keep what is not delivered.
const (
	remoteWriteExporter = "prometheusremotewrite" // With its WAL.
	otlpExporter        = "otlphttp"              // With a queue on files.
)

// collectorConfig is the configuration of the Collector: the defaults of its parts, with a
// queue that is large enough, on disk, and repetitions without an end.
func (c contender) collectorConfig(global object, protocol string, p place) (object, error) {
	host, port, err := net.SplitHostPort(p.listen)
	if err != nil {
		return nil, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	const queue = 100_000 // Requests.
	exporters, names := object{}, []string(nil)
	for i, r := range p.receivers {
		data := filepath.Join(p.dir, "data", strconv.Itoa(i))
		of := object{"retry_on_failure": object{"max_elapsed_time": "0s", "max_interval": "5s"}}
		if c.exporter == otlpExporter {
			of["metrics_endpoint"] = "http://" + r + peers.OTLPPath
			of["sending_queue"] = object{"storage": "file_storage", "queue_size": queue}
		} else {
			of["endpoint"] = writeURL(r)
			of["protobuf_message"] = messageOf(protocol)
			// Neither names nor series are to be others than those that are scraped.
			of["add_metric_suffixes"], of["target_info"] = false, object{"enabled": false}
			of["remote_write_queue"] = object{"queue_size": queue}
			of["wal"] = object{"directory": data}
		}
		name := fmt.Sprintf("%s/%d", c.exporter, i)
		exporters[name], names = of, append(names, name)
	}
	return object{
		"receivers": object{"prometheus": object{"config": object{"global": global, "scrape_configs": c.jobs(p)}}},
		"extensions": object{"file_storage": object{
			"directory": filepath.Join(p.dir, "data", "queue"), "create_directory": true,
		}},
		"exporters": exporters,
		"service": object{
			"extensions": []string{"file_storage"},
			"telemetry": object{"metrics": object{"readers": []object{{
				"pull": object{"exporter": object{"prometheus": object{"host": host, "port": number}}},
			}}}},
			"pipelines": object{"metrics": object{"receivers": []string{"prometheus"}, "exporters": names}},
		},
	}, nil
}
