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
	"strings"

	"github.com/grafana/regexp"
)

const (
	// maxError is the longest text of an error, in bytes. Parts of it come from
	// the receiver, and it ends up in logs.
	maxError = 4096
	// maxSearched is how much of a longer text is searched for secrets, so that
	// one which begins before maxError is found whole.
	maxSearched = 16 * maxError
)

var (
	// userInfo matches what may be between // and @ in a URL. The character
	// set is wider than that of valid URLs, because invalid ones are quoted in
	// errors.
	userInfo = regexp.MustCompile(`//[^/?#\s"]*@`)
	// parameter matches those of queries in texts, and fragment what follows them.
	parameter = regexp.MustCompile(`([?&][^=&#\s"]+=)[^&#\s"]*`)
	fragment  = regexp.MustCompile(`(//[^#\s"]*)#[^\s"]*`)
	// secretParameter matches parameters of queries whose names say that their
	// values are secrets. InfluxDB takes a password as "p".
	secretParameter = regexp.MustCompile(`(?i)([?&;](?:p|[^=&#\s"]*(?:pass|pwd|token|secret|key|sig|auth|cred)[^=&#\s"]*)=)[^&#\s"]*`)
)

// Redacted returns the URL as the labels of metrics have it: the password and the
// values of parameters that look like secrets are replaced. It equals what
// stock shows of URLs without such parameters. For all else there is identity.ShownURL.
func Redacted(u *url.URL) string {
	return secretParameter.ReplaceAllString(u.Redacted(), "${1}xxxxx")
}

// hideURLs hides what may be secret of URLs in a text.
func hideURLs(text string) string {
	text = fragment.ReplaceAllString(userInfo.ReplaceAllString(text, "//"), "${1}")
	return parameter.ReplaceAllString(text, "${1}xxxxx")
}

// safeError is an error whose text shows no secrets, wherever in the chain they
// were mentioned, and is of bounded length: net/http hides passwords but not
// user names, only in its own errors, and quotes all of a status line.
type safeError struct {
	error
	secrets []string // Besides those of URLs.
}

func (e safeError) Error() string {
	text := e.error.Error()
	text = mask(text[:min(len(text), maxSearched)], e.secrets)
	return clip(hideURLs(text), maxError)
}

func (e safeError) Unwrap() error { return e.error }

func safe(err error, secrets []string) error { return safeError{err, secrets} }

// clip shortens a text that is not ours and makes it valid UTF-8.
func clip(text string, most int) string {
	if len(text) > most {
		text = text[:most] + "…"
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
