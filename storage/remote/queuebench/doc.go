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

// Package queuebench measures the whole path of remote write, from the records
// of a write-ahead log to requests on a loopback connection, for any number of
// shards and endpoints. prometheus#17277 says that throughput hardly grows with
// the number of shards because they contend for locks; this reproduces that
// without a receiver, a scrape or a configuration file.
//
// It uses exported API only, so that the same benchmark runs on any version.
package queuebench
