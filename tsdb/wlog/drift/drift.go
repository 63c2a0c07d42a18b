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
// Package drift helps tests to notice that another package has gained something
// which the tested one does not know of: a field of a configuration, or a method
// by which callers find out what a type can do. Neither breaks a build.
package drift

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Known says of each field or method by name what becomes of it: where it is
// handled, or why it is not.
type Known map[string]string

// Patched begins what is said of something that the series of changes adds to
// stock: it is there in the fork, and not in upstream's release.
const Patched = "patched: "

// Fields compares the fields of a struct with those that are known. It returns a
// line for each that is not, for each that is named without need, and for each
// about which nothing is said.
func Fields(of any, known Known) []string {
	t := reflect.TypeOf(of)
	names := map[string]bool{}
	for field := range t.Fields() {
		names[field.Name] = true
	}
	return compare(t.String(), "field", names, known)
}

// Methods compares the exported methods of theirs, which may be a pointer, with
// those of ours. What ours does not have in the same form must be known.
func Methods(theirs, ours any, known Known) []string {
	t, o := reflect.TypeOf(theirs), reflect.TypeOf(ours)
	names := map[string]bool{}
	for m := range t.Methods() {
		if same, ok := o.MethodByName(m.Name); !ok || !alike(m.Type, same.Type) {
			names[m.Name] = true
		}
	}
	return compare(t.String(), "method", names, known)
}

// alike compares two methods, leaving out what they are methods of.
func alike(a, b reflect.Type) bool {
	if a.NumIn() != b.NumIn() || a.NumOut() != b.NumOut() || a.IsVariadic() != b.IsVariadic() {
		return false
	}
	for i := 1; i < a.NumIn(); i++ {
		if a.In(i) != b.In(i) {
			return false
		}
	}
	for i := range a.NumOut() {
		if a.Out(i) != b.Out(i) {
			return false
		}
	}
	return true
}

func compare(where, what string, names map[string]bool, known Known) (lines []string) {
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if about, ok := known[name]; !ok {
			lines = append(lines, fmt.Sprintf("%s has the %s %s: handle it, or say why not", where, what, name))
		} else if about == "" {
			lines = append(lines, fmt.Sprintf("nothing is said about the %s %s of %s", what, name, where))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if !names[name] && !strings.HasPrefix(known[name], Patched) {
			lines = append(lines, fmt.Sprintf("%s needs nothing to be said about the %s %s", where, what, name))
		}
	}
	return lines
}
