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

import "time"

// This file has what becomes of an endpoint that was removed from the configuration and does
// not come back while it is retained.

// expire lets go of endpoints that were removed from the configuration longer than
// the grace time ago.
//
// A caller with mtx may be waiting for the savepoint writer to end; there is a next time.
func (s *Storage) expire(now time.Time) {
	if !s.mtx.TryLock() {
		return
	}
	defer s.mtx.Unlock()
	var kept, expired []*endpointState
	for _, st := range s.retained {
		if st.removed != nil && !s.opts.LeaveOthers && now.Sub(*st.removed) >= s.opts.RemovedRetention {
			expired = append(expired, st)
		} else {
			kept = append(kept, st)
		}
	}
	if len(expired) == 0 {
		return
	}
	s.forfeitRemoved(expired)
	s.setLists(s.running, kept)
	for _, st := range expired {
		s.logger.Warn("An endpoint that was removed from the configuration does not hold the log any longer; what it had not acknowledged is not sent",
			"remote_name", st.name, "position", st.floor().String(), "removed", st.removed.String())
	}
	if err := s.save(true); err != nil {
		s.logger.Error("Cannot write the savepoint without endpoints whose grace time is over; they hold their part of the log until it can be written", "err", err)
	}
}

// forfeitRemoved counts what endpoints lose that were removed from the configuration too long
// ago, before the log goes. Callers hold mtx.
func (s *Storage) forfeitRemoved(states []*endpointState) {
	var all []*forfeit
	for _, st := range states {
		_, ranges := st.forfeitBefore(st.owedTo(s.src.Head()))
		for _, r := range ranges {
			all = append(all, newForfeit(st.name, r, &counted{parts: st.counted}))
		}
	}
	soon, cancel := s.countingTime()
	defer cancel()
	s.countForfeits(soon, all, s.src.beyond)
	for _, f := range all {
		if f.items.Total() > 0 {
			s.reportForfeited(f, ReasonRemoved, s.src.bytes(f.from, f.to))
		}
	}
}
