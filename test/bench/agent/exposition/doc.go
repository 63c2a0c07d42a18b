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

// Package exposition makes the pages that targets of the agent benchmark serve.
//
// A page has the metrics, the texts for HELP and TYPE and the labels of one of
// four exporters that clusters run: the node exporter, cAdvisor in the kubelet,
// kube-state-metrics, and an instrumented application, which exists in the text
// format, in OpenMetrics, and in protobuf with native histograms. What is the
// same in a hundred pages of a cluster is the same here: names, most values of
// labels, which series never move.
//
// The lines of a page are rendered once. For each scrape only values are: each
// series knows how it moves, and is moved by the time since the last scrape. A
// share of the subjects of a page (pods, devices, routes) may be replaced by
// others, which is the churn of a cluster: as many series vanish as appear.
//
// A Page is not safe for concurrent use; different pages are independent.
package exposition
