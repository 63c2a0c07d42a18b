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

package e2e

import (
	"maps"
	"net/http"
	"testing"

	"github.com/ackwal/ackwal/test/e2e/harness"
)

// poisoned reports whether a point is of the few series that an endpoint does not
// take.
func poisoned(s *harness.Scenario) func(harness.Point) bool {
	return func(p harness.Point) bool {
		i := s.Symbols.Labels(p.Series).Get("index")
		return i == "3" || i == "17" || i == "18"
	}
}

// TestPoison defends that no series stops the others: each endpoint does not take
// three of them, in a way of its own, before and after a graceful stop, a kill and a
// reload. All others are complete while that lasts, and nothing of them is sent again
// without a kill. When the endpoint takes everything, nothing is missing; what it
// refused for good is counted.
func TestPoison(t *testing.T) {
	ways := map[string]harness.Fate{
		"400":   {Ending: harness.Say, Status: http.StatusBadRequest},
		"429":   {Ending: harness.Say, Status: http.StatusTooManyRequests, RetryAfter: "3600"},
		"500":   {Ending: harness.Say, Status: http.StatusInternalServerError},
		"reset": {Ending: harness.Reset},
		"hang":  {Ending: harness.Hang},
	}
	forProtocols(t, func(t *testing.T, protocol harness.Protocol) {
		for name, fate := range ways {
			t.Run(name, func(t *testing.T) {
				s := harness.New(t, harness.Options{
					Protocol: protocol,
					Extra:    map[string]any{"remote_timeout": "1s"},
				})
				bad := poisoned(s)
				s.Main().Use(func(r *harness.Request) harness.Fate {
					answer := harness.Fate{Forward: true}
					r.Points(func(p harness.Point, _ harness.Value) {
						if bad(p) {
							answer = fate
						}
					})
					return answer
				})
				complete := func(when string) {
					due := s.AllCommitted()
					maps.DeleteFunc(due, func(p harness.Point, _ harness.Value) bool { return bad(p) })
					s.Until("all others are complete "+when, func() bool {
						missing, _ := s.Main().Missing(due)
						return missing == 0
					})
				}
				s.Start()
				s.WaitScrapes(10)
				complete("from the start")
				s.Terminate()
				s.Start()
				s.WaitScrapes(5)
				complete("after a graceful stop")
				s.RequireNoResends(s.Main())
				s.Kill()
				s.Start()
				s.WaitScrapes(5)
				complete("after a kill")

				s.Main().Use(harness.Pass())
				v := s.Deliver(s.Main(), 0)
				s.Report(v)
				if fate.Status != http.StatusBadRequest {
					s.RequireIntact(s.Main(), v)
				}
			})
		}
	})
}
