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
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/golang/snappy"
	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// request is what came over a connection.
type request struct {
	head []string // Its lines in their order, the request line first.
	raw  string   // The body as it came.
	body string   // What it decodes to.
}

// receiver takes requests from connections itself, so that nothing of a header
// is put in order or together. It answers 204, or what answer says.
type receiver struct {
	addr   string
	answer func(target string) string // The whole head of an answer; nil is 204.

	mtx sync.Mutex
	got []request
}

func (r *receiver) record(head []string, body []byte) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	r.got = append(r.got, request{head, string(body), decoded(head, body)})
}

// take returns what came since the last time.
func (r *receiver) take() []request {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	got := r.got
	r.got = nil
	return got
}

// decoded returns the content of a body in words.
func decoded(head []string, body []byte) string {
	plain, err := snappy.Decode(nil, body)
	if err != nil {
		return "not snappy: " + string(body)
	}
	var message interface {
		Unmarshal([]byte) error
		String() string
	} = &prompb.WriteRequest{}
	if strings.Contains(strings.Join(head, "\n"), "io.prometheus.write.v2.Request") {
		message = &writev2.Request{}
	}
	if err := message.Unmarshal(plain); err != nil {
		return "not a message: " + err.Error()
	}
	return message.String()
}

// listen runs a receiver, with TLS if there is a configuration for it.
func listen(t testing.TB, secure *tls.Config) *receiver {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &receiver{addr: l.Addr().String()}
	var (
		running sync.WaitGroup
		mtx     sync.Mutex
		conns   []net.Conn
	)
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mtx.Lock()
			conns = append(conns, conn)
			mtx.Unlock()
			running.Go(func() {
				defer conn.Close()
				if secure != nil {
					conn = tls.Server(conn, secure)
				}
				r.serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mtx.Lock()
		for _, conn := range conns {
			conn.Close()
		}
		mtx.Unlock()
		running.Wait()
	})
	return r
}

func (r *receiver) serve(conn net.Conn) {
	in := bufio.NewReader(conn)
	for {
		head, length, err := readHead(in)
		if err != nil {
			return
		}
		if secure, ok := conn.(*tls.Conn); ok {
			for _, peer := range secure.ConnectionState().PeerCertificates {
				head = append(head, "client certificate of "+peer.Subject.CommonName)
			}
		}
		body := make([]byte, length)
		if _, err := io.ReadFull(in, body); err != nil {
			return
		}
		r.record(head, body)
		method, rest, _ := strings.Cut(head[0], " ")
		target, _, _ := strings.Cut(rest, " ")
		if method == http.MethodConnect {
			tunnel(conn, in, target)
			return
		}
		answer := "HTTP/1.1 204 No Content\r\n\r\n"
		if r.answer != nil {
			answer = r.answer(target)
		}
		if _, err := io.WriteString(conn, answer); err != nil {
			return
		}
	}
}

// readHead reads the lines up to the empty one.
func readHead(in *bufio.Reader) (head []string, length int, err error) {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, 0, err
		}
		line = strings.TrimSuffix(line, "\r\n")
		if line == "" {
			return head, length, nil
		}
		if n, ok := strings.CutPrefix(line, "Content-Length: "); ok {
			if length, err = strconv.Atoi(n); err != nil {
				return nil, 0, err
			}
		}
		head = append(head, line)
	}
}

// tunnel does what a proxy does after CONNECT.
func tunnel(conn net.Conn, in io.Reader, target string) {
	to, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer to.Close()
	if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(conn, to)
		conn.Close()
	})
	_, _ = io.Copy(to, in)
	to.Close()
	back.Wait()
}

// listen2 runs a receiver that speaks HTTP/2, where headers have no order.
func listen2(t testing.TB, secure *tls.Config) *receiver {
	t.Helper()
	r := &receiver{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		head := []string{}
		for name, values := range q.Header {
			for _, value := range values {
				head = append(head, name+": "+value)
			}
		}
		slices.Sort(head)
		head = append([]string{fmt.Sprintf("%s %s %s host %s length %d", q.Method, q.RequestURI, q.Proto, q.Host, q.ContentLength)}, head...)
		r.record(head, body)
		w.WriteHeader(http.StatusNoContent)
	}))
	server.EnableHTTP2 = true
	server.TLS = secure
	server.StartTLS()
	t.Cleanup(server.Close)
	r.addr = server.Listener.Addr().String()
	return r
}
