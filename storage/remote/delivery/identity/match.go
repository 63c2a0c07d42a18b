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

import "strings"

// separator is in a tenant hash between the tenant proper and what else
// was needed to tell endpoints apart.
const separator = "-"

// rank is a way to recognise an endpoint.
type rank struct {
	// key is what has to be equal; not ok means that the identity has none.
	key func(Identity) (Identity, bool)
	// alone requires that of those left only one on each side has the key.
	// Otherwise several are paired in order.
	alone bool
}

// ranks, strongest first. One that only pairs in order is right, or no worse
// than not pairing at all: an endpoint without a position begins at now.
var ranks = []rank{
	{key: func(id Identity) (Identity, bool) { return Identity{Name: id.Name}, id.Name != "" }},
	{key: func(id Identity) (Identity, bool) {
		id.Name = ""
		return id, hasURL(id)
	}},
	{key: func(id Identity) (Identity, bool) {
		return Identity{URLHash: id.URLHash, RulesHash: id.RulesHash, TenantHash: tenantOf(id)}, hasURL(id)
	}},
	{key: func(id Identity) (Identity, bool) {
		return Identity{URLHash: id.URLHash, RulesHash: id.RulesHash}, hasURL(id)
	}, alone: true},
	{key: func(id Identity) (Identity, bool) { return Identity{URLHash: id.URLHash}, hasURL(id) }, alone: true},
}

func hasURL(id Identity) bool { return id.URLHash != "" }

func tenantOf(id Identity) string {
	tenant, _, _ := strings.Cut(id.TenantHash, separator)
	return tenant
}

// Match finds for each current identity the saved one of the same endpoint:
// its index in saved, or -1 for an endpoint that is new. No saved one is used
// twice.
//
// The name decides, if there is one on both sides: a named endpoint whose URL
// changed is the same. What no name settles is decided by the URL, the rules
// and the tenant, then by the URL and the rules and at last by the URL, as
// long as there is no doubt. So endpoints that gain, lose or change a name,
// their rules or their tenant are found too.
//
// former has what else the current ones may be called in savepoints, see
// [Former]; nil means nothing.
func Match(saved, current, former []Identity) []int {
	matches := make([]int, len(current))
	for i := range matches {
		matches[i] = -1
	}
	used := make([]bool, len(saved))
	for _, r := range ranks {
		pair(r, saved, current, used, matches)
		pair(r, saved, former, used, matches)
	}
	return matches
}

// pair finds what it can by one rank.
func pair(r rank, saved, current []Identity, used []bool, matches []int) {
	candidates := map[Identity][]int{}
	for i, id := range saved {
		if key, ok := r.key(id); ok && !used[i] {
			candidates[key] = append(candidates[key], i)
		}
	}
	wanting := map[Identity]int{}
	for i, id := range current {
		if key, ok := r.key(id); ok && matches[i] < 0 {
			wanting[key]++
		}
	}
	for i, id := range current {
		key, ok := r.key(id)
		if !ok || matches[i] >= 0 || len(candidates[key]) == 0 {
			continue
		}
		if r.alone && (len(candidates[key]) > 1 || wanting[key] > 1) {
			continue
		}
		matches[i] = candidates[key][0]
		used[matches[i]] = true
		candidates[key] = candidates[key][1:]
	}
}
