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

package faultfs

import (
	"io/fs"

	"github.com/ackwal/ackwal/tsdb/wlog/vfs"
)

// NoSync is the operating system's file system without syncs: for tests in which
// there is no crash to come, and which have no time to wait.
var NoSync vfs.FS = noSync{vfs.OS}

type noSync struct{ vfs.FS }

// SyncDir implements vfs.FS.
func (noSync) SyncDir(string) error { return nil }

// OpenFile implements vfs.FS.
func (n noSync) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := n.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return noSyncFile{f}, nil
}

type noSyncFile struct{ vfs.File }

// Sync implements vfs.File.
func (noSyncFile) Sync() error { return nil }
