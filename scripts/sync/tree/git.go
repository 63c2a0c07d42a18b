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
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/ackwal/ackwal/scripts/sync/git"
)

// FromGit reads the commit that is checked out in dir and returns its hash.
// dir must be the top of a checkout without changes, which is only read.
func FromGit(dir string) (t Tree, commit string, err error) {
	commit, err = git.CleanHead(context.Background(), dir)
	if err != nil {
		return nil, "", err
	}
	t, err = FromCommit(dir, commit)
	return t, commit, err
}

// FromCommit reads a commit of a repository.
func FromCommit(dir, commit string) (Tree, error) {
	archive, err := git.Run(context.Background(), dir, "archive", "--format=tar", commit)
	if err != nil {
		return nil, err
	}
	return fromTar(bytes.NewReader(archive))
}

func fromTar(r io.Reader) (Tree, error) {
	t := Tree{}
	archive := tar.NewReader(r)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return nil, err
		}
		switch h.Typeflag {
		case tar.TypeReg:
			if !filepath.IsLocal(filepath.FromSlash(h.Name)) {
				return nil, fmt.Errorf("file name %q leads out of the tree", h.Name)
			}
			data, err := io.ReadAll(archive)
			if err != nil {
				return nil, err
			}
			t[h.Name] = File{Data: data, Exec: h.Mode&0o100 != 0}
		case tar.TypeDir, tar.TypeXGlobalHeader:
		case tar.TypeSymlink:
			// Upstream has a few between documents. They mean nothing to the
			// build, and not every file system has them.
		default:
			return nil, fmt.Errorf("%s is neither a file nor a directory", h.Name)
		}
	}
}
