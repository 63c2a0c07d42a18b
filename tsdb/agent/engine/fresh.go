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

package engine

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/ackwal/ackwal/storage/remote/delivery"
)

// FreshFirst are the endpoints that are sent new samples before a backlog, by
// the name they have in metrics, with the share of senders that the backlog may
// take. It is the value of a flag that may be given several times, as
// name or name=share; what follows the last equals sign is the share.
type FreshFirst map[string]float64

// Set adds an endpoint. It implements kingpin.Value.
func (f *FreshFirst) Set(text string) error {
	name, share := text, delivery.DefaultFreshShare
	if i := strings.LastIndexByte(text, '='); i >= 0 {
		var err error
		if share, err = strconv.ParseFloat(text[i+1:], 64); err != nil {
			return fmt.Errorf("share %q of remote write endpoint %q is not a number", text[i+1:], text[:i])
		}
		name = text[:i]
	}
	if name == "" {
		return fmt.Errorf("%q names no remote write endpoint", text)
	}
	if !(share > 0 && share < 1) {
		return fmt.Errorf("share %v of remote write endpoint %q is not between 0 and 1", share, name)
	}
	if _, twice := (*f)[name]; twice {
		return fmt.Errorf("remote write endpoint %q is named twice", name)
	}
	if *f == nil {
		*f = FreshFirst{}
	}
	(*f)[name] = share
	return nil
}

// String lists the endpoints. It implements kingpin.Value.
func (f *FreshFirst) String() string {
	if f == nil {
		return ""
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(*f)) {
		all = append(all, name+"="+strconv.FormatFloat((*f)[name], 'g', -1, 64))
	}
	return strings.Join(all, ",")
}

// IsCumulative says that the flag may be repeated, as kingpin asks.
func (*FreshFirst) IsCumulative() bool { return true }
