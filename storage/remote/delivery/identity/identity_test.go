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
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v2"

	"github.com/prometheus/prometheus/config"
)

// parse reads remote_write entries the way the configuration file is read.
func parse(t testing.TB, text string) []*config.RemoteWriteConfig {
	var cfgs []*config.RemoteWriteConfig
	require.NoError(t, yaml.UnmarshalStrict([]byte(text), &cfgs), text)
	return cfgs
}

func of(t testing.TB, text string) ([]Identity, []Warning) {
	ids, warnings, err := Of(parse(t, text))
	require.NoError(t, err)
	return ids, warnings
}

func one(t testing.TB, text string) Identity {
	ids, warnings := of(t, text)
	require.Len(t, ids, 1)
	require.Empty(t, warnings)
	return ids[0]
}

const plain = "- url: http://mimir:9009/api/v1/push\n"

// The hashes are stored, so this test has to fail when they change.
func TestStableHashes(t *testing.T) {
	id := one(t, `
- url: https://user:secret@Mimir.example:9009/api/v1/push?x=1#fragment
  name: central
  headers: {X-Scope-OrgID: team-a}
  write_relabel_configs:
  - {source_labels: [__name__], regex: "go_.*", action: drop}
`)
	require.Equal(t, Identity{
		Name:       "central",
		URLHash:    "44291421a713dc70e7c1df72ac6a2e9e",
		RulesHash:  "f22dba3a6675538ef7c3c061213b0d4d",
		TenantHash: "253181b2d09ce07929fec360cd63ce03",
	}, id)
	data, err := json.Marshal(id)
	require.NoError(t, err)
	for _, secret := range []string{"secret", "user", "mimir", "team-a", "go_"} {
		require.NotContains(t, strings.ToLower(string(data)), secret)
	}
	require.Equal(t, Identity{URLHash: "cb817c6840106f9718b8063bcd88bfde"}, one(t, plain))
}

// Rules are equal if they mean the same, and different if they do not.
func TestRules(t *testing.T) {
	rules := func(text string) string { return one(t, plain+"  write_relabel_configs: ["+text+"]\n").RulesHash }
	require.Equal(t, rules("{source_labels: [a], regex: b}"),
		rules(`{source_labels: [a], regex: b, action: Replace, separator: ";", replacement: "$1", modulus: 0}`), "defaults may be written out")
	require.Equal(t, rules("{source_labels: [a], target_label: b}"), rules(`{source_labels: [a], target_label: b, regex: "(.*)"}`))
	distinct := map[string]string{"": "none"}
	for _, text := range []string{
		"{source_labels: [a], regex: b, action: drop}", "{source_labels: [a], regex: b, action: keep}", "{source_labels: [b], regex: b, action: drop}",
		"{source_labels: [a, b], regex: b, action: drop}", `{source_labels: ["a, b"], regex: b, action: drop}`, "{source_labels: [a], regex: c, action: drop}",
		"{source_labels: [a], separator: x, regex: b, action: drop}", "{source_labels: [a], target_label: b}", "{source_labels: [a], target_label: c}",
		"{source_labels: [a], target_label: b, replacement: x}", "{source_labels: [a], target_label: b, action: hashmod, modulus: 2}",
		"{source_labels: [a], target_label: b, action: hashmod, modulus: 3}",
		"{regex: a, action: labeldrop}, {regex: b, action: labeldrop}", "{regex: b, action: labeldrop}, {regex: a, action: labeldrop}",
	} {
		hash := rules(text)
		require.NotContains(t, distinct, hash, "%s and %s", text, distinct[hash])
		distinct[hash] = text
	}
}

