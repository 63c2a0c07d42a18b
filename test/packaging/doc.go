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

// Package packaging tests what users hold in their hands: the examples, the unit, the
// image, what `make release` makes, and that what pages name is there. It is a module of
// its own because it needs the types of Kubernetes' API and of prometheus-operator, which
// nothing else here does.
//
// ACKWAL_PROMTOOL names the promtool to check configurations with, ACKWAL_RELEASE a
// directory that scripts/release made, ACKWAL_RELEASE_AGAIN one that it made once more
// elsewhere. `make packaging-test` sets them.
package packaging
