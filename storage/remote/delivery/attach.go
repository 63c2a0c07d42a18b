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
	"context"
	"errors"

	"github.com/prometheus/prometheus/tsdb/chunks"
)

// Attach gives the storage its log. Call it once, after the log has been made
// whole and its series are in the table, and before the first append. Delivery
// begins when a configuration has been applied too.
//
// It is an error if the savepoint is of a later version than this release reads.
func (s *Storage) Attach(src Source) error {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	switch {
	case s.closed:
		return errors.New("remote write is closed")
	case s.src != nil:
		return errors.New("a log is attached already")
	}
	retained, others, err := s.loadStates(&src)
	if err != nil {
		return err
	}
	src.Table.OnRemove(func(refs []chunks.HeadSeriesRef) { s.rules.forget(refs) })

	reader := newLogReader(s.logger, &src, s.damaged)
	s.saveMtx.Lock()
	s.src = &src
	s.saveMtx.Unlock()
	if s.firstAfter {
		s.tellOld(others)
	}
	s.tellPassed(retained)
	s.listMtx.Lock()
	s.dispatcher = newDispatcher(reader, s.pointAt(src.WALDir, src.Head()))
	s.retained = retained
	s.wake = s.dispatcher.notify
	s.listMtx.Unlock()

	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.followLog(ctx)
	s.wg.Go(func() { s.writeSavepoints(ctx) })

	if s.conf == nil {
		return nil
	}
	// The configuration came before the log; it has been found valid then.
	sets, _, err := s.prepare(s.conf)
	if err != nil {
		return err
	}
	s.conf = nil
	return s.apply(sets, func() error { return nil })
}
