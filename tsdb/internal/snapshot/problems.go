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

package snapshot

import (
	"log/slog"
	"slices"
	"sync"
)

// maxProblems bounds the memory of what went wrong.
const maxProblems = 256

// problems keeps account of what went wrong, each file and kind once.
type problems struct {
	logger *slog.Logger
	mtx    sync.Mutex
	list   []Problem
}

func (p *problems) report(kind ProblemKind, path string, err error) {
	p.mtx.Lock()
	defer p.mtx.Unlock()
	i := slices.IndexFunc(p.list, func(q Problem) bool { return q.Kind == kind && q.Path == path })
	if i >= 0 {
		p.list[i].Count++
		return
	}
	if len(p.list) == maxProblems {
		// The oldest goes: it has been logged.
		p.list = slices.Delete(p.list, 0, 1)
	}
	p.list = append(p.list, Problem{Kind: kind, Path: path, Err: err, Count: 1})
	p.logger.Warn("Problem with the snapshot of series", "kind", kind.String(), "file", path, "err", err)
}

func (p *problems) all() []Problem {
	p.mtx.Lock()
	defer p.mtx.Unlock()
	return slices.Clone(p.list)
}
