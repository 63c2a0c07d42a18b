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

package tree

import (
	"fmt"
	"go/format"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
)

// Reimport changes the module of a Go file's imports and formats the file,
// because the order of its imports may be another one then. Nothing else in
// the file changes, comments and strings included.
func Reimport(name string, text []byte, from, to string) ([]byte, error) {
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, name, text, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	var out []byte
	rest := 0
	for _, spec := range parsed.Imports {
		target, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: import %s: %w", name, spec.Path.Value, err)
		}
		sub, ok := strings.CutPrefix(target, from)
		if !ok || sub != "" && sub[0] != '/' {
			continue
		}
		out = append(out, text[rest:fset.Position(spec.Path.Pos()).Offset]...)
		out = strconv.AppendQuote(out, to+sub)
		rest = fset.Position(spec.Path.End()).Offset
	}
	out, err = format.Source(append(out, text[rest:]...))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return out, nil
}
