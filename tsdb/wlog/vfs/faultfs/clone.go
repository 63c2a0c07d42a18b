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
	"bytes"
	"maps"
	"math/rand"
	"os"
	"path/filepath"
)

// Least is the seed of a clone in which nothing survives that was not synced.
const Least = 0

// sector is what a disk writes at once.
const sector = 512

// Clone writes to dst, which must not exist, what a loss of power at this
// moment could leave below the root. Equal seeds give equal clones.
func (f *FS) Clone(dst string, seed int64) error {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	if err := f.look(f.top, f.root); err != nil {
		return err
	}
	c := cloner{made: map[*node]string{}}
	if seed != Least {
		c.rnd = rand.New(rand.NewSource(seed))
	}
	return c.directory(f.top, dst)
}

// Copy writes to dst, which must not exist, what the death of the process at
// this moment would leave.
func (f *FS) Copy(dst string) error {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	if err := f.look(f.top, f.root); err != nil {
		return err
	}
	c := cloner{made: map[*node]string{}, all: true}
	return c.directory(f.top, dst)
}

// cloner makes one clone.
type cloner struct {
	rnd  *rand.Rand // Nil if nothing survives that was not synced.
	all  bool       // Everything survives.
	made map[*node]string
}

// intn returns a number from 0 to n.
func (c *cloner) intn(n int) int {
	switch {
	case c.all:
		return n
	case c.rnd == nil:
		return 0
	// The ends are the likely cases, and those where bugs are.
	case c.rnd.Intn(3) == 0:
		return c.rnd.Intn(2) * n
	default:
		return c.rnd.Intn(n + 1)
	}
}

func (c *cloner) directory(d *node, dst string) error {
	if err := os.Mkdir(dst, 0o777); err != nil {
		return err
	}
	names := maps.Clone(d.durable)
	for _, change := range d.pending[:c.intn(len(d.pending))] {
		bind(names, change)
	}
	for _, name := range sorted(names) {
		n, path := names[name], filepath.Join(dst, name)
		if n.isDir() {
			if err := c.directory(n, path); err != nil {
				return err
			}
			continue
		}
		if err := c.file(n, path); err != nil {
			return err
		}
	}
	return nil
}

func (c *cloner) file(n *node, dst string) error {
	if first, ok := c.made[n]; ok {
		return os.Link(first, dst)
	}
	c.made[n] = dst
	now, err := os.ReadFile(n.link)
	if err != nil {
		return err
	}
	info, err := os.Stat(n.link)
	if err != nil {
		return err
	}
	if err := os.WriteFile(dst, c.content(n.bytes, now), info.Mode().Perm()); err != nil {
		return err
	}
	return os.Chtimes(dst, info.ModTime(), info.ModTime())
}

// content decides what is left of a file, given its bytes at the last sync and
// now.
func (c *cloner) content(synced, now []byte) []byte {
	if c.all || bytes.Equal(synced, now) {
		return now
	}
	out := bytes.Clone(synced)
	if len(now) < len(synced) {
		if c.intn(1) == 1 {
			out = out[:len(now)]
		}
	} else {
		appended := now[len(synced):]
		out = append(out, appended[:c.intn(len(appended))]...)
		// The length may be on the disk, and the bytes not.
		if n := len(out) - len(synced); n > 0 && c.intn(2) == 0 {
			clear(out[len(synced)+c.intn(n):])
		}
	}
	for at := 0; at < min(len(synced), len(now), len(out)); at += sector {
		end := min(at+sector, len(synced), len(now), len(out))
		if !bytes.Equal(synced[at:end], now[at:end]) && c.intn(1) == 1 {
			copy(out[at:end], now[at:end])
		}
	}
	return out
}
