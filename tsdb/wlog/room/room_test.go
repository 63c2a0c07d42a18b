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

package room

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestShare(t *testing.T) {
	const gib = 1 << 30
	require.Equal(t, int64(90*gib), Share(40*gib, 60*gib), "a tenth is more than 1 GiB")
	require.Equal(t, int64(3*gib), Share(gib, 3*gib), "1 GiB is more than a tenth")
	require.Equal(t, int64(gib/2), Share(0, gib), "never more than half")
	require.Equal(t, int64(0), Share(0, 0))
}

// The default limit falls with what others write, but not below a few segments, and
// not because of them.
func TestDefaultLimit(t *testing.T) {
	var d DefaultLimit
	limit, low := d.Of(3<<20, 0, 40<<20, 1<<20)
	require.Equal(t, int64(4<<20), limit)
	require.True(t, low)
	limit, low = d.Of(3<<20, 27<<20, 40<<20, 1<<20)
	require.Equal(t, int64(15<<20), limit)
	require.False(t, low)
	limit, low = d.Of(14<<20, 0, 40<<20, 1<<20)
	require.Equal(t, int64(15<<20), limit, "others took the rest, the log did not grow")
	require.True(t, low)

	d = DefaultLimit{}
	limit, low = d.Of(85<<30, 5<<30, 100<<30, 128<<20)
	require.Zero(t, limit, "others have taken the room before")
	require.True(t, low)
	limit, _ = d.Of(95<<30, 5<<30, 100<<30, 128<<20)
	require.Equal(t, int64(90<<30), limit, "it is the log that takes the room")
}
