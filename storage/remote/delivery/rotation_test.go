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

package delivery

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/config"
)

// withToken is an endpoint without a name whose URL has a secret in it.
func withToken(token string) *config.RemoteWriteConfig {
	c := remoteWrite("a")
	c.Name = ""
	c.URL.RawQuery = "tenant=t&token=" + token
	return c
}

// TestTokenInURL defends I2: an endpoint keeps its position when a token in its URL
// is rotated, by a reload and over a restart, in the middle of an outage.
func TestTokenInURL(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	rc := newReceiver()
	rc.set(unavailable)
	r := newRig(t, j, map[string]*receiver{"a": rc}, Options{})
	r.attach(withToken("first"))
	r.commit(100)
	r.apply(withToken("second"))
	r.commit(100)
	require.NoError(t, r.Close())

	r = newRig(t, j, map[string]*receiver{"a": rc}, Options{})
	r.attach(withToken("third"))
	r.commit(100)
	rc.set(nil)
	r.complete("a", j.count)
	r.end()
}

// TestTokenInOlderSavepoint: the same for a position that was saved when the
// token was a part of the endpoint's identity.
func TestTokenInOlderSavepoint(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	rc := newReceiver()
	rc.set(unavailable)
	r := newRig(t, j, map[string]*receiver{"a": rc}, Options{})
	require.NoError(t, r.Attach(r.journal.source()))
	conf := r.confWith(withToken("first"))
	sets, _, err := r.prepare(conf)
	require.NoError(t, err)
	require.NotEqual(t, sets[0].identity, sets[0].former)
	sets[0].identity = sets[0].former
	r.mtx.Lock()
	err = r.Storage.apply(sets, func() error { return nil })
	r.mtx.Unlock()
	require.NoError(t, err)
	r.commit(100)
	require.NoError(t, r.Close())

	r = newRig(t, j, map[string]*receiver{"a": rc}, Options{})
	r.attach(withToken("first"))
	rc.set(nil)
	r.complete("a", j.count)
	r.end()
}