// Operational settings may change at will.
func TestOperationalSettingsDoNotMatter(t *testing.T) {
	want := one(t, plain)
	for _, extra := range []string{
		"remote_timeout: 7s",
		"queue_config: {max_shards: 3, capacity: 77}",
		"metadata_config: {send: false}",
		"send_exemplars: true",
		"send_native_histograms: true",
		"round_robin_dns: true",
		"protobuf_message: io.prometheus.write.v2.Request",
		"headers: {X-Trace: abc}",
		"http_headers: {X-Trace: {values: [abc]}}",
		"http_headers: {X-Scope-OrgID: {secrets: [hidden]}}",
		"authorization: {credentials: token}",
		"authorization: {credentials_file: /token}",
		"bearer_token: token",
		"basic_auth: {password: hunter2}",
		"oauth2: {client_id: me, client_secret: s, token_url: http://idp/token}",
		"tls_config: {insecure_skip_verify: true, ca_file: /ca}",
		"follow_redirects: false",
		"enable_http2: false",
		"proxy_url: http://proxy:3128",
		"sigv4: {region: eu}",
		"write_relabel_configs: []",
	} {
		require.Equal(t, want, one(t, plain+"  "+extra+"\n"), extra)
	}
	for _, url := range []string{
		"http://MIMIR:9009/api/v1/push", "HTTP://mimir:9009/api/v1/push", "http://mimir:9009/api/v1/push#fragment", "http://:pw@mimir:9009/api/v1/push",
	} {
		require.Equal(t, want, one(t, "- url: "+url+"\n"), url)
	}
	for _, url := range []string{
		"https://mimir:9009/api/v1/push", "http://mimir:9010/api/v1/push", "http://mimir:9009/api/v1/Push", "http://mimir:9009/api/v1/push?db=x", "http://mimir:9009/api/v1/push/",
	} {
		require.NotEqual(t, want.URLHash, one(t, "- url: "+url+"\n").URLHash, url)
	}
}

func TestTenant(t *testing.T) {
	tenant := func(extra string) string { return one(t, plain+"  "+extra+"\n").TenantHash }
	a := tenant("headers: {X-Scope-OrgID: a}")
	require.Len(t, a, 32)
	require.Equal(t, a, tenant("headers: {x-scope-orgid: a, X-Trace: 5}"))
	require.Equal(t, a, tenant("http_headers: {X-Scope-OrgID: {values: [a]}}"))
	distinct := map[string]string{"": "none"}
	for _, extra := range []string{
		"headers: {X-Scope-OrgID: a}", "headers: {X-Scope-OrgID: b}", "headers: {THANOS-TENANT: a}", "headers: {THANOS-TENANT: b, X-Scope-OrgID: a}",
		"http_headers: {X-Scope-OrgID: {files: [a]}}", "basic_auth: {username: a, password: x}", "basic_auth: {username_file: a, password: x}",
	} {
		hash := tenant(extra)
		require.NotContains(t, distinct, hash, "%s and %s", extra, distinct[hash])
		distinct[hash] = extra
	}
	user := tenant("basic_auth: {username: a, password: x}")
	require.Equal(t, user, tenant("basic_auth: {username: a, password: rotated}"))
	require.Equal(t, user, one(t, "- url: http://a:pw@mimir:9009/api/v1/push\n").TenantHash, "the user of the URL is a basic auth user")
}

// Defends I2: whatever configuration stock accepts, no two of its endpoints
// share a position. What tells them apart decides on the warning.
func TestCollisions(t *testing.T) {
	entry := func(extra string) string { return plain + "  " + extra + "\n" }
	rules := "write_relabel_configs: [{source_labels: [a], regex: b, action: drop}]"
	for _, tc := range []struct {
		name  string
		text  string
		texts []string // Per endpoint, empty without a warning.
	}{
		{"different URLs", plain + "- url: http://other\n", []string{"", ""}},
		{"different rules", plain + entry(rules), []string{"", ""}},
		{"names", entry("name: a") + entry("name: b") + plain, []string{"", "", ""}},
		{"tenants", entry("headers: {X-Scope-OrgID: a}") + entry("headers: {X-Scope-OrgID: b}"), []string{byWhom, byWhom}},
		{"tenant and none", plain + entry("headers: {THANOS-TENANT: b}"), []string{byWhom, byWhom}},
		{"users", entry("basic_auth: {username: a}") + entry("basic_auth: {username: b}"), []string{byWhom, byWhom}},
		{"headers", entry("headers: {X-A: a}") + entry("headers: {X-A: b}"), []string{byHeaders, byHeaders}},
		{"credential files", entry("authorization: {credentials_file: /a}") + entry("authorization: {credentials_file: /b}"), []string{byHeaders, byHeaders}},
		{"roles", entry("sigv4: {region: eu, role_arn: a}") + entry("sigv4: {region: eu, role_arn: b}"), []string{byHeaders, byHeaders}},
		{"client certificates", entry("tls_config: {cert_file: /a, key_file: /k}") + entry("tls_config: {cert_file: /b, key_file: /k}"), []string{byHeaders, byHeaders}},
		{"settings", plain + entry("send_exemplars: true"), []string{byAll, byAll}},
		{
			"all of it",
			plain + entry("headers: {X-Scope-OrgID: a}") + entry("headers: {X-A: a}") + entry("remote_timeout: 3s") + entry("name: a") + "- url: http://other\n",
			[]string{byAll, byWhom, byHeaders, byAll, "", ""},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ids, warnings := of(t, tc.text)
			texts := make([]string, len(ids))
			for _, w := range warnings {
				texts[w.Index] = w.Text
				require.Contains(t, w.String(), "http://mimir:9009/api/v1/push")
				require.Contains(t, w.String(), "`name`")
			}
			require.Equal(t, tc.texts, texts)
			seen := map[Identity]bool{}
			for _, id := range ids {
				require.False(t, seen[id], "%+v twice", id)
				seen[id] = true
			}
			require.Equal(t, indexes(len(ids)), Match(ids, ids, nil))
		})
	}
}

