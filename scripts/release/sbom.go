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
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
)

// sbomName is the file in an archive that lists what the binaries are made of, in the
// form of CycloneDX 1.6.
const sbomName = "sbom.cdx.json"

type bom struct {
	Format     string      `json:"bomFormat"`
	Spec       string      `json:"specVersion"`
	Version    int         `json:"version"`
	Metadata   metadata    `json:"metadata"`
	Components []component `json:"components"`
}

type metadata struct {
	Timestamp string    `json:"timestamp"`
	Component component `json:"component"`
}

type component struct {
	Ref      string    `json:"bom-ref"`
	Type     string    `json:"type"`
	Name     string    `json:"name"`
	Version  string    `json:"version"`
	Hashes   []hash    `json:"hashes,omitempty"`
	Licences []licence `json:"licenses,omitempty"`
	URL      string    `json:"purl"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type licence struct {
	Expression string `json:"expression"`
}

// sbom lists the parts. The first is the programs themselves.
func (r release) sbom(p platform, parts []part) ([]byte, error) {
	list := bom{Format: "CycloneDX", Spec: "1.6", Version: 1, Metadata: metadata{Timestamp: r.when.Format("2006-01-02T15:04:05Z")}}
	for _, found := range parts {
		c := component{
			Ref:      found.id(),
			Type:     "library",
			Name:     found.name,
			Version:  found.version,
			Licences: []licence{{strings.Join(found.licences, " AND ")}},
			URL:      found.id(),
		}
		// The sum is one of the sums of a module's files.
		if sum, ok := strings.CutPrefix(found.sum, "h1:"); ok {
			raw, err := base64.StdEncoding.DecodeString(sum)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", found.id(), err)
			}
			c.Hashes = []hash{{"SHA-256", hex.EncodeToString(raw)}}
		}
		if found.name == upstreamModule {
			c.Type, c.Name = "application", "ackwal"
			c.URL = "pkg:golang/github.com/ackwal/ackwal@" + r.version + "?goos=" + p.os + "&goarch=" + p.arch
			c.Ref = c.URL
			list.Metadata.Component = c
			continue
		}
		list.Components = append(list.Components, c)
	}
	text, err := json.MarshalIndent(list, "", "  ")
	return append(text, '\n'), err
}
