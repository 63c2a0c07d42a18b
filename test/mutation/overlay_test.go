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

// environment is the variable that names the defect which is there.
const environment = "WAL_MUTATION"

// overlay returns the path of a file for go's flag of that name: with it, the
// mutations are in the sources as the compiler sees them, and nowhere else.
func overlay(t *testing.T) string {
	dir, err := filepath.Abs(root)
	require.NoError(t, err)
	mutated := map[string]string{} // The text of files, by path.
	for _, m := range mutations {
		path := filepath.Join(dir, m.file)
		text, ok := mutated[path]
		if !ok {
			source, err := os.ReadFile(path)
			require.NoError(t, err, m.name)
			text = string(source)
		}
		require.Equal(t, 1, strings.Count(text, m.anchor), "%s: how often %s has\n%s", m.name, m.file, m.anchor)
		require.Contains(t, m.replacement, fmt.Sprintf("defect(%q)", m.name))
		mutated[path] = strings.Replace(text, m.anchor, m.replacement, 1)
		pkg := filepath.Dir(path)
		mutated[filepath.Join(pkg, "defect.go")] = fmt.Sprintf(`package %s

import "os"

var chosenDefect = os.Getenv(%q)

func defect(name string) bool { return name == chosenDefect }
`, filepath.Base(pkg), environment)
	}

	var o struct{ Replace map[string]string }
	o.Replace = map[string]string{}
	files := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(files, name)
		require.NoError(t, os.WriteFile(path, content, 0o600))
		return path
	}
	for path, text := range mutated {
		o.Replace[path] = write(fmt.Sprintf("%d.go", len(o.Replace)), []byte(text))
	}
	encoded, err := json.Marshal(o)
	require.NoError(t, err)
	return write("overlay.json", encoded)
}