// A change of what only settings tell apart keeps as much as it can: the other
// endpoint of the group is still known, and so is the one that is left.
func TestCollisionsThatChange(t *testing.T) {
	entry := func(extra string) string { return plain + "  " + extra + "\n" }
	saved, _ := of(t, entry("headers: {X-Scope-OrgID: a}")+entry("headers: {X-Scope-OrgID: b}"))

	alone, _ := of(t, entry("headers: {X-Scope-OrgID: b}"))
	require.Equal(t, []int{1}, Match(saved, alone, nil), "the tenant that stays keeps its position")
	three, _ := of(t, plain+entry("headers: {X-Scope-OrgID: b}")+entry("headers: {X-Scope-OrgID: a}"))
	require.Equal(t, []int{-1, 1, 0}, Match(saved, three, nil), "a tenant that is added begins anew, the others do not")
	require.Equal(t, []int{1}, Match(three, alone, nil))
	renamed, _ := of(t, entry("headers: {X-Scope-OrgID: c}")+entry("headers: {X-Scope-OrgID: a}"))
	require.Equal(t, []int{1, 0}, Match(saved, renamed, nil), "one that is left is taken for the one that is missing")

	saved, _ = of(t, entry("remote_timeout: 3s")+entry("remote_timeout: 4s"))
	changed, _ := of(t, entry("remote_timeout: 4s")+entry("remote_timeout: 5s"))
	require.Equal(t, []int{1, 0}, Match(saved, changed, nil))
	single, _ := of(t, plain)
	grown, _ := of(t, plain+entry("send_exemplars: true"))
	require.Equal(t, []int{0, -1}, Match(single, grown, nil), "of equals the first keeps what there was")
}

func TestOfRefuses(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"duplicates", "- url: http://u:topsecret@a/b\n- url: http://other\n- url: http://u:topsecret@a/b\n", "remote_write 1 and 3 are duplicates of each other (http://a/b): duplicate remote write configs are not allowed"},
		{"secrets do not tell apart", plain + "  bearer_token: topsecret\n" + plain + "  bearer_token: more topsecret\n", "remote_write 1 and 2"},
		{"duplicates with rules", strings.Repeat(plain+"  write_relabel_configs: [{regex: a, action: labeldrop}]\n", 2), "duplicate"},
		{"name twice", plain + "  name: a\n- url: http://other\n  name: a\n", `"a" is used twice`},
		{"empty entry", plain + "-\n", "remote_write 2 has no url"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ids, warnings, err := Of(parse(t, tc.text))
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "topsecret")
			require.Empty(t, ids)
			require.Empty(t, warnings)
		})
	}
	_, _, err := Of([]*config.RemoteWriteConfig{{}})
	require.ErrorContains(t, err, "no url")
	cfgs := parse(t, plain)
	cfgs[0].WriteRelabelConfigs = append(cfgs[0].WriteRelabelConfigs, nil)
	_, _, err = Of(cfgs)
	require.ErrorContains(t, err, "rule 1 is empty")

	ids, warnings, err := Of(nil)
	require.NoError(t, err)
	require.Empty(t, ids)
	require.Empty(t, warnings)
}

// A name comes back from the savepoint as it went in.
func TestNamesSurviveJSON(t *testing.T) {
	cfgs := parse(t, plain)
	for _, name := range []string{"a", "ä<&>\"\\\n", "\xff\xfe", "\u2028"} {
		cfgs[0].Name = name
		ids, _, err := Of(cfgs)
		require.NoError(t, err)
		data, err := json.Marshal(ids[0])
		require.NoError(t, err)
		var back Identity
		require.NoError(t, json.Unmarshal(data, &back))
		require.Equal(t, ids[0], back)
		require.Equal(t, name, cfgs[0].Name, "the configuration is left as it is")
	}
}
