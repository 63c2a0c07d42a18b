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
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ackwal/ackwal/tsdb/agent/durable"
	"github.com/ackwal/ackwal/tsdb/internal/snapshot"
	"github.com/ackwal/ackwal/tsdb/wlog/epoch"
	"github.com/ackwal/ackwal/tsdb/wlog/repair"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs/dryfs"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// Severity says how bad a finding is.
type Severity string

// The severities, from the least on.
const (
	// Fine is nothing that has to be done.
	Fine Severity = "ok"
	// Usual is what every crash leaves, and a start puts in order without loss.
	Usual Severity = "usual"
	// Damaged is what something was lost by, or has to be made again.
	Damaged Severity = "damaged"
	// Refused is what keeps an agent from starting.
	Refused Severity = "refused"
)

var order = []Severity{Fine, Usual, Damaged, Refused}

// Finding is what is said of one file, or of a place that should have one.
type Finding struct {
	Kind     string   `json:"kind"`
	Path     string   `json:"path"` // Below the data directory.
	Bytes    int64    `json:"bytes"`
	Severity Severity `json:"severity"`
	// What is wrong, and what a start of the agent does about it, in a few words.
	What   string `json:"what,omitempty"`
	Action string `json:"at_start,omitempty"`
	// Offset, Lost and Records are where bytes of a segment are lost, how many, and
	// how many records at least.
	Offset  int64 `json:"offset,omitempty"`
	Lost    int64 `json:"bytes_lost,omitempty"`
	Records int   `json:"records_lost,omitempty"`
}

// Report is what Verify found.
type Report struct {
	Directory string    `json:"directory"`
	Severity  Severity  `json:"severity"` // The worst.
	Segments  int       `json:"segments_read"`
	Records   int       `json:"records_read"`
	Bytes     int64     `json:"bytes_read"`
	Findings  []Finding `json:"findings"`
	// Notes are about the directory as a whole.
	Notes []string `json:"notes"`
}

// verifier makes a report.
type verifier struct {
	dir    string
	dry    *dryfs.FS
	report *Report
	at     map[string]int // Index of the first finding by path.
}

// Verify reads every file of a data directory and says what a start of the agent would
// find wrong and do about it. It does nothing about it.
func Verify(dir string) (*Report, error) {
	if err := check(dir); err != nil {
		return nil, err
	}
	v := &verifier{dir: dir, dry: dryfs.New(nil), report: &Report{Directory: dir, Severity: Fine, Findings: []Finding{}, Notes: []string{}}, at: map[string]int{}}
	for _, step := range []func() error{v.list, v.savepoint, v.snapshot, v.log, v.positions} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return v.report, nil
}

// list notes every file there is, by its kind.
func (v *verifier) list() error {
	return filepath.WalkDir(v.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			return nil
		}
		f := Finding{Path: v.rel(path), Severity: Fine}
		f.Kind = kindOf(filepath.ToSlash(f.Path))
		if info, err := e.Info(); err == nil {
			f.Bytes = info.Size()
		}
		v.at[f.Path] = len(v.report.Findings)
		v.report.Findings = append(v.report.Findings, f)
		return nil
	})
}

func (v *verifier) rel(path string) string {
	if rel, err := filepath.Rel(v.dir, path); err == nil {
		return rel
	}
	return path
}

// kindOf says in a word what a file is for, by its path below the data directory.
func kindOf(path string) string {
	parts := strings.Split(path, "/")
	name := parts[len(parts)-1]
	under := func(dir string) bool { return len(parts) == 2 && parts[0] == dir }
	switch {
	case path == durable.LockName:
		return "lock"
	case path == durable.ReserveName:
		return "reserve"
	case path == savepoint.CurrentName:
		return "savepoint"
	case path == savepoint.PreviousName:
		return "savepoint fallback"
	case len(parts) == 1 && strings.HasPrefix(name, savepoint.CorruptPrefix):
		return "savepoint set aside"
	case len(parts) == 1 && strings.HasPrefix(name, backupPrefix):
		return "savepoint backup"
	case under(durable.WALDir) && numbered(name):
		return "segment"
	case len(parts) == 3 && parts[0] == durable.WALDir && strings.HasPrefix(parts[1], "checkpoint.") && numbered(name):
		return "checkpoint"
	case under(durable.SeriesDir) && name == "manifest.json":
		return "snapshot manifest"
	case under(durable.SeriesDir) && strings.HasPrefix(name, "chunk-") && strings.HasSuffix(name, ".idx"):
		return "snapshot index"
	case under(durable.SeriesDir):
		for _, kind := range []string{"chunk", "retired", "timestamps", "metadata"} {
			if strings.HasPrefix(name, kind+"-") {
				return "snapshot " + kind
			}
		}
	}
	return "other"
}

// find adds a finding. The first takes the place of what was noted of the file.
func (v *verifier) find(f Finding) {
	if slices.Index(order, f.Severity) > slices.Index(order, v.report.Severity) {
		v.report.Severity = f.Severity
	}
	f.Path = v.rel(f.Path)
	if f.Kind == "" {
		f.Kind = kindOf(filepath.ToSlash(f.Path))
	}
	at, known := v.at[f.Path]
	if !known {
		v.report.Findings = append(v.report.Findings, f)
		return
	}
	f.Bytes = v.report.Findings[at].Bytes
	if v.report.Findings[at].Severity == Fine {
		v.report.Findings[at] = f
		return
	}
	v.report.Findings = slices.Insert(v.report.Findings, at+1, f)
	for path, i := range v.at {
		if i > at {
			v.at[path] = i + 1
		}
	}
}

func (v *verifier) note(format string, args ...any) {
	v.report.Notes = append(v.report.Notes, fmt.Sprintf(format, args...))
}

