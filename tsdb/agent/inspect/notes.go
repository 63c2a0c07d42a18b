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
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// notes keeps what is logged as a warning or an error, each line once.
type notes struct {
	mtx   sync.Mutex
	lines []string
}

func (*notes) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

// Handle implements [slog.Handler].
func (n *notes) Handle(_ context.Context, r slog.Record) error {
	var line strings.Builder
	line.WriteString(r.Message)
	sep := " ("
	r.Attrs(func(a slog.Attr) bool {
		if s := a.Value.String(); s != "" {
			line.WriteString(sep + a.Key + ": " + s)
			sep = ", "
		}
		return true
	})
	if sep != " (" {
		line.WriteString(")")
	}
	n.add(line.String())
	return nil
}

func (n *notes) add(line string) {
	n.mtx.Lock()
	defer n.mtx.Unlock()
	if !slices.Contains(n.lines, line) {
		n.lines = append(n.lines, line)
	}
}

// WithAttrs implements [slog.Handler].
func (n *notes) WithAttrs([]slog.Attr) slog.Handler { return n }

// WithGroup implements [slog.Handler].
func (n *notes) WithGroup(string) slog.Handler { return n }

func (n *notes) list() []string {
	n.mtx.Lock()
	defer n.mtx.Unlock()
	return slices.Clone(n.lines)
}
