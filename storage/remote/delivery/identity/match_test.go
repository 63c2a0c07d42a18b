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
	"fmt"
	"math/rand"
	"testing"

	"github.com/stretchr/testify/require"
)

func indexes(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// id reads an identity from "name url rules tenant", with "-" for empty parts.
func id(text string) Identity {
	var part [4]string
	if _, err := fmt.Sscan(text, &part[0], &part[1], &part[2], &part[3]); err != nil {
		panic(err)
	}
	for i := range part {
		if part[i] == "-" {
			part[i] = ""
		}
	}
	return Identity{Name: part[0], URLHash: part[1], RulesHash: part[2], TenantHash: part[3]}
}

func identities(texts []string) []Identity {
	list := make([]Identity, len(texts))
	for i, text := range texts {
		list[i] = id(text)
	}
	return list
}

// Defends I2: an endpoint that was only changed gets its position back.
func TestMatch(t *testing.T) {
	for _, tc := range []struct {
		name           string
		saved, current []string
		want           []int
	}{
		{"nothing", nil, nil, []int{}},
		{"first endpoint", nil, []string{"- u1 - -"}, []int{-1}},
		{"all removed", []string{"- u1 - -"}, nil, []int{}},
		{"same in another order", []string{"- u1 - -", "- u2 - -"}, []string{"- u2 - -", "- u1 - -"}, []int{1, 0}},
		{"new beside old", []string{"- u1 - -"}, []string{"- u2 - -", "- u1 - -"}, []int{-1, 0}},

		{"name wins over URL", []string{"a u1 - -", "b u2 - -"}, []string{"a u2 - -", "b u1 - -"}, []int{0, 1}},
		{"named, URL and rules changed", []string{"a u1 r1 -"}, []string{"a u2 r2 -"}, []int{0}},
		{"gains a name", []string{"- u1 - -", "- u2 - -"}, []string{"a u1 - -", "- u2 - -"}, []int{0, 1}},
		{"loses its name", []string{"a u1 - -"}, []string{"- u1 - -"}, []int{0}},
		{"changes its name", []string{"a u1 r1 -"}, []string{"b u1 r1 -"}, []int{0}},
		{"a name is not lent", []string{"a u1 - -"}, []string{"- u1 - -", "a u2 - -"}, []int{-1, 0}},
		{"second name for the same URL", []string{"a u1 - -"}, []string{"b u1 - -", "a u1 - -"}, []int{-1, 0}},
		{"two gain names", []string{"- u1 - t1", "- u1 - t2"}, []string{"b u1 - t2", "a u1 - t1"}, []int{1, 0}},

		{"rules decide", []string{"- u1 r1 -", "- u1 r2 -"}, []string{"- u1 r2 -", "- u1 r1 -"}, []int{1, 0}},
		{"rules changed", []string{"- u1 r1 -"}, []string{"- u1 r2 -"}, []int{0}},
		{"rules of one of two changed", []string{"- u1 r1 -", "- u1 r2 -"}, []string{"- u1 r3 -", "- u1 r1 -"}, []int{1, 0}},
		{"rules of both changed: doubt", []string{"- u1 r1 -", "- u1 r2 -"}, []string{"- u1 r3 -", "- u1 r4 -"}, []int{-1, -1}},
		{"one becomes two: doubt", []string{"- u1 r1 -"}, []string{"- u1 r2 -", "- u1 r3 -"}, []int{-1, -1}},
		{"two become one: doubt", []string{"- u1 r1 -", "- u1 r2 -"}, []string{"- u1 r3 -"}, []int{-1}},

		{"tenant decides", []string{"- u1 - t1", "- u1 - t2"}, []string{"- u1 - t2", "- u1 - t1"}, []int{1, 0}},
		{"tenant changed", []string{"- u1 - t1"}, []string{"- u1 - t2"}, []int{0}},
		{"tenant is added", []string{"- u1 - t1"}, []string{"- u1 - t2", "- u1 - t1"}, []int{-1, 0}},
		{"tenants of both changed: doubt", []string{"- u1 - t1", "- u1 - t2"}, []string{"- u1 - t3", "- u1 - t4"}, []int{-1, -1}},
		{"tenant and rules changed", []string{"- u1 r1 t1"}, []string{"- u1 r2 t2"}, []int{0}},
		{"what is behind the hyphen decides", []string{"- u1 - t1-x", "- u1 - t1-y"}, []string{"- u1 - t1-y", "- u1 - t1-x"}, []int{1, 0}},
		{"what is behind the hyphen changed", []string{"- u1 - t1-x", "- u1 - t2"}, []string{"- u1 - t2", "- u1 - t1-z"}, []int{1, 0}},
		{"collision appears", []string{"- u1 - t1"}, []string{"- u1 - t1-x", "- u1 - t1-y"}, []int{0, -1}},
		{"collision goes", []string{"- u1 - t1-x", "- u1 - t1-y"}, []string{"- u1 - t1"}, []int{0}},

		{"equal saved ones are used once", []string{"a u1 - -", "b u1 - -"}, []string{"- u1 - -", "- u1 - -", "- u1 - -"}, []int{0, 1, -1}},
		{"without URL only the name counts", []string{"a - - -", "b - - -"}, []string{"b - - -", "c - - -"}, []int{1, -1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Equal(t, tc.want, Match(identities(tc.saved), identities(tc.current), nil))
		})
	}
}

func randomIdentities(rnd *rand.Rand) []Identity {
	list := make([]Identity, rnd.Intn(6))
	pick := func(values ...string) string { return values[rnd.Intn(len(values))] }
	for i := range list {
		list[i] = Identity{
			Name: pick("", "", "a", "b"), URLHash: pick("u1", "u1", "u2", ""),
			RulesHash: pick("", "r1"), TenantHash: pick("", "t1", "t1-x", "t2"),
		}
	}
	return list
}

// What holds for any two lists, also for such as Of never returns.
func checkMatch(t *testing.T, saved, current []Identity) {
	matches := Match(saved, current, nil)
	require.Len(t, matches, len(current))
	users := map[int]int{}
	for i, m := range matches {
		if m < 0 {
			require.Equal(t, -1, m)
			continue
		}
		require.Less(t, m, len(saved))
		user, taken := users[m]
		require.False(t, taken, "saved %d is used by %d and %d", m, user, i)
		users[m] = i
		sameName := current[i].Name != "" && saved[m].Name == current[i].Name
		require.True(t, sameName || saved[m].URLHash == current[i].URLHash, "%+v for %+v", saved[m], current[i])
	}
	for i, c := range current {
		if matches[i] >= 0 {
			continue
		}
		for j, s := range saved {
			if _, taken := users[j]; taken {
				continue
			}
			require.False(t, c.Name != "" && c.Name == s.Name, "%+v begins anew beside its own name", c)
			s.Name, c.Name = "", ""
			require.False(t, c == s && hasURL(c), "%+v begins anew beside its like", c)
		}
	}
}

func TestMatchProperties(t *testing.T) {
	for seed := range int64(5000) {
		rnd := rand.New(rand.NewSource(seed))
		checkMatch(t, randomIdentities(rnd), randomIdentities(rnd))
	}
}

func FuzzMatch(f *testing.F) {
	f.Add(int64(1), "a", "u1", "r1", "t1-x")
	f.Add(int64(7), "", "", "", "-")
	f.Fuzz(func(t *testing.T, seed int64, name, url, rules, tenant string) {
		rnd := rand.New(rand.NewSource(seed))
		saved, current := randomIdentities(rnd), randomIdentities(rnd)
		given := Identity{Name: name, URLHash: url, RulesHash: rules, TenantHash: tenant}
		checkMatch(t, append(saved, given), append(current, given))
		checkMatch(t, saved, append(current, given))
	})
}
