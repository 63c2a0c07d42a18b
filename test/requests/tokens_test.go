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
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// tokenServer answers with what grant makes of a request. What it is asked is
// not compared: the libraries of either client ask in the same way, and when
// they do depends on the time.
func tokenServer(t testing.TB, grant func(q *http.Request, form url.Values) (token string)) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		text, _ := io.ReadAll(q.Body)
		form, _ := url.ParseQuery(string(text))
		token := grant(q, form)
		if token == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"access_token": token, "token_type": "Bearer", "expires_in": 3600, "resource": "r",
			"expires_on": strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10),
		})
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// tokens are the ways where credentials are made for each request, or come from
// a server.
func tokens() []way {
	// bySecret grants a token that names the secret it was asked with.
	bySecret := func(q *http.Request, _ url.Values) string {
		user, secret, _ := q.BasicAuth()
		if user != "me" {
			return ""
		}
		return "granted-for-" + strings.ReplaceAll(secret, "+", "-")
	}
	oauth := func(name, text string) way {
		return way{name, func(t *testing.T) place {
			return plain(name, strings.ReplaceAll(text, "TOKENS", tokenServer(t, bySecret))).start(t)
		}}
	}
	return []way{
		oauth("oauth2", "{url: URL, oauth2: {client_id: me, client_secret: s, token_url: TOKENS, scopes: [write], endpoint_params: {a: b}}}"),
		oauth("oauth2, secret in a file", "{url: URL, oauth2: {client_id: me, client_secret_file: FILE, token_url: TOKENS}, http_headers: {X-A: {values: [a]}}}"),
		{"oauth2, jwt bearer", bearer},
		{"azure ad, managed identity", azure},
		{"google iam, service account", google},
		{"sigv4", sigv4},
	}
}

// bearer asks for tokens with an assertion that a key in a file has signed. The
// token names the key.
func bearer(t *testing.T) place {
	first, second := newKey(t), newKey(t)
	server := tokenServer(t, func(_ *http.Request, form url.Values) string {
		for name, key := range map[string]*rsa.PrivateKey{"first": first, "second": second} {
			if signedBy(form.Get("assertion"), &key.PublicKey) {
				return "granted-for-the-" + name + "-key"
			}
		}
		return ""
	})
	name := file(t, "key")
	p := plain("bearer", "{url: URL, oauth2: {client_id: me, grant_type: \"urn:ietf:params:oauth:grant-type:jwt-bearer\", client_certificate_key_file: "+name+", client_certificate_key_id: k, audience: a, token_url: "+server+"}}").start(t)
	p.files[name] = pkcs8(t, first)
	p.rotated = map[string]string{name: pkcs8(t, second)}
	return p
}

// signedBy reports whether an assertion, a JSON web token, has the signature of
// a key.
func signedBy(assertion string, key *rsa.PublicKey) bool {
	content, signature, ok := cutLast(assertion, ".")
	if !ok {
		return false
	}
	sum := sha256.Sum256([]byte(content))
	binary, err := base64.RawURLEncoding.DecodeString(signature)
	return err == nil && rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], binary) == nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func newKey(t testing.TB) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return key
}

func pkcs8(t testing.TB, key *rsa.PrivateKey) string {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return block("PRIVATE KEY", der)
}

// azure asks for tokens as in an App Service, the one form of identity whose
// server the environment can name.
func azure(t *testing.T) place {
	server := tokenServer(t, func(q *http.Request, _ url.Values) string {
		if q.Header.Get("X-Identity-Header") != "proof" {
			return ""
		}
		return "granted-for-" + q.URL.Query().Get("client_id")
	})
	t.Setenv("IDENTITY_ENDPOINT", server)
	t.Setenv("IDENTITY_HEADER", "proof")
	return plain("azure", "{url: URL, azuread: {cloud: AzurePublic, managed_identity: {client_id: 00000000-0000-0000-0000-00000000000a}}, headers: {X-A: a}, http_headers: {X-Key: {files: [FILE]}}}").start(t)
}

func google(t *testing.T) place {
	key := newKey(t)
	server := tokenServer(t, func(_ *http.Request, form url.Values) string {
		if !signedBy(form.Get("assertion"), &key.PublicKey) {
			return ""
		}
		return "granted-for-an-assertion"
	})
	account, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "p", "private_key_id": "k", "private_key": pkcs8(t, key),
		"client_email": "me@p.iam.gserviceaccount.com", "client_id": "1", "token_uri": server,
	})
	require.NoError(t, err)
	name := file(t, "account")
	p := plain("google", "{url: URL, google_iam: {credentials_file: "+name+"}, headers: {X-A: a}, http_headers: {X-Key: {files: [FILE]}}}").start(t)
	p.files[name] = string(account)
	return p
}
