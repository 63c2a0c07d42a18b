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
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery"
)

func TestFreshFirst(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want FreshFirst
		text string
		err  string
	}{
		"none":             {},
		"one":              {args: []string{"a"}, want: FreshFirst{"a": delivery.DefaultFreshShare}, text: "a=0.5"},
		"two":              {args: []string{"b=0.25", "a=1e-3"}, want: FreshFirst{"a": 0.001, "b": 0.25}, text: "a=0.001,b=0.25"},
		"a name with it":   {args: []string{"x=y=0.75"}, want: FreshFirst{"x=y": 0.75}, text: "x=y=0.75"},
		"no number":        {args: []string{"a=half"}, err: `share "half" of remote write endpoint "a" is not a number`},
		"an empty share":   {args: []string{"a="}, err: "is not a number"},
		"all":              {args: []string{"a=1"}, err: "is not between 0 and 1"},
		"nothing":          {args: []string{"a=0"}, err: "is not between 0 and 1"},
		"less":             {args: []string{"a=-0.5"}, err: "is not between 0 and 1"},
		"NaN":              {args: []string{"a=NaN"}, err: "is not between 0 and 1"},
		"no name":          {args: []string{""}, err: "names no"},
		"share, no name":   {args: []string{"=0.5"}, err: "names no"},
		"twice":            {args: []string{"a", "a=0.25"}, err: "named twice"},
		"a share for none": {args: []string{"a", "0.5"}, want: FreshFirst{"a": 0.5, "0.5": 0.5}, text: "0.5=0.5,a=0.5"},
	} {
		t.Run(name, func(t *testing.T) {
			var (
				flags Flags
				err   error
			)
			for _, arg := range tc.args {
				if err = flags.FreshFirst.Set(arg); err != nil {
					break
				}
			}
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, flags.FreshFirst)
			require.Equal(t, tc.text, flags.FreshFirst.String())
			require.True(t, flags.FreshFirst.IsCumulative())
			require.Equal(t, map[string]float64(tc.want), deliveryOptions(flags).FreshFirst)
		})
	}
}
