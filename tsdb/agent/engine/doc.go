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

// Package engine chooses between the two ways agent mode has to keep samples
// for remote write, for a main package that shall not know their difference.
//
// Best-effort is the database of package agent with the storage of package
// remote: the WAL is truncated by age. Durable is package durable with package
// delivery: a segment is removed only when every endpoint has durably
// acknowledged what it holds (I1), and delivery resumes there.
//
// The two halves of an engine belong together and register metrics under the
// same names, so exactly one remote half is built, by NewRemote, and Open
// builds the database that fits it. Nothing here has state or goroutines.
package engine
