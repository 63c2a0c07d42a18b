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
	"encoding/base64"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"

	commonconfig "github.com/prometheus/common/config"
)

const (
	// minSecret is the shortest value that is looked for, in bytes. Shorter ones
	// be in any text.
	minSecret = 4
	hidden    = "<hidden>"
)

// tenantHeaders name the tenant. That is no secret, and errors should show it.
var tenantHeaders = []string{"X-Scope-Orgid", "Thanos-Tenant"}

// shown are other headers of requests whose values are no secrets.
var shown = []string{
	"Accept-Encoding", "Content-Encoding", "Content-Length", "Content-Type", "Retry-Attempt", "User-Agent",
	"X-Prometheus-Remote-Write-Version", "Traceparent", "Tracestate",
}

// secretsOf lists the secrets that are written in a configuration itself, and
// the values of the headers that are part of it. What is in files is found in
// the headers of requests, see [sentSecrets].
func secretsOf(cfg any, headers map[string]string) []string {
	found := collect(reflect.ValueOf(cfg), nil)
	for name, value := range headers {
		if !slices.Contains(tenantHeaders, http.CanonicalHeaderKey(name)) {
			found = append(found, value)
		}
	}
	return found
}

// collect appends whatever is typed as a secret, and the passwords of URLs. It
// looks at types so that it knows of fields that later versions add.
func collect(v reflect.Value, found []string) []string {
	switch v.Kind() {
	case reflect.String:
		if v.Type() == reflect.TypeFor[commonconfig.Secret]() {
			found = append(found, v.String())
		}
	case reflect.Pointer:
		if user, ok := reflect.TypeAssert[*url.Userinfo](v); ok {
			password, _ := user.Password()
			return append(found, password, base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
		}
		return collect(v.Elem(), found)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				found = collect(v.Field(i), found)
			}
		}
	case reflect.Map:
		for _, value := range v.Seq2() {
			found = collect(value, found)
		}
	case reflect.Slice:
		for i := range v.Len() {
			found = collect(v.Index(i), found)
		}
	}
	return found
}

// sentSecrets lists the values of a request's headers and the credentials in
// them: some receivers answer with all they were sent.
func sentSecrets(request *http.Request) []string {
	found := []string{}
	if request == nil {
		return found
	}
	for name, values := range request.Header {
		if slices.Contains(shown, name) || slices.Contains(tenantHeaders, name) {
			continue
		}
		for _, value := range values {
			found = append(found, value)
			scheme, rest, ok := strings.Cut(value, " ")
			if !ok {
				continue
			}
			found = append(found, rest)
			if plain, err := base64.StdEncoding.DecodeString(rest); err == nil && strings.EqualFold(scheme, "Basic") {
				_, password, _ := strings.Cut(string(plain), ":")
				found = append(found, string(plain), password)
			}
		}
	}
	return found
}

// mask replaces the secrets in a text.
func mask(text string, secrets []string) string {
	// The longest first: one may be a part of another.
	secrets = slices.Clone(secrets)
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	for _, secret := range secrets {
		if len(secret) >= minSecret {
			text = strings.ReplaceAll(text, secret, hidden)
		}
	}
	return text
}
