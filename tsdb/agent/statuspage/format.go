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

package statuspage

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// What follows writes figures as people read them. Where something is not known it says so
// with a dash.

const unknown = "–"

// bytesText writes a size with three digits, in powers of 1024.
func bytesText(n int64) string {
	return scaled(float64(n), 1024, "B", "KiB", "MiB", "GiB", "TiB", "PiB")
}

// rateText writes a size per second.
func rateText(perSecond *float64) string {
	if perSecond == nil {
		return unknown
	}
	return bytesText(int64(math.Round(*perSecond))) + "/s"
}

// countText writes a number, about if it is large.
func countText(n int64) string {
	if n < 100_000 && n > -100_000 {
		return grouped(n)
	}
	return strings.TrimSpace(scaled(float64(n), 1000, "", "k", "M", "G", "T"))
}

// grouped writes a number with its thousands apart.
func grouped(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func scaled(v, step float64, units ...string) string {
	i := 0
	for ; math.Abs(v) >= step && i < len(units)-1; i++ {
		v /= step
	}
	digits := 0
	if i > 0 && math.Abs(v) < 100 {
		digits = 1
	}
	return strconv.FormatFloat(v, 'f', digits, 64) + " " + units[i]
}

// spanText writes a time span with its two largest units.
func spanText(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d d %d h", int(d.Hours())/24, int(d.Hours())%24)
}

// secondsText is spanText of seconds.
func secondsText(s *float64) string {
	if s == nil {
		return unknown
	}
	return spanText(seconds(*s))
}

// seconds returns a time span, a century at most.
func seconds(s float64) time.Duration {
	const most = 100 * 365 * 24 * time.Hour
	return time.Duration(min(s, most.Seconds()) * float64(time.Second))
}

// timeText writes a time in UTC, with the day only if it is another than that of now.
func timeText(t *time.Time, now time.Time) string {
	if t == nil || t.IsZero() {
		return unknown
	}
	form := "2006-01-02 15:04:05"
	if at := t.UTC(); at.YearDay() == now.UTC().YearDay() && at.Year() == now.UTC().Year() {
		form = "15:04:05"
	}
	return t.UTC().Format(form)
}

// agoText writes how long ago a time was.
func agoText(t, now time.Time) string { return spanText(now.Sub(t)) + " ago" }
