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

package client

import (
	"net/url"

	"github.com/grafana/regexp"
)

// userInfo matches what may stand between // and @ in a URL. The character set
// is wider than that of valid URLs, because invalid ones are quoted in errors.
var userInfo = regexp.MustCompile(`//[^/?#\s"]*@`)

func withoutUser(u *url.URL) string {
	bare := *u
	bare.User = nil
	return bare.String()
}

// hiddenUser is an error whose text shows no user info of URLs, wherever in the
// chain they were mentioned: net/http hides passwords but not user names, and
// only in its own errors.
type hiddenUser struct{ error }

func (h hiddenUser) Error() string { return userInfo.ReplaceAllString(h.error.Error(), "//") }
func (h hiddenUser) Unwrap() error { return h.error }

func hideUser(err error) error { return hiddenUser{err} }
