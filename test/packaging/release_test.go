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

package packaging

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
	"github.com/stretchr/testify/require"
)

func releaseDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("ACKWAL_RELEASE")
	if dir == "" {
		t.Skip("LEFT OUT: ACKWAL_RELEASE does not name a release; `make packaging-test` does")
	}
	return dir
}

// published lists the files that a release is.
func published(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

func sum(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(name)
	require.NoError(t, err)
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	require.NoError(t, err)
	return fmt.Sprintf("%x", h.Sum(nil))
}

// Two releases of one commit, made in different directories, are the same bytes.
func TestReproducible(t *testing.T) {
	one, again := releaseDir(t), os.Getenv("ACKWAL_RELEASE_AGAIN")
	if again == "" {
		t.Skip("LEFT OUT: ACKWAL_RELEASE_AGAIN does not name a second release; `make packaging-test` does")
	}
	names := published(t, one)
	require.Equal(t, names, published(t, again))
	for _, name := range names {
		require.Equal(t, sum(t, filepath.Join(one, name)), sum(t, filepath.Join(again, name)), "%s differs", name)
	}
}

// The checksums are those of all files that are published.
func TestChecksums(t *testing.T) {
	dir := releaseDir(t)
	text, err := os.ReadFile(filepath.Join(dir, "sha256sums.txt"))
	require.NoError(t, err)
	listed := map[string]string{}
	for line := range strings.Lines(string(text)) {
		hash, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		require.True(t, ok, "%q", line)
		listed[name] = hash
	}
	for _, name := range published(t, dir) {
		if name != "sha256sums.txt" {
			require.Equal(t, sum(t, filepath.Join(dir, name)), listed[name], "%s", name)
			delete(listed, name)
		}
	}
	require.Empty(t, listed)
}

type packed struct {
	data []byte
	mode fs.FileMode
	sum  string
}

// unpacked reads an archive, and demands of each file that it is below the archive's
// name.
func unpacked(t *testing.T, name string) map[string]packed {
	t.Helper()
	below := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(name), ".tar.gz"), ".zip") + "/"
	files := map[string]packed{}
	add := func(name string, mode fs.FileMode, r io.Reader) {
		rel, ok := strings.CutPrefix(name, below)
		require.True(t, ok, "%s is not below %s", name, below)
		require.Equal(t, path.Clean(rel), rel)
		data, err := io.ReadAll(r)
		require.NoError(t, err)
		files[rel] = packed{data, mode, fmt.Sprintf("%x", sha256.Sum256(data))}
	}
	if strings.HasSuffix(name, ".zip") {
		z, err := zip.OpenReader(name)
		require.NoError(t, err)
		defer z.Close()
		for _, f := range z.File {
			r, err := f.Open()
			require.NoError(t, err)
			add(f.Name, f.Mode(), r)
			r.Close()
		}
		return files
	}
	f, err := os.Open(name)
	require.NoError(t, err)
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	require.NoError(t, err)
	for archive := tar.NewReader(unzipped); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		require.NoError(t, err)
		require.Zero(t, header.Uid+header.Gid)
		add(header.Name, header.FileInfo().Mode(), archive)
	}
}

func archives(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"*.tar.gz", "*.zip"} {
		names, err := filepath.Glob(filepath.Join(releaseDir(t), pattern))
		require.NoError(t, err)
		all = append(all, names...)
	}
	require.NotEmpty(t, all)
	return all
}

// Each archive has the programs, for the platform in its name, and what belongs to them.
// Of every module in the programs the licence is there, and the list of parts has it.
func TestArchives(t *testing.T) {
	for _, name := range archives(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			files := unpacked(t, name)
			suffix := ""
			if strings.Contains(name, ".windows-") {
				suffix = ".exe"
			}
			for _, file := range []string{"LICENSE", "NOTICE", "CHANGELOG.md", "VERSION", "prometheus.yml", "sbom.cdx.json", "licenses/INDEX"} {
				require.NotEmpty(t, files[file].data, file)
				require.Equal(t, fs.FileMode(0o644), files[file].mode, file)
			}
			named := strings.TrimSpace(string(files["VERSION"].data))
			require.Contains(t, filepath.Base(name), "prometheus-"+named+".")
			if strings.Contains(name, ".linux-") {
				require.NotEmpty(t, files["systemd/prometheus-agent.service"].data)
			}
			list := readBOM(t, files["sbom.cdx.json"].data)
			beside, err := os.ReadFile(strings.TrimSuffix(strings.TrimSuffix(name, ".tar.gz"), ".zip") + ".cdx.json")
			require.NoError(t, err)
			require.Equal(t, string(files["sbom.cdx.json"].data), string(beside))
			require.Equal(t, named, list.Metadata.Component.Version)
			versions := map[string]string{}
			for _, c := range *list.Components {
				versions[c.Name] = c.Version
				require.NotEmpty(t, *c.Licenses, c.Name)
			}
			require.NotEmpty(t, versions["std"])
			for _, program := range []string{"prometheus", "promtool"} {
				binary := files[program+suffix]
				require.Equal(t, fs.FileMode(0o755), binary.mode)
				info, err := buildinfo.Read(bytes.NewReader(binary.data))
				require.NoError(t, err)
				set := map[string]string{}
				for _, s := range info.Settings {
					set[s.Key] = s.Value
				}
				require.Contains(t, filepath.Base(name), "."+set["GOOS"]+"-"+set["GOARCH"]+".")
				require.Equal(t, "true", set["-trimpath"])
				require.Equal(t, "0", set["CGO_ENABLED"])
				for _, m := range info.Deps {
					if m.Replace != nil {
						m = m.Replace
					}
					require.Equal(t, m.Version, versions[m.Path], m.Path)
					require.Contains(t, string(files["licenses/INDEX"].data), "pkg:golang/"+m.Path+"@"+m.Version+": ")
					found := false
					for file := range files {
						found = found || strings.HasPrefix(file, "licenses/"+m.Path+"@"+m.Version+"/")
					}
					require.True(t, found, "no licence of %s", m.Path)
				}
			}
			// A part's notice is passed on, as its licence asks.
			require.Contains(t, string(files["NOTICE"].data), "pkg:golang/github.com/prometheus/common@")
		})
	}
}

