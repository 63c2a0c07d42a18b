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

// Package statuspage shows the status of durable delivery: as one value for an API, which
// docs/delivery-api.md describes field by field, and as a page that a browser without
// scripts shows. It joins what packages delivery and durable know, works it out when it is
// asked for, and has no state and no goroutines.
//
// The page answers five questions on one screen: is it healthy, how far behind is it, what
// pins the disk, when is something lost, and what was lost and why. It needs no files
// beside the binary.
package statuspage