// savepoint says which savepoint a start would use.
func (v *verifier) savepoint() error {
	_, from, err := savepoint.NewStore(v.dir, savepoint.WithFS(v.dry)).Load()
	for _, p := range from.Problems {
		f := Finding{Path: p.Path, Severity: Damaged, What: p.Err.Error()}
		switch p.Reason {
		case savepoint.Absent:
			continue
		case savepoint.Corrupt:
			f.Action = "renamed to " + filepath.Base(p.SetAside)
		case savepoint.Newer:
			f.Severity, f.Action = Refused, "refused by an agent of this release"
		}
		v.find(f)
	}
	switch lost := (*savepoint.LostError)(nil); {
	case errors.As(err, &lost):
		v.note("No savepoint can be read: delivery would begin at the oldest segment for every endpoint, and send again what was delivered.")
	case err != nil:
	case from.Origin == savepoint.None:
		v.note("There is no savepoint: durable delivery has not run here, or has had no endpoint; or the file was removed, and delivery would begin at the oldest segment for every endpoint.")
	case from.Origin == savepoint.Fallback:
		v.note("The savepoint cannot be used, its fallback can: what was acknowledged since that was written would be sent again.")
	}
	return nil
}

// snapshot reads all of the snapshot of series.
func (v *verifier) snapshot() error {
	dir := filepath.Join(v.dir, durable.SeriesDir)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		v.note("There is no snapshot of series: a start would read the whole log and make one.")
		return nil
	}
	store, err := snapshot.Open(dir, snapshot.Options{FS: v.dry})
	if err != nil {
		return err
	}
	defer store.Close()
	state, ok := store.State()
	if ok {
		nothing := func(int, chunks.HeadSeriesRef, []labels.Label, uint64) error { return nil }
		if _, err := store.Load(context.Background(), 0, nothing); err != nil {
			return err
		}
		// What these find is among the problems.
		_ = store.Timestamps(func(chunks.HeadSeriesRef, int64) {})
		_ = store.Metadata(func(chunks.HeadSeriesRef, metadata.Metadata) {})
		if state.Covered < 0 {
			v.note("The snapshot of series has nothing yet: a start would read the whole log.")
		} else if why := durable.Misfit(filepath.Join(v.dir, durable.WALDir), state); why != "" {
			v.note("The snapshot of series does not fit the log (%s): a start would read the whole log and make it anew.", why)
		}
	}
	for _, p := range store.Problems() {
		ok = ok && p.Kind != snapshot.ManifestDamaged
		f := Finding{Path: p.Path, Severity: Damaged, What: fmt.Sprintf("%s: %v", p.Kind, p.Err)}
		switch p.Kind {
		case snapshot.ManifestDamaged:
			f.Action = "set aside, and the snapshot made again from checkpoint and log"
		case snapshot.IndexRebuilt:
			f.Severity, f.Action = Usual, "made again"
		default:
			f.Action = "left out, and made again from checkpoint and log"
		}
		v.find(f)
	}
	if !ok {
		return nil // It is all made again, which was said.
	}
	for _, path := range v.dry.Changed() {
		rel := v.rel(path)
		if at, known := v.at[rel]; known && filepath.Dir(path) == dir && v.report.Findings[at].Severity == Fine {
			v.find(Finding{Path: path, Severity: Usual, What: "nothing refers to it", Action: "removed"})
		}
	}
	return nil
}

// log has the log repaired, in memory.
func (v *verifier) log() error {
	wal := filepath.Join(v.dir, durable.WALDir)
	report, err := repair.Directory(wal, repair.Options{FS: v.dry, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		v.find(Finding{Kind: "segment", Path: wal, Severity: Refused, What: err.Error(), Action: "refused"})
	}
	v.report.Segments, v.report.Records, v.report.Bytes = report.Segments, report.Records, report.Bytes
	for _, d := range report.Damages {
		f := Finding{Path: d.Path, Severity: Damaged, What: strings.ReplaceAll(d.Kind, "_", " "), Action: d.Action, Offset: d.Offset, Lost: d.Bytes, Records: d.Records}
		if d.More > 0 {
			f.What += fmt.Sprintf(", with the %d after it", d.More)
		}
		if d.Err != nil {
			f.What += ": " + d.Err.Error()
		}
		if d.Kind == repair.TornTail {
			f.Severity = Usual
		}
		v.find(f)
	}
	segments, err := epoch.Scan(wal)
	if err != nil {
		return nil // It is among the findings.
	}
	foreign := 0
	for _, seg := range segments {
		if seg.Foreign() {
			foreign++
		}
	}
	if foreign > 0 {
		v.note("%d of %d segments were written by another engine, such as best-effort delivery; durable delivery takes what they hold to be delivered by that.", foreign, len(segments))
	}
	return nil
}

// positions compares the savepoint with the log: what an endpoint had not been sent and is
// not there leaves no trace in the log itself.
func (v *verifier) positions() error {
	if v.report.Severity == Refused {
		return nil
	}
	d, err := open(v.dir, dryfs.New(nil))
	if err != nil {
		v.note("Whether the log has all that endpoints have not been sent cannot be told: %s.", err)
		return nil
	}
	defer d.Close()
	for _, e := range d.Endpoints(context.Background()) {
		if e.LostBytes > 0 {
			v.find(Finding{
				Kind: "savepoint", Path: filepath.Join(v.dir, d.savepoint().File), Severity: Damaged,
				What:   fmt.Sprintf("endpoint %s had not been sent about %d samples, %d bytes, that are missing in the log", e.Name, e.LostSamples, e.LostBytes),
				Action: "counted as lost",
			})
		}
	}
	return nil
}
