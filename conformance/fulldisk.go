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

package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// errLeftOut says that a case cannot be run here, whatever the sender is.
var errLeftOut = errors.New("LEFT OUT")

// volumeSize is that of the sender's disk where it has one of its own.
const volumeSize = "64m"

// mount puts the sender's data on a small file system of their own, before the first start.
func (r *Rig) mount() error {
	dir := filepath.Join(r.dir, "volume")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("directory of the sender's disk: %w", err)
	}
	out, err := exec.CommandContext(r.ctx, "mount", "-t", "tmpfs", "-o", "size="+volumeSize, "tmpfs", dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: a file system of its own cannot be mounted here, which takes root on Linux: %w: %s", errLeftOut, err, bytes.TrimSpace(out))
	}
	r.volume = dir
	return os.MkdirAll(r.dataDir(), 0o777)
}

// unmount ends it. What another process may still have open goes with that.
func (r *Rig) unmount() {
	if r.volume == "" {
		return
	}
	if out, err := exec.Command("umount", "-l", r.volume).CombinedOutput(); err != nil {
		r.Note("%s is still mounted: %s: %s", r.volume, err, bytes.TrimSpace(out))
	}
}

// fullDisk has another program fill the disk in the midst of an outage. What was scraped
// before has to arrive, and what is scraped once there is room again; a sender that ends for
// want of room is started again then, as a supervisor would.
func fullDisk(r *Rig) error {
	if err := steps(r.mount, r.begin, func() error { return outage(r, r.Main(), short) }); err != nil {
		return err
	}
	ballast := filepath.Join(r.volume, "ballast")
	r.fullFrom = r.Target.Served() // The sender may not have written that one yet.
	if err := fill(ballast); err != nil {
		return err
	}
	during := r.Scrapes(short)
	if during != nil && !errors.Is(during, errEnded) {
		return during
	}
	if err := os.Remove(ballast); err != nil {
		return fmt.Errorf("making room: %w", err)
	}
	if during != nil {
		r.Note("ended by itself while the disk was full, and was started again: %s", firstLine(during))
		if err := r.Start(); err != nil {
			return err
		}
	}
	if err := r.Scrapes(warmUp); err != nil {
		return err
	}
	r.fullTo = r.Target.Served()
	return r.end()
}

// fill writes a file until there is no room.
func fill(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("filling the disk: %w", err)
	}
	defer file.Close()
	for some := make([]byte, 1<<20); len(some) > 0; {
		if _, err := file.Write(some); errors.Is(err, syscall.ENOSPC) {
			some = some[:len(some)/2] // To the last byte.
		} else if err != nil {
			return fmt.Errorf("filling the disk: %w", err)
		}
	}
	return nil
}
