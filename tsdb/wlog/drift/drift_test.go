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
package drift

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

type oldConfig struct{ URL, Timeout string }

// newConfig is oldConfig with a field more and one less.
type newConfig struct {
	URL     string
	Convert bool
}

func TestFields(t *testing.T) {
	known := Known{"URL": "client", "Timeout": "client"}
	require.Empty(t, Fields(oldConfig{}, known))
	require.Equal(t, []string{
		"drift.newConfig has the field Convert: handle it, or say why not",
		"drift.newConfig needs nothing to be said about the field Timeout",
	}, Fields(newConfig{}, known))
	require.Equal(t, []string{"nothing is said about the field Timeout of drift.oldConfig"}, Fields(oldConfig{}, Known{"URL": "client", "Timeout": ""}))
	known["Other"] = Patched + "there or not"
	require.Empty(t, Fields(oldConfig{}, known))
}

type theirs struct{}

func (*theirs) Close() error            { return nil }
func (*theirs) Append(int) int          { return 0 }
func (*theirs) AppendAll(...int) string { return "" }
func (*theirs) Read(io.Reader)          {}

type ours struct{}

func (*ours) Close() error           { return nil }
func (*ours) Append(int64) int       { return 0 }
func (*ours) AppendAll([]int) string { return "" }

func TestMethods(t *testing.T) {
	require.Empty(t, Methods(&ours{}, &ours{}, nil))
	require.Equal(t, []string{
		"*drift.theirs has the method Append: handle it, or say why not",
		"*drift.theirs has the method AppendAll: handle it, or say why not",
		"*drift.theirs has the method Read: handle it, or say why not",
	}, Methods(&theirs{}, &ours{}, nil))
	known := Known{"Append": "of another type", "AppendAll": "takes a list", "Read": "not wanted"}
	require.Empty(t, Methods(&theirs{}, &ours{}, known))
	known["Close"] = "gone"
	require.Equal(t, []string{"*drift.theirs needs nothing to be said about the method Close"}, Methods(&theirs{}, &ours{}, known))
}
