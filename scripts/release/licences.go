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

package main

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// isLegal tells of a file, by its name, whether it is about a licence.
func isLegal(name string) bool {
	upper := strings.ToUpper(name)
	if slices.Contains([]string{".GO", ".JS", ".TS", ".JSON", ".PY", ".SH"}, path.Ext(upper)) {
		return false
	}
	return slices.ContainsFunc([]string{"LICENSE", "LICENCE", "COPYING", "NOTICE", "PATENTS", "UNLICENSE"}, func(prefix string) bool {
		return strings.HasPrefix(upper, prefix)
	})
}

func isNotice(name string) bool {
	return strings.HasPrefix(strings.ToUpper(path.Base(name)), "NOTICE")
}

// wordings are by what a licence is known: words that only it has, in small letters and
// with single spaces.
var wordings = []struct {
	id    string
	words []string
}{
	{"Apache-2.0", []string{"apache license", "version 2.0"}},
	{"MPL-2.0", []string{"mozilla public license", "2.0"}},
	{"MIT", []string{"permission is hereby granted, free of charge, to any person obtaining a copy"}},
	{"ISC", []string{"permission to use, copy, modify, and/or distribute this software for any purpose"}},
	{"ISC", []string{"permission to use, copy, modify, and distribute this software for any purpose with or without fee"}},
	{"BSD-3-Clause", []string{"redistribution and use in source and binary forms", "may be used to endorse or promote products"}},
	{"Unlicense", []string{"free and unencumbered software released into the public domain"}},
	{"CC0-1.0", []string{"cc0 1.0 universal"}},
	{"CC-BY-SA-4.0", []string{"attribution-sharealike 4.0 international"}},
	{"CC-BY-4.0", []string{"creative commons attribution 4.0"}},
	{"Zlib", []string{"altered source versions must be plainly marked"}},
	{"0BSD", []string{"permission to use, copy, modify, and/or distribute", "bsd zero clause"}},
}

// licencesIn finds the licences of a text.
func licencesIn(text []byte) (ids []string) {
	folded := strings.Join(strings.Fields(strings.ToLower(string(text))), " ")
	has := func(words []string) bool {
		return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(folded, w) })
	}
	for _, w := range wordings {
		if has(w.words) && !slices.Contains(ids, w.id) {
			ids = append(ids, w.id)
		}
	}
	if has([]string{"redistribution and use in source and binary forms"}) && !slices.Contains(ids, "BSD-3-Clause") {
		ids = append(ids, "BSD-2-Clause")
	}
	return ids
}

// classify finds the licences of all parts. One without a file, or with none that is
// known, must not be published unseen. Packages of npm say their licence themselves.
func classify(parts []part) error {
	var unknown []error
	for i := range parts {
		p := &parts[i]
		if p.kind == npmPackage && len(p.licences) > 0 {
			continue
		}
		for name, text := range p.files {
			if isNotice(name) {
				continue
			}
			for _, id := range licencesIn(text) {
				if !slices.Contains(p.licences, id) {
					p.licences = append(p.licences, id)
				}
			}
		}
		slices.Sort(p.licences)
		if len(p.licences) == 0 {
			unknown = append(unknown, fmt.Errorf("%s: no licence is known, of %d files about it", p.id(), len(p.files)))
		}
	}
	return errors.Join(unknown...)
}
