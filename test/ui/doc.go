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

// Package ui opens the pages of an agent in a headless Chromium and looks at
// what a person would see there: the text after all scripts have run, and a
// screenshot that is not blank. A binary without the pages must say how to get
// them and work otherwise. The page of delivery, which every binary has, is
// looked at in each state, through the DevTools protocol: see tab and states.
//
// # Environment
//
//   - ACKWAL_PROMETHEUS: a binary with the pages in it (build tag
//     builtinassets).
//   - ACKWAL_PROMETHEUS_WITHOUT_PAGES: one without them.
//   - ACKWAL_CHROMIUM: the browser, default chromium or one of its other names
//     on the PATH. Without one the tests that need it are skipped.
//   - ACKWAL_SCREENSHOTS: where the screenshots go, default build/screenshots.
package ui
