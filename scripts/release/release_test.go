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
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/scripts/internal/testfiles"
)

// An archive depends on names and contents only: not on when files were written, in which
// order, by whom, or with which umask.
func TestArchivesAreReproducible(t *testing.T) {
	when := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	one := testfiles.Write(t, t.TempDir(), "prometheus", "x", "licenses/a/LICENSE", "a", "NOTICE", "n")
	two := testfiles.Write(t, t.TempDir(), "NOTICE", "n", "licenses/a/LICENSE", "a", "prometheus", "x")
	require.NoError(t, os.Chmod(filepath.Join(two, "NOTICE"), 0o600))
	require.NoError(t, os.Chtimes(filepath.Join(two, "prometheus"), when.Add(time.Hour), when.Add(time.Hour)))
	for name, write := range map[string]func(to, dir, below string, when time.Time) error{"tar": writeTar, "zip": writeZip} {
		t.Run(name, func(t *testing.T) {
			var texts []string
			for _, dir := range []string{one, two} {
				require.NoError(t, settle(dir, when))
				to := filepath.Join(t.TempDir(), "archive")
				require.NoError(t, write(to, dir, "p-1", when))
				text, err := os.ReadFile(to)
				require.NoError(t, err)
				texts = append(texts, string(text))
			}
			require.Equal(t, texts[0], texts[1])
		})
	}
	info, err := os.Stat(filepath.Join(two, "prometheus"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o755), info.Mode())
	require.Equal(t, when, info.ModTime().UTC())
}

const (
	mitWords = "Permission is hereby granted, free of charge, to any\n person obtaining a copy of this software"
	bsdWords = "Redistribution and use in source and binary\nforms, with or without modification"
)

func TestLicencesIn(t *testing.T) {
	for text, want := range map[string][]string{
		mitWords: {"MIT"},
		bsdWords: {"BSD-2-Clause"},
		bsdWords + " may be used to endorse or promote products":   {"BSD-3-Clause"},
		"Apache License\n  Version 2.0, January 2004\n" + mitWords: {"Apache-2.0", "MIT"},
		"All rights reserved.": nil,
	} {
		require.Equal(t, want, licencesIn([]byte(text)), "%s", text)
	}
}

// What has no licence that is known is not published.
func TestUnknownLicenceIsRefused(t *testing.T) {
	parts := []part{
		{kind: goModule, name: "example.com/good", version: "v1.0.0", files: map[string][]byte{"LICENSE": []byte(mitWords)}},
		{kind: goModule, name: "example.com/none", version: "v1.0.0"},
		{kind: goModule, name: "example.com/own", version: "v1.0.0", files: map[string][]byte{"LICENSE": []byte("Do not.")}},
		{kind: goModule, name: "example.com/notice", version: "v1.0.0", files: map[string][]byte{"NOTICE": []byte(mitWords)}},
	}
	err := classify(parts)
	for _, name := range []string{"none", "own", "notice"} {
		require.ErrorContains(t, err, "pkg:golang/example.com/"+name+"@v1.0.0")
	}
	require.NotContains(t, err.Error(), "good")
	require.NoError(t, classify(parts[:1]))
	require.Equal(t, []string{"MIT"}, parts[0].licences)
}

// The files about licences of a package are those beside it and above it, in its module.
func TestCollect(t *testing.T) {
	outside := testfiles.Write(t, t.TempDir(),
		"LICENSE", "of another", "module/LICENSE", "a", "module/license.go", "code", "module/a/b/LICENSE.txt", "b", "module/c/COPYING", "c", "module/a/NOTICE.md", "n")
	root := filepath.Join(outside, "module")
	p := part{files: map[string][]byte{}}
	require.NoError(t, p.collect(root, filepath.Join(root, "a", "b")))
	require.NoError(t, p.collect(root, root))
	require.Equal(t, map[string][]byte{"LICENSE": []byte("a"), "a/b/LICENSE.txt": []byte("b"), "a/NOTICE.md": []byte("n")}, p.files)
	require.Error(t, p.collect(root, outside))
}

// The packages of npm are those in pnpm's store, each once; links to them do not count.
func TestNpmParts(t *testing.T) {
	store := testfiles.Write(t, t.TempDir(),
		"a@1.0.0/node_modules/a/package.json", `{"name": "a", "version": "1.0.0", "license": "MIT"}`,
		"a@1.0.0/node_modules/a/LICENSE", mitWords,
		"@s+b@2.0.0/node_modules/@s/b/package.json", `{"name": "@s/b", "version": "2.0.0", "license": "ISC"}`)
	require.NoError(t, os.Symlink(filepath.Join(store, "@s+b@2.0.0", "node_modules", "@s", "b"), filepath.Join(store, "a@1.0.0", "node_modules", "b")))
	parts, err := npmParts(store)
	require.NoError(t, err)
	require.NoError(t, classify(parts))
	byID := map[string][]string{}
	for _, p := range parts {
		byID[p.id()] = p.licences
	}
	require.Equal(t, map[string][]string{"pkg:npm/a@1.0.0": {"MIT"}, "pkg:npm/%40s/b@2.0.0": {"ISC"}}, byID)
	_, err = npmParts(t.TempDir())
	require.ErrorContains(t, err, "make ui")
}

func TestSBOM(t *testing.T) {
	r := release{version: "1.2.3+ours.1", when: time.Unix(1, 0).UTC()}
	text, err := r.sbom(platform{"linux", "arm64"}, []part{
		{kind: goModule, name: upstreamModule, version: r.version, licences: []string{"Apache-2.0"}},
		{kind: goModule, name: "example.com/x", version: "v1.0.0", sum: "h1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", licences: []string{"Apache-2.0", "MIT"}},
	})
	require.NoError(t, err)
	var list bom
	require.NoError(t, json.Unmarshal(text, &list))
	require.Equal(t, "1.2.3+ours.1", list.Metadata.Component.Version)
	require.Equal(t, "1970-01-01T00:00:01Z", list.Metadata.Timestamp)
	require.Len(t, list.Components, 1)
	require.Equal(t, component{
		Ref: "pkg:golang/example.com/x@v1.0.0", Type: "library", Name: "example.com/x", Version: "v1.0.0",
		Hashes:   []hash{{"SHA-256", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"}},
		Licences: []licence{{"Apache-2.0 AND MIT"}},
		URL:      "pkg:golang/example.com/x@v1.0.0",
	}, list.Components[0])
}

func TestCommitTime(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "86400")
	when, err := commitTime(".")
	require.NoError(t, err)
	require.Equal(t, "1970-01-02T00:00:00Z", when.Format(time.RFC3339))
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	_, err = commitTime(".")
	require.ErrorContains(t, err, "SOURCE_DATE_EPOCH")
}

// Notices are passed on after ours, each with the part that it is of.
func TestNotices(t *testing.T) {
	text := string(notices([]byte("ours\n"), []part{
		{kind: goModule, name: "example.com/x", version: "v1", files: map[string][]byte{"NOTICE": []byte("of x\n"), "LICENSE": []byte("l")}},
	}))
	require.Contains(t, text, "pkg:golang/example.com/x@v1, NOTICE:\n\nof x\n")
	require.NotContains(t, text, "LICENSE")
	require.Regexp(t, "^ours\n", text)
}
