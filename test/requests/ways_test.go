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
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// plain is a way with a receiver without TLS; text gets its URL and the name of
// a file whose content is first old and then new.
func plain(name, text string) way {
	return way{name, func(t *testing.T) place {
		r := listen(t, nil)
		secret := file(t, "secret")
		p := place{
			text:      strings.NewReplacer("URL", "http://"+r.addr+"/api/v1/write", "ADDRESS", r.addr, "FILE", secret).Replace(text),
			files:     map[string]string{secret: "old secret\n"},
			receivers: []*receiver{r},
		}
		if strings.Contains(text, "FILE") {
			p.rotated = map[string]string{secret: "new secret\n"}
		}
		return p
	}}
}

func ways() []way {
	all := []way{
		plain("nothing but the url", "url: URL"),
		plain("remote write 2.0", "{url: URL, protobuf_message: io.prometheus.write.v2.Request}"),
		plain("parameters in the url", "url: http://ADDRESS/push%2Fx?tenant=a&token=b&token=c"),
		plain("user in the url", "url: http://us%3Aer:p%40ss@ADDRESS/push"),
		plain("basic auth", "{url: URL, basic_auth: {username: u, password: p}}"),
		plain("password file", "{url: URL, basic_auth: {username: u, password_file: FILE}}"),
		plain("username file", "{url: URL, basic_auth: {username_file: FILE, password: p}}"),
		plain("authorization", "{url: URL, authorization: {type: Token, credentials: c}}"),
		plain("credentials file", "{url: URL, authorization: {credentials_file: FILE}}"),
		plain("bearer token", "{url: URL, bearer_token: b}"),
		plain("bearer token file", "{url: URL, bearer_token_file: FILE}"),
		plain("http_headers: values", "{url: URL, http_headers: {X-Scope-OrgID: {values: [t1]}, X-Two: {values: [a, b]}}}"),
		plain("http_headers: secrets", "{url: URL, http_headers: {X-Key: {secrets: [k, l]}}}"),
		plain("http_headers: files", "{url: URL, http_headers: {X-Key: {files: [FILE]}}}"),
		plain("headers", "{url: URL, headers: {x-scope-orgid: t1, X-Empty: \"\"}}"),
		plain("all headers at once", "{url: URL, headers: {X-A: a}, http_headers: {X-A: {values: [b]}, X-B: {secrets: [s], files: [FILE]}}, basic_auth: {username: u, password_file: FILE}}"),
		{"round_robin_dns", func(t *testing.T) place {
			p := plain("round_robin_dns", "{url: URL, round_robin_dns: true}").start(t)
			p.unsafe = true // Its dialer shares a source of random numbers.
			return p
		}},
		plain("http proxy", "{url: http://receiver.invalid/push, proxy_url: http://me:secret@ADDRESS, authorization: {credentials_file: FILE}}"),
		plain("no redirects, HTTP/1", "{url: URL, follow_redirects: false, enable_http2: false, http_headers: {X-A: {files: [FILE]}}}"),
	}
	all = append(all, redirects()...)
	all = append(all, secured()...)
	return append(all, tokens()...)
}

func redirects() []way {
	const text = "{url: http://ADDRESS/old, headers: {X-A: a}, http_headers: {X-Key: {files: [FILE]}}, basic_auth: {username: u, password_file: FILE}}"
	to := func(name string, where func(t *testing.T, from *receiver) (location string, also []*receiver)) way {
		return way{name, func(t *testing.T) place {
			p := plain(name, text).start(t)
			from := p.receivers[0]
			p.text = strings.ReplaceAll(p.text, "ADDRESS", from.addr)
			location, also := where(t, from)
			from.answer = func(target string) string {
				if target == "/old" {
					return "HTTP/1.1 308 Permanent Redirect\r\nLocation: " + location + "\r\nContent-Length: 0\r\n\r\n"
				}
				return "HTTP/1.1 204 No Content\r\n\r\n"
			}
			p.receivers = append(p.receivers, also...)
			return p
		}}
	}
	return []way{
		to("redirect to a path", func(*testing.T, *receiver) (string, []*receiver) { return "/new", nil }),
		to("redirect to the same host", func(_ *testing.T, from *receiver) (string, []*receiver) {
			return "http://" + from.addr + "/new", nil
		}),
		to("redirect to another host", func(t *testing.T, _ *receiver) (string, []*receiver) {
			r := listen(t, nil)
			_, port, err := net.SplitHostPort(r.addr)
			require.NoError(t, err)
			return "http://localhost:" + port + "/new", []*receiver{r}
		}),
	}
}

// secured are the ways with TLS.
func secured() []way {
	with := func(name string, mutual bool, text string, start func(t *testing.T, a *authority, p *place) *receiver) way {
		return way{name, func(t *testing.T) place {
			a := newAuthority(t)
			ca, cert, key := file(t, "ca"), file(t, "cert"), file(t, "key")
			p := place{files: map[string]string{ca: a.pem}}
			r := start(t, a, &p)
			p.receivers = append(p.receivers, r)
			if mutual {
				p.files[cert], p.files[key] = a.issue(t, "old client")
				p.rotated = map[string]string{}
				p.rotated[cert], p.rotated[key] = a.issue(t, "new client")
			}
			proxy := ""
			if len(p.receivers) > 1 {
				proxy = p.receivers[0].addr
			}
			p.text = strings.NewReplacer("URL", "https://"+r.addr+"/api/v1/write", "CA", ca, "CERT", cert, "KEY", key, "PROXY", proxy).Replace(text)
			return p
		}}
	}
	http1 := func(mutual bool) func(t *testing.T, a *authority, p *place) *receiver {
		return func(t *testing.T, a *authority, _ *place) *receiver { return listen(t, a.server(t, mutual)) }
	}
	http2 := func(t *testing.T, a *authority, _ *place) *receiver { return listen2(t, a.server(t, false)) }
	return []way{
		with("TLS", false, "{url: URL, tls_config: {ca_file: CA}}", http1(false)),
		with("TLS, not verified", false, "{url: URL, tls_config: {insecure_skip_verify: true}, http_headers: {X-A: {values: [a]}}}", http1(false)),
		with("client certificate", true, "{url: URL, tls_config: {ca_file: CA, cert_file: CERT, key_file: KEY}}", http1(true)),
		with("client certificate, user, header", true, "{url: URL, basic_auth: {username: u, password: p}, http_headers: {X-A: {values: [a]}}, tls_config: {ca_file: CA, cert_file: CERT, key_file: KEY}}", http1(true)),
		with("HTTP/2", false, "{url: URL, enable_http2: true, tls_config: {ca_file: CA}, http_headers: {X-A: {values: [a, b]}}, headers: {X-B: b}, basic_auth: {username: u, password: p}}", http2),
		with("tunnel through a proxy", false, "{url: URL, proxy_url: http://PROXY, proxy_connect_header: {X-Connect: [a, b]}, tls_config: {ca_file: CA}, headers: {X-B: b}}", func(t *testing.T, a *authority, p *place) *receiver {
			p.receivers = append(p.receivers, listen(t, nil))
			return listen(t, a.server(t, false))
		}),
	}
}
