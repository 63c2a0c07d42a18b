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

package exposition

import (
	"fmt"
	"strconv"
)

// metricType is the type of a metric as the formats name it.
type metricType string

const (
	counter   metricType = "counter"
	gauge     metricType = "gauge"
	summary   metricType = "summary"
	histogram metricType = "histogram" // With classic buckets.
	native    metricType = "native"    // A native one, where the format has them.
)

// metric is a family on a page.
type metric struct {
	name, help string
	typ        metricType
	move       movement
	// by says what its series belong to, if that is not all of the page.
	by subject
	// dims are further labels, rendered, one for each series of a subject.
	// Without any there is one series.
	dims []string
}

// subject is what pages have several of, and what its series are told apart by.
type subject uint8

const (
	page subject = iota // The target itself.
	pod
	network
	cpu
	disk
	filesystem
	route
)

// shape describes an exporter.
type shape struct {
	job string
	// honor is true for an exporter that speaks of others, whose labels win.
	honor   bool
	metrics []metric
	// filler has the series that are left when no subject fits any more.
	filler metric
	// labels are those that service discovery gives the target.
	labels func(target int) map[string]string
	// describe returns the labels, rendered, of the i-th subject of a target.
	// Replacing it takes the next generation.
	describe func(by subject, target, i, generation int) string
}

// bounds are the buckets of the client library for Go.
var bounds = []string{"0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"}

// series returns how many series a subject has of the metric.
func (m metric) series() int {
	n := max(1, len(m.dims))
	if m.typ == histogram {
		n *= len(bounds) + 2
	}
	return n
}

// dim returns a label with each of some values, for [metric.dims].
func dim(name string, values ...string) (dims []string) {
	for _, v := range values {
		dims = append(dims, fmt.Sprintf("%s=%q", name, v))
	}
	return dims
}

// each returns the combinations of two labels.
func each(a, b []string) (dims []string) {
	for _, x := range a {
		for _, y := range b {
			dims = append(dims, x+","+y)
		}
	}
	return dims
}

// family returns metrics that differ in a part of their names only. The names
// and the help have a verb for it.
func family(name, help string, typ metricType, by subject, move movement, parts ...string) (all []metric) {
	for _, p := range parts {
		all = append(all, metric{name: fmt.Sprintf(name, p), help: fmt.Sprintf(help, p), typ: typ, by: by, move: move})
	}
	return all
}

// filling returns a metric with as many series as are asked for.
func filling(name, help, label string) metric {
	return metric{name: name, help: help, typ: gauge, move: movement{fixed, 1}, dims: []string{label}}
}

const (
	hex      = "0123456789abcdef"
	podChars = "bcdfghjklmnpqrstvwxz2456789" // Those that Kubernetes takes.
)

var services = []string{
	"checkout", "cart", "catalog", "search", "payment-gateway", "inventory", "shipping", "profile",
	"recommendation", "notification", "ledger", "pricing", "session", "frontend", "image-resizer", "audit-log",
}

func service(i int) string   { return services[i%len(services)] }
func namespace(i int) string { return "team-" + service(i/3) }
func node(i int) string {
	return fmt.Sprintf("ip-10-%d-%d-%d.ec2.internal", 16+i>>16, i>>8&255, i&255)
}

func address(i, port int) string {
	return fmt.Sprintf("10.%d.%d.%d:%d", 16+i>>16&63, i>>8&255, i&255, port)
}

// podName is the name of a pod of a deployment.
func podName(of string, r *random) string {
	return of + "-" + r.digits(10, hex) + "-" + r.digits(5, podChars)
}

func uid(r *random) string {
	return r.digits(8, hex) + "-" + r.digits(4, hex) + "-4" + r.digits(3, hex) + "-9" + r.digits(3, hex) + "-" + r.digits(12, hex)
}

func number(i int) string { return strconv.Itoa(i) }
