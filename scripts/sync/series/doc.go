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

// Package series is the ordered list of changes that make a stock tree ours.
//
// Each entry is one future pull request: the files of ours that it brings, the
// hooks on upstream's files that go with them, and the message. Every file of
// ours belongs to exactly one entry, so the entries applied in order give the
// fork tree, and the first n of them give what upstream would have after n
// merges. Lint says what every entry must fulfil; that each prefix builds and
// passes its tests takes a compiler, and is the verb verify.
//
// Nothing here writes files: a series maps trees to trees.
package series
