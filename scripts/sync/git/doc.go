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

// Package git runs git on repositories that may not be ours.
//
// Everything here obeys three rules. A checkout is never changed: neither its
// files nor its index nor the branch that is checked out; only new objects and
// new references are written, and an existing reference is never moved. Nothing
// is ever pushed or fetched. And the result depends on neither the user nor the
// machine: GIT_* variables and the user's settings have no influence, except
// for name and e-mail address, which have to be the user's.
package git
