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
	"testing"

	"github.com/stretchr/testify/require"
)

// Nothing of a URL is shown that may be a secret, whatever it is called.
func TestShownURL(t *testing.T) {
	for in, want := range map[string]string{
		"http://h/x":                       "http://h/x",
		"http://u:p@h/x?a=b":               "http://h/x?a=xxxxx",
		"http://token@h":                   "http://h",
		"http://h/x?code=1&jwt=2&bearer=3": "http://h/x?code=xxxxx&jwt=xxxxx&bearer=xxxxx",
		"http://h/x?session=a%26b;pw=c":    "http://h/x?session=xxxxx",
		"http://h/x?secret#fragment":       "http://h/x?xxxxx",
		"http://h/x?a=&&b=c=d#f":           "http://h/x?a=xxxxx&&b=xxxxx",
	} {
		u, err := url.Parse(in)
		require.NoError(t, err)
		require.Equal(t, want, ShownURL(u))
		require.Equal(t, in, u.String())
	}
}
