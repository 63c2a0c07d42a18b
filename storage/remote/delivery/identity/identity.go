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
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v2"

	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"

	"github.com/prometheus/prometheus/config"
)

// Identity is what an endpoint is recognised by. Its form on the disk belongs
// to the savepoint.
type Identity = savepoint.Identity

// Warning is about a configuration that works but deserves better.
type Warning struct {
	// Index is the place of the endpoint in the configuration, from 0.
	Index int
	// URL is the endpoint's, without a password.
	URL string
	// Text says what is wrong and what to do.
	Text string
}

// String renders the warning in a line.
func (w Warning) String() string {
	return fmt.Sprintf("remote_write %d (%s): %s", w.Index+1, w.URL, w.Text)
}

const (
	byWhom    = "another endpoint without a name has the same URL and relabelling rules; they are told apart by tenant header and user name only, set `name` in each"
	bySecrets = "another endpoint without a name has the same URL but for secrets in it, and the same tenant and relabelling rules; they are told apart by those secrets only, so that rotating them may lose the saved position, set `name` in each"
	byHeaders = "another endpoint without a name has the same URL, tenant and relabelling rules; they are told apart by headers and authentication only, so that a change of those may lose the saved position, set `name` in each"
	byAll     = "another endpoint without a name has the same URL, tenant, headers and relabelling rules; they are told apart by their settings only, so that a change of any setting may lose the saved position, set `name` in each"
)

// tenantHeaders are the headers that receivers take the tenant from, in lower
// case.
var tenantHeaders = []string{"thanos-tenant", "x-scope-orgid"}

// Of returns the identity of each endpoint, in the order of cfgs. No two of
// them are equal. Warnings are about endpoints that only settings of lower
// rank tell apart.
//
// It is an error if an entry or its URL is missing, if a name is used twice,
// and if two endpoints without a name are equal in everything but secrets.
// Nothing in cfgs is changed or kept.
func Of(cfgs []*config.RemoteWriteConfig) ([]Identity, []Warning, error) {
	ids, unnamed, err := alone(cfgs)
	if err != nil {
		return nil, nil, err
	}
	for i, cfg := range cfgs {
		withoutSecrets(&ids[i], cfg.URL.URL)
	}
	warnings, err := separate(cfgs, ids, unnamed)
	if err != nil {
		return nil, nil, err
	}
	return ids, warnings, nil
}

// alone returns the identities of endpoints each for itself, with the whole URL,
// and the indexes of those without a name, which may be equal.
func alone(cfgs []*config.RemoteWriteConfig) (ids []Identity, unnamed []int, err error) {
	ids = make([]Identity, len(cfgs))
	names := make(map[string]struct{}, len(cfgs))
	for i, cfg := range cfgs {
		if cfg == nil || cfg.URL == nil || cfg.URL.URL == nil {
			return nil, nil, fmt.Errorf("remote_write %d has no url", i+1)
		}
		// A name has to come back from the savepoint as it went in.
		name := strings.ToValidUTF8(cfg.Name, "\uFFFD")
		if name == "" {
			unnamed = append(unnamed, i)
		} else {
			if _, ok := names[name]; ok {
				return nil, nil, fmt.Errorf("remote_write name %q is used twice, names must be unique", name)
			}
			names[name] = struct{}{}
		}

		rules, err := hashRules(cfg)
		if err != nil {
			return nil, nil, fmt.Errorf("remote_write %d (%s): %w", i+1, ShownURL(cfg.URL.URL), err)
		}
		ids[i] = Identity{Name: name, URLHash: hashURL(cfg.URL.URL), RulesHash: rules, TenantHash: hashTenant(cfg)}
	}
	return ids, unnamed, nil
}

// separate makes the identities of the endpoints without a name differ, with
// as little as will do: settings that are part of an identity cannot be changed
// without the risk of losing the position.
func separate(cfgs []*config.RemoteWriteConfig, ids []Identity, unnamed []int) ([]Warning, error) {
	texts := map[int]string{}
	for _, equal := range []struct {
		text   string
		tenant func(Identity) string
	}{{byWhom, func(Identity) string { return "" }}, {bySecrets, tenantOf}} {
		for _, group := range collisions(ids, unnamed, func(id Identity) Identity {
			id.TenantHash = equal.tenant(id)
			return id
		}) {
			for _, i := range group {
				texts[i] = equal.text
			}
		}
	}
	for _, step := range []struct {
		text string
		part func(*config.RemoteWriteConfig) any
	}{{byHeaders, authentication}, {byAll, everything}} {
		for _, group := range collisions(ids, unnamed, whole) {
			for _, i := range group {
				sum, err := hashYAML(step.part(cfgs[i]))
				if err != nil {
					return nil, fmt.Errorf("remote_write %d (%s): %w", i+1, ShownURL(cfgs[i].URL.URL), err)
				}
				ids[i].TenantHash = tenantOf(ids[i]) + separator + sum
				texts[i] = step.text
			}
		}
	}
	if groups := collisions(ids, unnamed, whole); len(groups) > 0 {
		return nil, fmt.Errorf("remote_write %d and %d are duplicates of each other (%s): duplicate remote write configs are not allowed, "+
			"remove one or give each a `name`", groups[0][0]+1, groups[0][1]+1, ShownURL(cfgs[groups[0][0]].URL.URL))
	}

	warnings := make([]Warning, 0, len(texts))
	for _, i := range slices.Sorted(maps.Keys(texts)) {
		warnings = append(warnings, Warning{Index: i, URL: ShownURL(cfgs[i].URL.URL), Text: texts[i]})
	}
	return warnings, nil
}

