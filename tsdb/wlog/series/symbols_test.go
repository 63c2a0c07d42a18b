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

package series

import (
	"go/ast"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Strings are found by whatever strings were removed before.
func TestSymbolsAfterRemovals(t *testing.T) {
	y := newSymbols()
	r := rand.New(rand.NewPCG(3, 4))
	have := map[string]symbol{}
	for range 50_000 {
		str := strconv.Itoa(r.IntN(3000))
		n, ok := y.lookup(y.hash(str), str)
		require.Equal(t, have[str], n)
		switch {
		case !ok:
			have[str] = y.intern(y.hash(str), str)
			require.Equal(t, str, y.str(have[str]))
		case r.IntN(3) > 0:
			y.remove(str)
			(*y.strs.Load())[n/stringPageSize][n%stringPageSize].Store(nil)
			y.free = append(y.free, n)
			delete(have, str)
		}
		require.Len(t, have, y.count)
	}
}

// Only functions that hold symbols.inUse or symbols.mtx turn numbers into strings, and
// Series.Value, which keeps the series alive (invariant 3). The package's documentation
// has to say of any other why that is safe.
func TestWhoTurnsNumbersIntoStrings(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	var who []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok {
					if method, ok := call.Fun.(*ast.SelectorExpr); ok && method.Sel.Name == "str" {
						who = append(who, f.Name.Name)
					}
				}
				return true
			})
		}
	}
	slices.Sort(who)
	require.Equal(t, []string{"Value", "grow", "namesOf", "number", "probe", "remove"}, who)
}
