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

package repair

import (
	"bytes"
	"testing"

	"github.com/golang/snappy"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/internal/frame"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/util/compression"
)

// A record whose header lost its compression flag, or which is but the first
// fragment of one, is not taken for a record: upstream would decode it.
func TestPlausible(t *testing.T) {
	var enc record.Encoder
	series := enc.Series([]record.RefSeries{
		{Ref: 1, Labels: labels.FromStrings("a", "b")},
		{Ref: 2, Labels: labels.FromStrings("a", "c")},
	}, nil)
	check := newChecker()
	good := map[string][]byte{
		"series":       series,
		"empty":        {},
		"unknown type": {200, 1, 2, 3},
	}
	for name, rec := range good {
		require.NoError(t, check.plausible(frame.Record{Data: rec}), name)
	}
	long := bytes.Repeat(series, 20)
	zstd, err := compression.Encode(compression.Zstd, long, compression.NewSyncEncodeBuffer())
	require.NoError(t, err)
	bad := map[string][]byte{
		"part of series": series[:len(series)-1],
		"snappy":         snappy.Encode(nil, long),
		"zstd":           zstd,
	}
	for name, rec := range bad {
		require.Error(t, check.plausible(frame.Record{Data: rec}), name)
		require.NoError(t, check.plausible(frame.Record{Data: rec, Compressed: true}), name)
	}
	require.ErrorIs(t, check.plausible(frame.Record{Data: zstd}), errFlag)
}
