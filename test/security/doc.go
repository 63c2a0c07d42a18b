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

// Package security runs the binary with secrets in every place of its
// configuration and with endpoints that mean harm. Nothing it writes, logs or
// serves may show a secret, and no answer may exhaust its memory, disturb other
// endpoints or hold up its end.
//
// It needs ACKWAL_PROMETHEUS, the path of the binary, and is skipped with
// -short. Test servers listen on loopback only.
package security
