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

import _ "embed" // For the templates of configurations.

//go:embed templates/cortex.yml.tmpl
var cortexConfig string

// backends are databases as they are by default, but for addresses and directories.
var backends = map[string]Backend{
	"prometheus": {
		Programs: [][]string{{
			"--config.file={{.ConfigFile}}",
			"--storage.tsdb.path={{.Dir}}/data",
			"--web.listen-address={{index .Addr 0}}",
			"--web.enable-remote-write-receiver",
		}},
		Config: "global: {scrape_interval: 1m}\n",
		Ready:  "http://{{index .Addr 0}}/-/ready",
		Write:  "http://{{index .Addr 0}}/api/v1/write",
		Query:  "http://{{index .Addr 0}}/api/v1/query",
	},
	// One node. It has no order to keep, and stores what it is sent again once more.
	"victoria-metrics": {
		Programs: [][]string{{
			"-storageDataPath={{.Dir}}/data",
			"-httpListenAddr={{index .Addr 0}}",
			"-retentionPeriod=10y",
			"-search.latencyOffset=0s",
		}},
		Ready: "http://{{index .Addr 0}}/health",
		Write: "http://{{index .Addr 0}}/api/v1/write",
		Query: "http://{{index .Addr 0}}/api/v1/query",
		Flush: "http://{{index .Addr 0}}/internal/force_flush",
	},
	// Receive alone, as router and ingester in one, and Query to ask it.
	"thanos": {
		Programs: [][]string{
			{
				"receive",
				"--http-address={{index .Addr 0}}",
				"--grpc-address={{index .Addr 1}}",
				"--remote-write.address={{index .Addr 2}}",
				"--receive.capnproto-address={{index .Addr 5}}",
				"--tsdb.path={{.Dir}}/data",
				`--label=receive="conformance"`,
			},
			{
				"query",
				"--http-address={{index .Addr 3}}",
				"--grpc-address={{index .Addr 4}}",
				"--endpoint={{index .Addr 1}}",
			},
		},
		Ready: "http://{{index .Addr 0}}/-/ready",
		Write: "http://{{index .Addr 2}}/api/v1/receive",
		Query: "http://{{index .Addr 3}}/api/v1/query",
	},
	// Everything in one process, blocks in files, and a tenant, whose name the sender
	// has to send in a header.
	"cortex": {
		Programs: [][]string{{"-config.file={{.ConfigFile}}"}},
		Config:   cortexConfig,
		Ready:    "http://{{index .Addr 0}}/ready",
		Write:    "http://{{index .Addr 0}}/api/v1/push",
		Query:    "http://{{index .Addr 0}}/prometheus/api/v1/query",
		Headers:  map[string]string{"X-Scope-OrgID": "conformance"},
	},
}
