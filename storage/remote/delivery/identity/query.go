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

package identity

import (
	"net/url"
	"strings"

	"github.com/grafana/regexp"

	"github.com/prometheus/prometheus/config"
)

// secretName matches the names of query parameters whose values are secrets, by
// how they end: access_token, api-key, X-Amz-Signature. InfluxDB takes a
// password as "p". What is matched here is part of the savepoint's format. It
// need not be exact: a value that is taken for a secret still tells endpoints
// of one configuration apart, see [withoutSecrets].
var secretName = regexp.MustCompile(`(?i)(?:^p|pass|passwd|password|passphrase|pwd|token|secret|key|sig|signature|auth|authorization|credentials?)$`)

// splitQuery parts a query into one without secrets and the secrets. Everything
// else stays as it is written, and in its order. Names of secrets go too: a
// token that moves to a header leaves the same endpoint behind.
func splitQuery(query string) (public, secrets string) {
	if query == "" {
		return "", ""
	}
	var kept, cut []string
	for parameter := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(parameter, "=")
		plain, err := url.QueryUnescape(name)
		if err != nil {
			plain = name
		}
		if value != "" && secretName.MatchString(plain) {
			cut = append(cut, parameter)
			continue
		}
		kept = append(kept, parameter)
	}
	return strings.Join(kept, "&"), strings.Join(cut, "&")
}

// withoutSecrets takes the secrets out of what an endpoint's URL is recognised
// by. What remains of them is a print of four bytes, in the place of what is
// needed to tell endpoints apart that are equal otherwise: which of two it is
// that stays has to be known when one goes. It is too short to find a secret by.
func withoutSecrets(id *Identity, u *url.URL) {
	public, secrets := splitQuery(u.RawQuery)
	if secrets == "" {
		return
	}
	stripped := *u
	stripped.RawQuery = public
	id.URLHash = hashURL(&stripped)
	id.TenantHash += separator + digest([]byte(secrets))[:8]
}

// Former returns what savepoints call the endpoints of cfgs that were written
// while secrets in a URL were a part of its hash. It is empty for endpoints
// without such secrets. [Match] takes it, so that the first start with this
// version finds the position of each.
func Former(cfgs []*config.RemoteWriteConfig) []Identity {
	former := make([]Identity, len(cfgs))
	ids, unnamed, err := alone(cfgs)
	if err != nil {
		return former
	}
	if _, err := separate(cfgs, ids, unnamed); err != nil {
		return former
	}
	for i, cfg := range cfgs {
		if _, secrets := splitQuery(cfg.URL.RawQuery); secrets != "" {
			former[i] = ids[i]
		}
	}
	return former
}
