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

package mutation

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// root of the repository, as seen from here.
const root = "../.."

// edit is a change of one place in the sources.
type edit struct {
	file                string // From the root.
	anchor, replacement string // The anchor is there once.
}

// overlay returns the path of a file for go's flag of that name: with it, the
// compiler sees the sources with the edits and with the texts of added files.
// The sources on disk stay as they are.
func overlay(t *testing.T, edits []edit, added map[string]string) string {
	dir, err := filepath.Abs(root)
	require.NoError(t, err)
	edited := map[string]string{}
	for _, e := range edits {
		path := filepath.Join(dir, e.file)
		text, ok := edited[path]
		if !ok {
			source, err := os.ReadFile(path)
			require.NoError(t, err)
			text = string(source)
		}
		require.Equal(t, 1, strings.Count(text, e.anchor), "how often %s has\n%s", e.file, e.anchor)
		edited[path] = strings.Replace(text, e.anchor, e.replacement, 1)
	}

	var o struct{ Replace map[string]string }
	o.Replace = map[string]string{}
	files := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(files, name)
		require.NoError(t, os.WriteFile(path, content, 0o600))
		return path
	}
	for file, text := range added {
		edited[filepath.Join(dir, file)] = text
	}
	for path, text := range edited {
		o.Replace[path] = write(fmt.Sprintf("%d.go", len(o.Replace)), []byte(text))
	}
	encoded, err := json.Marshal(o)
	require.NoError(t, err)
	return write("overlay.json", encoded)
}
