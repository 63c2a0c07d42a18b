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

package main

import "fmt"

// problems are the reasons why the figures of a run do not say what they are
// supposed to.
func problems(c course, res result) (all []string) {
	found := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	rate := float64(c.Series) / c.Interval.Seconds()
	s := res.Steady
	// Scrapes are spread over the interval, so that any window has its share.
	if want := rate * s.Seconds; float64(s.Scraped) < 0.95*want || float64(s.Scraped) > 1.05*want {
		found("%d samples were scraped in the window, not about %.0f", s.Scraped, want)
	}
	if s.Failed > 0 {
		found("the agent broke off %d scrapes in the window", s.Failed)
	}
	if s.Refused+s.Unwanted > 0 {
		found("%d requests were refused in the window", s.Refused+s.Unwanted)
	}
	if limit := rate * settleWithin(c).Seconds(); float64(s.Behind) > limit {
		found("an endpoint was behind by %d samples in the window, of which %.0f can be under way", s.Behind, limit)
	}
	for i, n := range res.Missing {
		switch {
		case n > 0 && (c.Outage == 0 || res.Sender == ours):
			found("%d of %d samples did not arrive at endpoint %d", n, res.Scraped, i)
		case n < 0 && c.Outage == 0:
			found("%d samples more than were scraped arrived at endpoint %d", -n, i)
		}
	}
	if c.Outage == 0 {
		return all
	}
	// Stock's engine may have nothing to send so soon after the restart.
	if res.Outage.Refused == 0 || res.Killed.Refused == 0 {
		found("nothing was refused in an outage")
	}
	return all
}
