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
	"sync"
)

// Close stops delivery: endpoints that have kept up are sent what was committed
// last, what is under way may finish, all within a few seconds, and positions
// are written. What is not delivered is in the log and will be after the next
// start. Close the log's writer first.
func (s *Storage) Close() error {
	s.beginClose()
	s.mtx.Lock()
	defer s.mtx.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	errs := []error{}
	if s.src != nil {
		errs = append(errs, s.stop())
	}
	s.metrics.set.unregister()
	s.watcher.set.unregister()
	errs = append(errs, s.reads.Close())
	if s.src != nil && s.src.Release != nil {
		errs = append(errs, s.src.Release())
	}
	return errors.Join(errs...)
}

// stop ends everything that works on the log. Callers hold mtx.
func (s *Storage) stop() error {
	budget := stopBudget
	if s.flush > 0 {
		budget = min(budget, s.flush)
	}
	ctx, cancel := context.WithTimeout(context.Background(), budget)
	defer cancel()
	// What was committed last may still be sent, in two thirds of the time;
	// the rest is for what is under way then.
	drain, cancelDrain := context.WithTimeout(ctx, budget*2/3)
	defer cancelDrain()
	s.catchUp(drain)
	s.dispatcher.setDelay(nil)
	var drained sync.WaitGroup
	for _, e := range s.running {
		e.stopMetadata()
		e.beginStop()
		drained.Go(func() { e.drain(drain) })
	}
	drained.Wait()
	states := make([]*endpointState, 0, len(s.running)+len(s.retained))
	for _, e := range s.running {
		states = append(states, e.finishStop(ctx)) // The next run counts what it had in memory only.
	}
	states = append(states, s.retained...)
	s.cancel()
	s.wg.Wait()
	s.dispatcher.close()
	s.setLists(nil, states)
	return s.saveStates(func() []*endpointState { return states }, true, true)
}
