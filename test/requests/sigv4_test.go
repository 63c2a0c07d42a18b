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

package requests

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const secretKey = "fixed key"

func sigv4(t *testing.T) place {
	p := plain("sigv4", "{url: \"http://ADDRESS/api//v1/write?b=2&a=1\", sigv4: {region: eu-west-1, access_key: id, secret_key: "+secretKey+"}, headers: {X-Scope-OrgID: t1}, http_headers: {X-Key: {files: [FILE]}}}").start(t)
	p.normal = signed
	return p
}

// signed verifies a request's signature, and takes it and the time it depends
// on out.
func signed(t testing.TB, q request) request {
	values := map[string]string{}
	head := slices.Clone(q.head)
	for i, line := range head[1:] {
		name, value, _ := strings.Cut(line, ": ")
		name = strings.ToLower(name)
		require.NotContains(t, values, name, "twice")
		values[name] = value
		switch name {
		case "authorization":
			before, _, _ := strings.Cut(value, "Signature=")
			head[i+1] = "Authorization: " + strings.ReplaceAll(before, values["x-amz-date"], "")
		case "x-amz-date":
			head[i+1] = "X-Amz-Date: "
		}
	}
	require.Equal(t, signature(q, values), values["authorization"])
	// Its scope has the day.
	for i, line := range head {
		head[i] = strings.ReplaceAll(line, values["x-amz-date"][:8], "today")
	}
	q.head = head
	return q
}

// signature computes the Authorization header as AWS describes Signature
// Version 4.
func signature(q request, values map[string]string) string {
	rest, _ := strings.CutPrefix(values["authorization"], "AWS4-HMAC-SHA256 ")
	parts := map[string]string{}
	for part := range strings.SplitSeq(rest, ", ") {
		name, value, _ := strings.Cut(part, "=")
		parts[name] = value
	}
	_, scope, _ := strings.Cut(parts["Credential"], "/")
	names := strings.Split(parts["SignedHeaders"], ";")

	target, err := url.ParseRequestURI(strings.Fields(q.head[0])[1])
	if err != nil {
		return err.Error()
	}
	lines := []string{"POST", target.EscapedPath(), target.Query().Encode()}
	for _, name := range names {
		lines = append(lines, name+":"+values[name])
	}
	content := sha256.Sum256([]byte(q.raw))
	lines = append(lines, "", parts["SignedHeaders"], hex.EncodeToString(content[:]))
	canonical := sha256.Sum256([]byte(strings.Join(lines, "\n")))

	key := []byte("AWS4" + secretKey)
	for part := range strings.SplitSeq(scope, "/") {
		key = keyed(key, part)
	}
	text := strings.Join([]string{"AWS4-HMAC-SHA256", values["x-amz-date"], scope, hex.EncodeToString(canonical[:])}, "\n")
	return "AWS4-HMAC-SHA256 Credential=" + parts["Credential"] + ", SignedHeaders=" + parts["SignedHeaders"] +
		", Signature=" + hex.EncodeToString(keyed(key, text))
}

func keyed(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}
