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

package room

import (
	"fmt"
	"math"

	"golang.org/x/sys/windows"
)

// Space returns how many bytes this process may still write to the volume that
// dir is on, and how many that has in all.
func Space(dir string) (free, total int64, err error) {
	path, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, 0, fmt.Errorf("read free space of the volume of %s: %w", dir, err)
	}
	var left, all uint64
	if err := windows.GetDiskFreeSpaceEx(path, &left, &all, nil); err != nil {
		return 0, 0, fmt.Errorf("read free space of the volume of %s: %w", dir, err)
	}
	return int64(min(left, math.MaxInt64)), int64(min(all, math.MaxInt64)), nil
}
