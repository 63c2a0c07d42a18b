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

// Package requests compares what a receiver gets from stock's write client and
// from ours, over real connections and from the same text of configuration: each
// line of the header as it came, in its order, and what the body decodes to.
//
// Each way to authenticate, to add headers and to reach a receiver sends 1,000
// requests with either client. Requests 1, 2 and 50 are compared, then secrets
// and certificates are replaced on disk and 51 is compared, then the
// configuration is applied again and 60 is compared, and 1,000, and a retry, and
// what 32 senders send at the same time. `make requests` runs it, with the race
// detector where there is a C compiler.
//
// Not here, because the addresses of their servers are fixed: Azure AD with
// OAuth, a workload's identity, a certificate or the SDK's defaults, and
// Google's default credentials. A managed identity and a service account go
// through the same round trippers.
package requests
