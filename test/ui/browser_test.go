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

package ui

import (
	"bytes"
	"context"
	"html"
	"image"
	_ "image/png" // Screenshots are decoded.
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/grafana/regexp"
	"github.com/stretchr/testify/require"
)

// timeout bounds what is waited for; it decides nothing else.
const timeout = 2 * time.Minute

// browser is Chromium, run once per page.
type browser struct {
	program string
	shots   string
}

func newBrowser(t *testing.T) browser {
	t.Helper()
	shots := os.Getenv("ACKWAL_SCREENSHOTS")
	if shots == "" {
		shots = filepath.Join("..", "..", "build", "screenshots")
	}
	shots, err := filepath.Abs(shots)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(shots, 0o777))
	for _, name := range []string{os.Getenv("ACKWAL_CHROMIUM"), "chromium", "chromium-browser", "google-chrome"} {
		if program, err := exec.LookPath(name); err == nil {
			return browser{program: program, shots: shots}
		}
	}
	t.Skip("LEFT OUT: the pages are not looked at, since no Chromium is installed (Debian's package chromium, or ACKWAL_CHROMIUM=PATH)")
	return browser{}
}

// flags are those of the browser: headless, and with no connections but to the page.
func flags(t *testing.T) []string {
	return []string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--user-data-dir=" + t.TempDir(),
	}
}

// open returns the text of a page after its scripts have run, and keeps a
// screenshot under the name.
func (b browser) open(t *testing.T, name, url string) string {
	t.Helper()
	shot := filepath.Join(b.shots, name+".png")
	require.NoError(t, os.RemoveAll(shot))
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.program, append(flags(t),
		"--window-size=1400,1000",
		// Time for the page to fetch and draw; it does not pass while a
		// request is under way.
		"--virtual-time-budget=10000",
		"--screenshot="+shot, "--dump-dom", url)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	dom, err := cmd.Output()
	require.NoError(t, err, "%s\n%s", url, stderr.String())
	requireDrawn(t, shot)
	return visibleText(string(dom))
}

var (
	unseen = regexp.MustCompile(`(?s)<style[ >].*?</style>|<script[ >].*?</script>|<title>.*?</title>`)
	tag    = regexp.MustCompile(`(?s)<[^>]*>`)
)

// visibleText leaves of a page what can be read, with single spaces.
func visibleText(dom string) string {
	dom = tag.ReplaceAllString(unseen.ReplaceAllString(dom, " "), " ")
	return strings.Join(strings.Fields(html.UnescapeString(dom)), " ")
}

// requireDrawn fails for a screenshot of nothing but a background.
func requireDrawn(t *testing.T, name string) {
	t.Helper()
	f, err := os.Open(name)
	require.NoError(t, err, "the browser made no screenshot")
	defer f.Close()
	picture, _, err := image.Decode(f)
	require.NoError(t, err, name)
	colours := map[[3]uint32]bool{}
	area := picture.Bounds()
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			r, g, b, _ := picture.At(x, y).RGBA()
			colours[[3]uint32{r, g, b}] = true
		}
	}
	require.Greater(t, len(colours), 50, "%s is blank, or nearly so", name)
}
