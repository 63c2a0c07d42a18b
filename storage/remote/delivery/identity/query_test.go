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
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/config"
)

func TestSplitQuery(t *testing.T) {
	for _, tc := range []struct{ query, public, secrets string }{
		{"", "", ""},
		{"tenant=a", "tenant=a", ""},
		{"token=a", "", "token=a"},
		{"tenant=a&token=b&db=c", "tenant=a&db=c", "token=b"},
		{"db=metrics&u=me&p=s3cret", "db=metrics&u=me", "p=s3cret"},
		{"api_key=a&X-Amz-Signature=b&X-Amz-Date=c&Access-Token=d", "X-Amz-Date=c", "api_key=a&X-Amz-Signature=b&Access-Token=d"},
		{"to%6ben=a&b=%zz&%zz=c", "b=%zz&%zz=c", "to%6ben=a"},
		{"token=&token&token=a", "token=&token", "token=a"},
		{"keyspace=a&author=b&tokens=c&design=d&page=e&step=f", "keyspace=a&author=b&tokens=c&design=d&page=e&step=f", ""},
		{"b=2&a=1&&", "b=2&a=1&&", ""},
	} {
		public, secrets := splitQuery(tc.query)
		require.Equal(t, tc.public, public, tc.query)
		require.Equal(t, tc.secrets, secrets, tc.query)
	}
}

const push = "- url: http://mimir/push?"

// TestSecretsInURLMayChange defends I2: an endpoint whose token rotates keeps its position.
func TestSecretsInURLMayChange(t *testing.T) {
	saved, _ := of(t, push+"db=x&token=a\n")
	require.Len(t, saved[0].TenantHash, 9)
	for _, same := range []string{"db=x&token=b", "token=c&db=x", "db=x&api_key=d&token=e", "db=x"} {
		current, _ := of(t, push+same+"\n")
		require.Equal(t, []int{0}, Match(saved, current, nil), same)
		require.Equal(t, []int{0}, Match(current, saved, nil), same)
	}
	for _, other := range []string{"db=y&token=a", "token=a", "db=x&tenant=t&token=a", "db=x&token"} {
		current, _ := of(t, push+other+"\n")
		require.Equal(t, []int{-1}, Match(saved, current, nil), other)
	}
	// Without secrets in it the hash is what it was.
	require.Equal(t, hashURL(parse(t, push+"tenant=a&b=c\n")[0].URL.URL), one(t, push+"tenant=a&b=c\n").URLHash)
}

// TestSecretsTellApart: endpoints with nothing but a secret in the URL between
// them are two, and each keeps its position while one of the secrets changes.
func TestSecretsTellApart(t *testing.T) {
	two := func(a, b string) string { return push + "token=" + a + "\n" + push + "token=" + b + "\n" }
	saved, warnings := of(t, two("a", "b"))
	require.NotEqual(t, saved[0], saved[1])
	require.Len(t, warnings, 2)
	for _, w := range warnings {
		require.Equal(t, bySecrets, w.Text)
	}
	for _, tc := range []struct {
		text string
		want []int
	}{
		{two("a", "b"), []int{0, 1}},
		{two("b", "a"), []int{1, 0}},
		{two("a", "new"), []int{0, 1}},
		{two("new", "b"), []int{0, 1}},
		{two("b", "new"), []int{1, 0}},
		{push + "token=b\n", []int{1}},
		{two("a", "b") + push + "token=c\n", []int{0, 1, -1}},
	} {
		current, _ := of(t, tc.text)
		require.Equal(t, tc.want, Match(saved, current, Former(parse(t, tc.text))), tc.text)
	}

	// With the same secret the next thing decides.
	mixed, warnings := of(t, two("a", "a")+"  headers: {X-A: b}\n"+push+"token=b\n")
	require.Equal(t, []string{byHeaders, byHeaders, bySecrets}, []string{warnings[0].Text, warnings[1].Text, warnings[2].Text})
	require.Equal(t, indexes(3), Match(mixed, mixed, nil))
	_, _, err := Of(parse(t, two("topsecret", "topsecret")))
	require.ErrorContains(t, err, "duplicates of each other")
}

// savedBefore returns identities as they were when the whole query was hashed.
func savedBefore(t *testing.T, cfgs []*config.RemoteWriteConfig) []Identity {
	ids, unnamed, err := alone(cfgs)
	require.NoError(t, err)
	_, err = separate(cfgs, ids, unnamed)
	require.NoError(t, err)
	return ids
}

// TestSavepointsFromBefore defends I2: the first start that leaves secrets out
// finds the positions that were saved with them.
func TestSavepointsFromBefore(t *testing.T) {
	// Of a savepoint as it was written.
	require.Equal(t, "954df6ae19e8872cfca90db306e7bd28", savedBefore(t, parse(t, push+"tenant=a&token=b\n"))[0].URLHash)

	header := "  headers: {X-Scope-OrgID: t}\n"
	for name, text := range map[string]string{
		"one":                 push + "token=a\n",
		"a tenant":            push + "tenant=x&token=a\n" + push + "tenant=y&token=a\n",
		"only tokens differ":  push + "token=a\n" + push + "token=b\n" + push + "token=c\n",
		"headers differ":      push + "token=a\n" + push + "token=a\n" + header + push + "token=a\n  headers: {X-A: b}\n",
		"with and without":    push + "db=x&token=a\n" + push + "db=x\n",
		"without secrets":     push + "db=x\n" + push + "db=y\n",
		"a name":              push + "token=a\n  name: n\n" + push + "token=a\n",
		"settings differ":     push + "token=a\n" + push + "token=a\n  remote_timeout: 3s\n",
		"rules differ":        push + "token=a\n" + push + "token=b\n  write_relabel_configs: [{regex: a, action: labeldrop}]\n",
		"token in two places": push + "token=a&key=b\n" + push + "token=b&key=a\n",
	} {
		t.Run(name, func(t *testing.T) {
			cfgs := parse(t, text)
			saved := savedBefore(t, cfgs)
			current, _ := of(t, text)
			require.Equal(t, indexes(len(cfgs)), Match(saved, current, Former(cfgs)))
			// Also if the savepoint has them in another order.
			reversed := make([]Identity, len(saved))
			want := make([]int, len(saved))
			for i, id := range saved {
				reversed[len(saved)-1-i], want[i] = id, len(saved)-1-i
			}
			require.Equal(t, want, Match(reversed, current, Former(cfgs)))
			// And from then on without any help.
			require.Equal(t, indexes(len(cfgs)), Match(current, current, nil))
		})
	}
	require.Equal(t, []Identity{{}}, Former(parse(t, push+"db=x\n")))
	require.Equal(t, []Identity{{}}, Former([]*config.RemoteWriteConfig{{}}))
}
