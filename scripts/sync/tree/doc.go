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

// Package tree holds a source tree in memory and writes it to a directory.
//
// A fork tree is upstream's files plus this project's directories plus the
// hooks. It is put together completely before the first byte is written, so
// every error that bad input can cause comes first. The directory written to
// carries a manifest that names the files which came from here: a directory
// without one is never written to, a file that is no longer part of the tree
// is removed, a file that others put there is left alone, and a file whose
// content is the same keeps its modification time, so that Go's build cache
// and editors see no change.
package tree
