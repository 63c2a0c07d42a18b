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
	"bytes"
	"fmt"
	"go/format"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
)

// Reimport changes the module of a Go file's imports and formats the file,
// because the order of its imports may be another one then. Groups of imports that
// are all of the new module become one, as upstream's linter wants them. Nothing
// else in the file changes, comments and strings included.
func Reimport(name string, text []byte, from, to string) ([]byte, error) {
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, name, text, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	var (
		out    []byte
		rest   int  // What of text is not in out.
		joined bool // The import before is of the new module.
	)
	for _, spec := range parsed.Imports {
		target, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: import %s: %w", name, spec.Path.Value, err)
		}
		begin, end := fset.Position(spec.Path.Pos()).Offset, fset.Position(spec.Path.End()).Offset
		between := text[rest:begin]
		sub, ours := within(target, from)
		_, theirs := within(target, to)
		if spaces := len(between) - len(bytes.TrimLeft(between, "\n\t ")); joined && (ours || theirs) && bytes.Count(between[:spaces], []byte("\n")) > 1 {
			between = append([]byte("\n\t"), between[spaces:]...)
		}
		joined = ours || theirs
		if ours {
			target = to + sub
		}
		out = strconv.AppendQuote(append(out, between...), target)
		rest = end
	}
	out, err = format.Source(append(out, text[rest:]...))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return out, nil
}

// within returns what follows a module's path in that of a package of it.
func within(target, module string) (sub string, ok bool) {
	sub, ok = strings.CutPrefix(target, module)
	return sub, ok && (sub == "" || sub[0] == '/')
}
