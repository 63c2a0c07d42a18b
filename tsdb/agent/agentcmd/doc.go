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

// Package agentcmd is the command `promtool agent`, for data directories of agents:
//
//	status     what is in one, and what each endpoint has yet to be sent
//	verify     every file, and what a start would repair
//	savepoint  the endpoints' positions, and moving one
//	cat        the samples
//	drain      delivers what a directory still holds, without scraping
//
// It parses flags, calls package inspect or, to drain, the storages of durable
// delivery, and prints. For a program with a command line of kingpin it takes two
// calls, [Register] before parsing and [Commands.Run] after. Nothing here writes to a
// directory by itself.
//
// Exit codes are 0 if all is well, 1 if the command could not do its work, and 3 if it
// could and the answer is bad: verify found damage, drain left something.
package agentcmd
