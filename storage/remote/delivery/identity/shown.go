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
)

// ShownURL returns a URL as people and logs may have it: of parameters only the names, since
// any value may be a secret, and neither who the user is nor a fragment. The labels of metrics
// are stock's instead.
func ShownURL(u *url.URL) string {
	shown := *u
	shown.User, shown.Fragment, shown.RawFragment = nil, "", ""
	parts := strings.Split(shown.RawQuery, "&")
	for i, part := range parts {
		if name, _, named := strings.Cut(part, "="); named {
			parts[i] = name + "=xxxxx"
		} else if part != "" {
			parts[i] = "xxxxx"
		}
	}
	shown.RawQuery = strings.Join(parts, "&")
	return shown.String()
}
