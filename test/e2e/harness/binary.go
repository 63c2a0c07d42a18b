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

package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const (
	envBinary   = "ACKWAL_PROMETHEUS"
	envStock    = "ACKWAL_STOCK_PROMETHEUS"
	envDelivery = "ACKWAL_E2E_DELIVERY"
	envParallel = "ACKWAL_E2E_PARALLEL"

	defaultBinary = "../../bin/prometheus"
	deliveryFlag  = "storage.agent.delivery"

	// Durable and BestEffort are the values of the flag that chooses the
	// engine; noFlag runs a binary that does not know the flag.
	Durable    = "durable"
	BestEffort = "best-effort"
	noFlag     = "none"
)

// Engine is a binary together with the way it is run as an agent.
type Engine struct {
	Path     string
	Delivery string
}

// IsDurable says whether the engine promises delivery.
func (e Engine) IsDurable() bool { return e.Delivery == Durable }

// flags are the command line arguments that choose the engine.
func (e Engine) flags() []string {
	if e.Delivery == noFlag {
		return nil
	}
	return []string{"--" + deliveryFlag + "=" + e.Delivery}
}

// UnderTest returns the engine the tests are about. It ends the test if there
// is no binary, or if the binary does not know the engine.
func UnderTest(t testing.TB) Engine {
	t.Helper()
	delivery := os.Getenv(envDelivery)
	if delivery == "" {
		delivery = Durable
	}
	e := Engine{Path: binaryUnderTest(t), Delivery: delivery}
	if delivery != noFlag && !knowsDelivery(e.Path) {
		t.Fatalf("%s has no flag --%s, so it is not the binary of this project; build it with `make build`, or set %s=%s to run a stock binary through the tests on purpose",
			e.Path, deliveryFlag, envDelivery, noFlag)
	}
	return e
}

// Stock returns the engine of stock Prometheus.
func Stock(t testing.TB) Engine {
	t.Helper()
	if path := os.Getenv(envStock); path != "" {
		return Engine{Path: existing(t, path, envStock), Delivery: noFlag}
	}
	path := binaryUnderTest(t)
	if !knowsDelivery(path) {
		return Engine{Path: path, Delivery: noFlag}
	}
	return Engine{Path: path, Delivery: BestEffort}
}

func binaryUnderTest(t testing.TB) string {
	t.Helper()
	path := os.Getenv(envBinary)
	if path == "" {
		path = defaultBinary
	}
	return existing(t, path, envBinary)
}

func existing(t testing.TB, path, env string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatalf("resolving the path of the binary %q: %v", path, err)
	}
	info, err := os.Stat(abs)
	if err != nil || info.IsDir() {
		t.Fatalf("there is no Prometheus binary at %s (%v): build it with `make build`, or name one with %s", abs, err, env)
	}
	return abs
}

var knownFlags sync.Map // Path of a binary to whether it has the flag.

func knowsDelivery(path string) bool {
	if known, ok := knownFlags.Load(path); ok {
		return known.(bool)
	}
	// The exit status of --help does not matter, the text does.
	help, _ := exec.Command(path, "--help-long").CombinedOutput()
	known := strings.Contains(string(help), deliveryFlag)
	knownFlags.Store(path, known)
	return known
}

var slots = sync.OnceValue(func() chan struct{} {
	n, err := strconv.Atoi(os.Getenv(envParallel))
	if err != nil || n < 1 {
		n = 2
	}
	return make(chan struct{}, n)
})

// takeSlot waits until fewer than the permitted number of scenarios run, and
// gives the slot back in the clean-up.
func takeSlot(t testing.TB) {
	slots() <- struct{}{}
	t.Cleanup(func() { <-slots() })
}
