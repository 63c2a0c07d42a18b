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

// Command release makes what is published of this project: for each platform an
// archive with the binaries, the licences of what is in them and a list of it (SBOM),
// for Linux a Debian package too, and the checksums of all. "make release" starts it.
//
// The same commit, toolchain and flags give the same bytes, wherever and whenever
// that is: every file has the time of the commit, or of SOURCE_DATE_EPOCH, and the
// binaries know nothing of the directory that they were built in.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// release is what the flags say.
type release struct {
	root, fork, out, tags string
	platforms             []platform
	// version and when are of the commit.
	version string
	when    time.Time
}

type platform struct{ os, arch string }

func (p platform) String() string { return p.os + "-" + p.arch }

// binary is what a program is called there.
func (p platform) binary(name string) string {
	if p.os == "windows" {
		return name + ".exe"
	}
	return name
}

var programs = []string{"prometheus", "promtool"}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	var r release
	flags.StringVar(&r.root, "root", ".", "the project")
	flags.StringVar(&r.fork, "fork", "build/fork", "where upstream's tree with ours is assembled and built")
	flags.StringVar(&r.out, "out", "build/release", "where everything goes; what is there is removed")
	flags.StringVar(&r.tags, "tags", "", "build tags")
	list := flags.String("platforms", runtime.GOOS+"/"+runtime.GOARCH, "as GOOS/GOARCH, separated by commas")
	if err := flags.Parse(args); err != nil {
		return err
	}
	for name := range strings.SplitSeq(*list, ",") {
		system, arch, ok := strings.Cut(name, "/")
		if !ok {
			return fmt.Errorf("%q is not GOOS/GOARCH", name)
		}
		r.platforms = append(r.platforms, platform{system, arch})
	}
	for _, dir := range []*string{&r.root, &r.fork, &r.out} {
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return err
		}
		*dir = abs
	}
	return r.make(ctx)
}

func (r release) make(ctx context.Context) (err error) {
	if r.when, err = commitTime(r.root); err != nil {
		return err
	}
	if err := os.RemoveAll(r.out); err != nil {
		return err
	}
	var published []string
	for _, p := range r.platforms {
		files, err := r.makeFor(ctx, p)
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		published = append(published, files...)
	}
	// The context of the image, see packaging/Dockerfile.
	if err := os.MkdirAll(filepath.Join(r.out, "stage", "empty"), 0o777); err != nil {
		return err
	}
	slices.Sort(published)
	return writeChecksums(filepath.Join(r.out, "sha256sums.txt"), published)
}

// makeFor makes what is published for a platform, and tells the files.
func (r release) makeFor(ctx context.Context, p platform) ([]string, error) {
	stage := filepath.Join(r.out, "stage", p.String())
	if err := r.build(ctx, p, stage); err != nil {
		return nil, err
	}
	version, err := os.ReadFile(filepath.Join(stage, "VERSION"))
	if err != nil {
		return nil, err
	}
	r.version = strings.TrimSpace(string(version))
	parts, err := r.partsOf(ctx, p, stage)
	if err != nil {
		return nil, err
	}
	if err := r.stage(p, stage, parts); err != nil {
		return nil, err
	}
	if err := settle(stage, r.when); err != nil {
		return nil, err
	}

	name := "prometheus-" + r.version + "." + p.String()
	sbom := filepath.Join(r.out, name+".cdx.json")
	if err := copyFile(filepath.Join(stage, sbomName), sbom); err != nil {
		return nil, err
	}
	archive := filepath.Join(r.out, name+".tar.gz")
	write := writeTar
	if p.os == "windows" {
		archive, write = filepath.Join(r.out, name+".zip"), writeZip
	}
	if err := write(archive, stage, name, r.when); err != nil {
		return nil, err
	}
	files := []string{sbom, archive}
	if p.os == "linux" {
		deb, err := r.debian(ctx, p, stage)
		if err != nil {
			return nil, err
		}
		files = append(files, deb)
	}
	for _, f := range files {
		fmt.Println(f)
	}
	return files, nil
}

// build has upstream-sync.sh build the programs, with everything set that makes a
// difference to them.
func (r release) build(ctx context.Context, p platform, to string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(r.root, "upstream-sync.sh"), "build", "--release", "--tags", r.tags, "--out", r.fork, "--bin", to)
	cmd.Dir, cmd.Stdout, cmd.Stderr = r.root, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), p.environment()...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	return cmd.Run()
}

// environment sets what would otherwise change the binaries.
func (p platform) environment() []string {
	return []string{
		"GOOS=" + p.os, "GOARCH=" + p.arch, "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "GOEXPERIMENT=",
		"GOAMD64=v1", "GOARM64=v8.0", "GOWORK=off",
	}
}

// commitTime is when what is released was committed.
func commitTime(root string) (time.Time, error) {
	text, ok := os.LookupEnv("SOURCE_DATE_EPOCH")
	if !ok {
		cmd := exec.Command("git", "log", "-1", "--format=%ct")
		cmd.Dir = root
		out, err := cmd.Output()
		if err != nil {
			return time.Time{}, errors.New("this is no git checkout: set SOURCE_DATE_EPOCH to the time of what is released")
		}
		text = string(out)
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
