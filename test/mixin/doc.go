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

// Package mixin tests the alerts and dashboards of mixin/: that what is checked in is what
// they make, that they ask for what the agent shows, and that alerts fire when they should
// and only then.
//
// The tests run the binary that ACKWAL_PROMETHEUS names, bin/prometheus if it names none,
// and the promtool beside it. What real agents recorded in outages is in testdata; the
// program in record makes it.
package mixin
