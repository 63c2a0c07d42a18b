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

package client

import (
	"net/http"

	"github.com/grafana/regexp"
)

// tooLarge matches messages by which receivers say that a request, and not a
// sample in it, is larger than they take. Most use 413, but Prometheus and
// VictoriaMetrics answer 400, and an error of gRPC behind a receiver arrives as
// 400, 429 or 500. Each line is a way to say it, with the software that does:
//
//   - a decoded size that exceeds: Prometheus, client_golang, Metricbeat
//   - a message larger than the limit: gRPC, Cortex, Mimir, Thanos, Kafka
//   - a body that is too large: net/http, proxies, Thanos
//   - too big a request: VictoriaMetrics
//   - a request size or body that exceeds: client_golang and others
//   - the name of the setting: Mimir, VictoriaMetrics, servers in Java
//
// Limits on a label, a series or a rate are said in like words. They do not
// match: a smaller request would not help.
var tooLarge = regexp.MustCompile(`(?i)` +
	`decoded (?:size|length|body)[^\n]{0,40}(?:exceed|too (?:large|big))` +
	`|(?:message|body|request|payload)\b[^.\n]{0,60}larger than (?:the )?(?:max|allowed|limit)` +
	`|(?:request|body|payload|entity|message|content)[ _](?:size )?(?:is )?too[ _](?:large|big)` +
	`|too (?:large|big) (?:(?:un|de)?(?:packed|compressed) )?(?:request|body|payload|message|data size)` +
	`|(?:request|data|write) size[^.\n]{0,40}exceed` +
	`|(?:body|payload|message)(?: size| length)? (?:of \d+ (?:bytes )?)?exceed` +
	`|max(?:imum)?[ _-]?(?:insert|recv|receive|write)?[ _-]?(?:request|message|msg|body|payload)[ _-]?(?:body|message)?[ _-]?size`)

// late matches messages by which receivers say that a sample comes too late: Prometheus,
// Thanos, Cortex and Mimir. It would come later still if it was held.
var late = regexp.MustCompile(`(?i)out[ -]of[ -](?:order|bounds)|too[ -]old|duplicate sample`)

// outcomeOf says what an answer means. The message is the beginning of its body.
func outcomeOf(status int, message string) Outcome {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusProxyAuthRequired:
		return Denied
	case http.StatusRequestEntityTooLarge:
		return TooLarge
	}
	switch {
	case status/100 == 2:
		return Delivered
	case status >= 400 && tooLarge.MatchString(message):
		return TooLarge
	case retried(status):
		return Retry
	case status/100 == 4:
		return Refused
	}
	return Retry
}

// statusClosed is what nginx and Mimir say where a sender has hung up or was
// taken to have.
const statusClosed = 499

// retried reports whether a 4xx says nothing about the samples, and the same
// request may be taken later.
func retried(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, statusClosed:
		return true
	}
	return false
}

// perhapsApplied reports whether a receiver that answers with this status may
// have applied the request, or a part of it, before.
func perhapsApplied(status int) bool {
	return status/100 == 5 || status == http.StatusRequestTimeout || status == statusClosed
}