// readBOM reads a list of parts strictly, and as CycloneDX's own library does.
func readBOM(t *testing.T, text []byte) *cyclonedx.BOM {
	t.Helper()
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields()
	require.NoError(t, strict.Decode(&cyclonedx.BOM{}))
	list := new(cyclonedx.BOM)
	require.NoError(t, cyclonedx.NewBOMDecoder(bytes.NewReader(text), cyclonedx.BOMFileFormatJSON).Decode(list))
	require.Equal(t, cyclonedx.SpecVersion1_6, list.SpecVersion)
	refs := map[string]bool{list.Metadata.Component.BOMRef: true}
	for _, c := range *list.Components {
		require.False(t, refs[c.BOMRef], "%s twice", c.BOMRef)
		refs[c.BOMRef] = true
	}
	return list
}

// What is published for this machine runs, and says its version.
func TestVersionIsShown(t *testing.T) {
	upstreams, _ := version(t)
	for _, name := range archives(t) {
		if !strings.Contains(name, "."+runtime.GOOS+"-"+runtime.GOARCH+".") {
			continue
		}
		files := unpacked(t, name)
		for _, program := range []string{"prometheus", "promtool"} {
			binary := filepath.Join(t.TempDir(), program)
			require.NoError(t, os.WriteFile(binary, files[program].data, 0o755))
			out, err := exec.Command(binary, "--version").CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.Contains(t, string(out), program+", version "+upstreams+"+ackwal.")
			// A build without tags says that they are unknown.
			require.NotContains(t, strings.ReplaceAll(string(out), "tags:             unknown", ""), "unknown")
		}
		return
	}
	t.Skip("LEFT OUT: the release has nothing that runs here")
}

// The Debian package has the same programs, settings that upgrades keep, and a version
// that dpkg orders as it should.
func TestDebianPackage(t *testing.T) {
	names, err := filepath.Glob(filepath.Join(releaseDir(t), "*.deb"))
	require.NoError(t, err)
	if len(names) == 0 {
		t.Skip("LEFT OUT: the release has nothing for Linux, so there is no Debian package")
	}
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("LEFT OUT: dpkg-deb is not installed, so Debian packages are not looked into")
	}
	for _, name := range names {
		dir := t.TempDir()
		run := func(args ...string) string {
			out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
			require.NoError(t, err, "%s", out)
			return string(out)
		}
		run("dpkg-deb", "--raw-extract", name, dir)
		conffiles, err := os.ReadFile(filepath.Join(dir, "DEBIAN", "conffiles"))
		require.NoError(t, err)
		require.ElementsMatch(t, []string{"/etc/default/prometheus-agent", "/etc/prometheus-agent/prometheus.yml"}, strings.Fields(string(conffiles)))
		for _, script := range []string{"postinst", "prerm", "postrm"} {
			run("sh", "-n", filepath.Join(dir, "DEBIAN", script))
		}
		arch := strings.TrimSpace(run("dpkg-deb", "--field", name, "Architecture"))
		packaged := strings.TrimSpace(run("dpkg-deb", "--field", name, "Version"))
		run("dpkg", "--compare-versions", packaged, "gt", strings.SplitN(packaged, "+", 2)[0])
		run("dpkg", "--compare-versions", packaged, "lt", strings.SplitN(packaged, "+", 2)[0]+"+ackwal.99")

		archive := filepath.Join(releaseDir(t), "prometheus-"+packaged+".linux-"+arch+".tar.gz")
		files := unpacked(t, archive)
		for _, program := range []string{"prometheus", "promtool"} {
			installed := filepath.Join(dir, "usr/lib/ackwal", program)
			require.Equal(t, files[program].sum, sum(t, installed))
			info, err := os.Stat(installed)
			require.NoError(t, err)
			require.Equal(t, fs.FileMode(0o755), info.Mode())
			target, err := os.Readlink(filepath.Join(dir, "usr/bin", "ackwal-"+program))
			require.NoError(t, err)
			require.Equal(t, "/usr/lib/ackwal/"+program, target)
		}
		require.Equal(t, files["systemd/prometheus-agent.service"].sum, sum(t, filepath.Join(dir, "usr/lib/systemd/system/prometheus-agent.service")))
	}
}
