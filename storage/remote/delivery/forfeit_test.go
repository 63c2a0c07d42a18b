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
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/gate"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"

	"github.com/prometheus/prometheus/config"
)

// holderOf returns what Holders says of an endpoint.
func (r *rig) holderOf(id string) Holder {
	r.t.Helper()
	all := r.Holders()
	i := slices.IndexFunc(all, func(h Holder) bool { return h.ID == id })
	require.GreaterOrEqual(r.t, i, 0, id)
	return all[i]
}

// TestForfeitedIsNotHeld: of what a limit took, an endpoint keeps nothing of the log, also
// as long as it has older samples in memory, which is all of an outage. It counts as stuck
// for as long as it has acknowledged nothing all the same.
func TestForfeitedIsNotHeld(t *testing.T) {
	_, _, r := newBlockedRig(t)
	e := r.running[0]
	r.holderOf(e.id)
	since := func() time.Time {
		e.standstill.mtx.Lock()
		defer e.standstill.mtx.Unlock()
		return e.standstill.since
	}
	began := since()
	unacked := e.observe()
	require.NoError(t, r.Forfeit(t.Context(), cursor.Position{Segment: 4}, ReasonMaxSize, e.id))
	require.NoError(t, r.Persist(t.Context()))
	require.Zero(t, e.floor().Segment, "the rest is in memory")
	for _, h := range r.journal.gate.Holders() {
		require.Equal(t, h.Position, r.holderOf(h.ID).Position, h.Name)
	}
	require.Equal(t, cursor.Position{Segment: 4}, r.holderOf(e.id).Position)
	require.Less(t, e.observe(), unacked)
	require.Equal(t, began, since())
	r.end()
}

// TestRemovedOfOneURL: two tenants behind one URL, without names, are two endpoints when
// they are removed and after a restart too, under the labels they had. A limit takes from
// the one that it is about, and from no other (I1).
func TestRemovedOfOneURL(t *testing.T) {
	j, rc := openJournal(t, t.TempDir(), nil), newReceiver()
	rc.set(unavailable)
	opts := Options{newClient: func(client.Config) (storer, error) { return rc, nil }}
	var both []*config.RemoteWriteConfig
	for _, tenant := range []string{"1", "2"} {
		c := remoteWrite("a")
		c.Name, c.Headers = "", map[string]string{"X-Scope-OrgID": tenant}
		both = append(both, c)
	}
	r := newRig(t, j, nil, opts)
	r.attach(both...)
	labels := map[string]string{}
	for _, e := range r.running {
		labels[e.id] = e.settings.Load().name
	}
	require.Len(t, labels, 2)
	for range 3 {
		r.commit(100)
		j.cut()
	}
	r.apply()
	r.end()

	j = j.again()
	r = newRig(t, j, nil, opts)
	r.attach()
	require.NoError(t, r.Persist(t.Context()))
	require.Len(t, r.Holders(), 2)
	for id, label := range labels {
		require.Equal(t, label, r.holderOf(id).Name)
	}
	all := r.journal.gate.Holders()
	require.Len(t, all, 2)
	require.NoError(t, r.Forfeit(t.Context(), cursor.Position{Segment: 2}, ReasonMaxSize, all[0].ID))
	require.NoError(t, r.Persist(t.Context()))
	require.Equal(t, gate.Floor{State: gate.Held, Position: all[1].Position, By: []string{labels[all[1].ID]}}, r.Floor())
	require.Equal(t, 2, r.holderOf(all[0].ID).Position.Segment)
	require.Equal(t, 200.0, r.expired(map[string]string{"remote_name": labels[all[0].ID]}))
	require.Zero(t, r.expired(map[string]string{"remote_name": labels[all[1].ID]}))
	r.end()
}

// TestHoldersOfOneName: what metrics are made of has no two of the same labels, whatever the
// endpoints of older savepoints are called.
func TestHoldersOfOneName(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	r := newRig(t, j, nil, Options{})
	r.attach()
	now := time.Now()
	var states []*endpointState
	for _, id := range []string{"1", "2", "1"} {
		st := stateAt(id, savepoint.Identity{}, "a", cursor.Point{}, cursor.Position{})
		st.removed = &now
		states = append(states, st)
	}
	r.setLists(nil, states)
	require.Equal(t, "a", r.holderOf("1").Name)
	require.Equal(t, "a (2)", r.holderOf("2").Name)
	require.Len(t, r.Holders(), 2)
	r.setLists(nil, nil)
	r.end()
}
