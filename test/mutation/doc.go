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

// Package mutation checks the checks: it builds the storage with one defect
// after the other and demands that the model test of package durable fails, or,
// for what only two ranges of an endpoint can show, that of package delivery,
// for the invariant that the defect breaks or for one that follows from it.
//
// The defects are a list of replacements in mutations_test.go. They are laid over
// the sources while the test compiles them (go test -overlay), so that product
// code has none of it. A replacement whose place is not found exactly once fails
// the test; with -short, that is all it looks at.
//
// In the same way it takes from package series, one at a time, the pins that keep
// the numbers of a series from being given to other strings while a reader uses them,
// and demands that the reader then gets wrong labels.
//
// ACKWAL_MUTATION_RUNS is how many schedules each defect has to survive to
// count as not noticed, default 60.
package mutation
