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

package inspect

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/ackwal/ackwal/tsdb/agent/durable"
	"github.com/ackwal/ackwal/tsdb/wlog/repair"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// A log in which segments are missing has no reader, stock's or ours, before a start has put
// stand-ins in their place. To look at it changes nothing, so it is read elsewhere: in a
// directory of links to its files, where the stand-ins are too.

// bridge makes that directory.
func (d *Directory) bridge() (err error) {
	from := d.wal()
	if d.bridged, err = os.MkdirTemp("", "promtool-agent-"); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch name := e.Name(); {
		case !e.IsDir() && numbered(name):
			err = d.link(name) // And not what a repair left unfinished, which the next one writes to.
		case strings.HasPrefix(name, "checkpoint."):
			err = d.linkAll(name)
		}
		if err != nil {
			return err
		}
	}
	damages, err := repair.Segments(vfs.OS, d.bridged, -1, slog.New(slog.DiscardHandler))
	for _, m := range damages {
		d.missing += m.More + 1
		d.notes.add(fmt.Sprintf("Segments are missing in the log, and what they held is lost; stand-ins take their place (first: %08d, last: %08d)", m.Segment, m.Segment+m.More))
	}
	return err
}

// standIn has the log read where it has a segment, since it has none, and endpoints had not
// been sent all of it.
func (d *Directory) standIn() error {
	if d.bridged == "" {
		if err := d.bridge(); err != nil {
			return err
		}
	}
	d.gone = true
	d.notes.add("The log has no segment, and what endpoints had not been sent of it is lost")
	return os.WriteFile(wlog.SegmentName(d.bridged, d.file.Segment+1), nil, 0o600)
}

// numbered reports whether a name is that of a segment.
func numbered(name string) bool { return strings.Trim(name, "0123456789") == "" }

// link links a file, by its path below the log.
func (d *Directory) link(name string) error {
	target, err := filepath.Abs(filepath.Join(d.path, durable.WALDir, name))
	if err != nil {
		return err
	}
	return os.Symlink(target, filepath.Join(d.bridged, name))
}

// linkAll links the files of a directory.
func (d *Directory) linkAll(dir string) error {
	entries, err := os.ReadDir(filepath.Join(d.path, durable.WALDir, dir))
	if err == nil {
		err = os.Mkdir(filepath.Join(d.bridged, dir), 0o700)
	}
	for _, e := range entries {
		err = errors.Join(err, d.link(filepath.Join(dir, e.Name())))
	}
	return err
}