func whole(id Identity) Identity { return id }

// collisions returns the groups, of two or more, of those indexes whose
// identities have the same key, in the order of their first member.
func collisions(ids []Identity, indexes []int, key func(Identity) Identity) [][]int {
	members := map[Identity][]int{}
	for _, i := range indexes {
		k := key(ids[i])
		members[k] = append(members[k], i)
	}
	var groups [][]int
	for _, i := range indexes {
		if group := members[key(ids[i])]; len(group) > 1 && group[0] == i {
			groups = append(groups, group)
		}
	}
	return groups
}

// hashURL leaves out user information, which holds secrets, and the fragment,
// which is never sent.
func hashURL(u *url.URL) string {
	stripped := *u
	stripped.User = nil
	stripped.Fragment, stripped.RawFragment = "", ""
	stripped.Host = strings.ToLower(stripped.Host)
	return digest([]byte(stripped.String()))
}

// hashRules goes by what the rules mean, one line each. Their YAML would depend
// on whether a default is written out, and on the fields that the release at
// hand knows.
func hashRules(cfg *config.RemoteWriteConfig) (string, error) {
	if len(cfg.WriteRelabelConfigs) == 0 {
		return "", nil
	}
	var text []byte
	for i, rule := range cfg.WriteRelabelConfigs {
		if rule == nil {
			return "", fmt.Errorf("relabelling rule %d is empty", i+1)
		}
		text = fmt.Appendf(text, "%q %q %q %q %d %q %q\n", string(rule.Action), []model.LabelName(rule.SourceLabels), rule.Separator,
			rule.Regex.String(), rule.Modulus, rule.TargetLabel, rule.Replacement)
	}
	return digest(text), nil
}

// hashTenant covers the tenant headers and the user name, wherever they are
// set. Empty without any. Header values configured as secrets are left out, as
// all secrets are.
func hashTenant(cfg *config.RemoteWriteConfig) string {
	var parts []string
	add := func(kind, value string) {
		if value != "" {
			parts = append(parts, fmt.Sprintf("%s=%q", kind, value))
		}
	}
	for name, value := range cfg.Headers {
		if lower := strings.ToLower(name); slices.Contains(tenantHeaders, lower) {
			add("header "+lower, value)
		}
	}
	if more := cfg.HTTPClientConfig.HTTPHeaders; more != nil {
		for name, header := range more.Headers {
			lower := strings.ToLower(name)
			if !slices.Contains(tenantHeaders, lower) {
				continue
			}
			for _, value := range header.Values {
				add("header "+lower, value)
			}
			for _, file := range header.Files {
				add("header file "+lower, file)
			}
		}
	}
	if auth := cfg.HTTPClientConfig.BasicAuth; auth != nil {
		add("user", auth.Username)
		add("user file", auth.UsernameFile)
		add("user ref", auth.UsernameRef)
	} else {
		add("user", cfg.URL.User.Username())
	}
	if len(parts) == 0 {
		return ""
	}
	slices.Sort(parts)
	return digest([]byte(strings.Join(parts, "\n")))
}

// authentication is all that can identify the client to a receiver, secrets
// left out.
func authentication(cfg *config.RemoteWriteConfig) any {
	http := cfg.HTTPClientConfig
	return []any{
		cfg.Headers, http.HTTPHeaders, http.BasicAuth, http.Authorization, http.OAuth2, http.BearerTokenFile,
		http.TLSConfig.CertFile, http.TLSConfig.CertRef, http.TLSConfig.ServerName,
		cfg.SigV4Config, cfg.AzureADConfig, cfg.GoogleIAMConfig,
	}
}

// everything is what stock tells endpoints apart by.
func everything(cfg *config.RemoteWriteConfig) any { return cfg }

// hashYAML hashes the canonical YAML of a piece of configuration. Secrets are
// replaced in it, so that a rotation changes nothing.
func hashYAML(part any) (string, error) {
	text, err := yaml.Marshal(part)
	if err != nil {
		return "", fmt.Errorf("configuration cannot be rendered: %w", err)
	}
	return digest(text), nil
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}
