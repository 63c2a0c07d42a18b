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

// Package identity recognises configured remote endpoints across restarts and
// reloads, so that each gets its own saved position back.
//
// An endpoint is recognised by its name, else by its URL and relabelling rules
// (and the tenant, where several share these), else by its URL as long as that
// leaves no doubt. Everything else about it is operational: queue settings,
// timeouts, secrets, TLS and the like may change at will and the position
// stays.
//
// What it defends:
//
//  1. No two endpoints of one configuration have the same identity, so no two
//     share a position (I2).
//  2. A configuration that stock accepts is accepted. Endpoints that only
//     operational settings tell apart work, with a warning to name them; what
//     stock refuses as a duplicate is refused.
//  3. A changed endpoint is rather taken for the old one than for a new one.
//     The old position means that something may be sent again, none would mean
//     to begin at now and to leave out what was not sent yet (I2).
//  4. Identities hold no secrets: user information and the parameters that are
//     secrets by their name are cut from the URL before it is hashed, and
//     secrets are blanked in what is hashed besides. Of those parameters a print
//     of four bytes remains.
//
// The hashes are the first 16 bytes of a SHA-256 in hexadecimal. They are
// stored in the savepoint, so what goes into them is part of its format:
//
//   - URLHash: the URL, with its host in lower case, without user information
//     and fragment. The query belongs to it, but for parameters that are secrets
//     (query.go), so that a token can be rotated. Savepoints from before that
//     have a hash with them; [Former] tells what it is.
//   - RulesHash: per rule of write_relabel_configs a line with the quoted
//     action, source labels, separator, regular expression, modulus, target
//     label and replacement, defaults filled in; empty without rules.
//   - TenantHash: the tenant headers X-Scope-OrgID and THANOS-TENANT and the
//     user name; empty without any. A hyphen and the print of the secrets in the
//     URL follow, if there are any. If endpoints without a name would still be
//     equal, it is instead a hyphen and a hash of all headers and authentication
//     or, where those are equal too, of all settings.
//
// All functions are pure; they may be called from any goroutine, keep nothing
// of their arguments and return slices that belong to the caller.
package identity
